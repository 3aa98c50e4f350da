/**
 * One BGP connection over a socket: received bytes are cut into messages, sent ones are queued with bounds. At most one
 * chunk of UPDATEs is in hand at a time (the RIB keeps the rest, encoded once for all), so a peer that does not read
 * costs one chunk; messages of our own (KEEPALIVE, NOTIFICATION …) go between chunks and never wait for the RIB.
 */
import type { Clock } from '../../base/mod.ts';
import type { Socket } from './network.ts';
import { Framer, FrameStatus } from '../wire/mod.ts';
import type { ProtocolError } from '../wire/mod.ts';

/** Bytes of UPDATEs asked of the RIB at a time. */
const CHUNK = 128 * 1024;
/** A peer that makes us answer without reading is closed rather than queued for. */
const MAX_CONTROL = 64;

export interface ConnectionHandlers {
  /** A whole message at `bytes[start, end)`, valid during the call. False: the connection is of no more interest. */
  message(type: number, bytes: Uint8Array, start: number, end: number): boolean;
  /** All messages of what was read have been given. */
  batchEnd(): void;
  malformed(error: ProtocolError): void;
  lost(detail: string): void;
  /** The next UPDATEs for this peer, whole messages, or undefined. */
  pull(maxBytes: number): Uint8Array | undefined;
  /** The peer takes bytes again after a pause: call `flush` when it is its turn. */
  writable(): void;
}

export class Connection {
  readonly socket: Socket;
  readonly framer = new Framer();
  /** Clock time of the last whole message heard, and of the last byte the peer's side took or of having nothing to send. */
  lastHeard: number;
  lastProgress: number;
  bytesIn = 0;
  bytesOut = 0;
  private readonly clock: Clock;
  private readonly handlers: ConnectionHandlers;
  /** The rest of what was written in part; always ends at the end of a message. */
  private pending: Uint8Array | undefined;
  private readonly control: Uint8Array[] = [];
  private open = true;
  private reading = false;

  constructor(socket: Socket, clock: Clock, handlers: ConnectionHandlers) {
    this.socket = socket;
    this.clock = clock;
    this.handlers = handlers;
    this.lastHeard = clock.now();
    this.lastProgress = this.lastHeard;
    socket.handlers = {
      data: (bytes) => this.receive(bytes),
      drain: () => this.drained(),
      closed: (detail) => {
        if (!this.open) return;
        this.open = false;
        this.handlers.lost(detail);
      },
    };
  }

  /** Whether bytes wait for the peer to take them. */
  get blocked(): boolean {
    return this.pending !== undefined;
  }

  private receive(bytes: Uint8Array): void {
    const now = this.clock.now();
    this.bytesIn += bytes.length;
    const { framer, handlers } = this;
    framer.push(bytes);
    this.reading = true;
    for (;;) {
      const status = framer.next();
      if (status === FrameStatus.Incomplete) break;
      if (status === FrameStatus.Error) {
        handlers.malformed(framer.error!);
        break;
      }
      // octets alone do not hold a session up: a peer that dribbles says nothing (RFC 4271 §8.2.2, events 26 and 27)
      this.lastHeard = now;
      if (!handlers.message(framer.type, framer.bytes, framer.start, framer.end) || !this.open) break;
    }
    this.reading = false;
    if (!this.open) return;
    handlers.batchEnd();
    if (this.control.length > 0) this.flush(0);
  }

  private drained(): void {
    this.lastProgress = this.clock.now();
    this.handlers.writable();
  }

  /** Queues a whole message of our own, before any further UPDATE. */
  send(message: Uint8Array): void {
    if (!this.open) return;
    // KEEPALIVEs of a peer that does not read are one: when it reads again, it hears from us
    if (this.control.at(-1) === message) return;
    if (this.control.length >= MAX_CONTROL) {
      this.open = false;
      this.socket.abort();
      this.handlers.lost('the peer does not read what it asks for');
      return;
    }
    this.control.push(message);
    if (!this.reading) this.flush(0);
  }

  /**
   * Writes what is queued, then up to about `budget` bytes of what the RIB has. True: the peer would take more now, give
   * it another turn. False: it is in step, or `writable` will be told.
   */
  flush(budget: number): boolean {
    let left = budget;
    while (this.open) {
      const next = this.pending ?? this.control.shift() ?? (left > 0 ? this.handlers.pull(CHUNK) : undefined);
      if (!next) {
        this.lastProgress = this.clock.now();
        return left <= 0;
      }
      const written = this.socket.write(next);
      // bytes that were not waiting yet begin to wait now
      if (written > 0 || !this.pending) this.lastProgress = this.clock.now();
      if (written < next.length) {
        // all of it when the connection is gone (-1): `closed` follows
        this.pending = next.subarray(Math.max(0, written));
        this.bytesOut += Math.max(0, written);
        return false;
      }
      this.pending = undefined;
      this.bytesOut += written;
      left -= written;
    }
    return false;
  }

  /** A last message if there is room for it, then the end. A blocked connection is cut: its NOTIFICATION cannot go out. */
  close(): void {
    if (!this.open) return;
    if (!this.pending) {
      for (const message of this.control) if (this.socket.write(message) < message.length) break;
    }
    const blocked = this.pending !== undefined;
    this.open = false;
    if (blocked) this.socket.abort();
    else this.socket.close();
  }
}
