/**
 * The TCP side of one neighbour: its connections and attempts at one, by the id of the session that asked for them. Seldom
 * more than one; two while a collision (RFC 4271 §6.8) is not settled.
 */
import type { Clock } from '../../base/mod.ts';
import type { NeighborConfig } from '../config/mod.ts';
import type { SessionEvent } from '../fsm/mod.ts';
import { encodeOpen } from '../wire/mod.ts';
import type { OpenMessage } from '../wire/mod.ts';
import { Connection } from './connection.ts';
import type { Network, Socket } from './network.ts';
import { timeToLive } from './session-settings.ts';

export interface LinkHandlers {
  /** What happened to a connection, for its session. */
  event(id: number, event: SessionEvent): void;
  /** One whole message. False ends the reading: the connection was closed over it. */
  message(id: number, type: number, bytes: Uint8Array, start: number, end: number): boolean;
  batchEnd(id: number): void;
  /** The next UPDATEs for it. */
  pull(id: number, maxBytes: number): Uint8Array | undefined;
  writable(): void;
}

export class Links {
  private readonly clock: Clock;
  private readonly network: Network;
  private readonly handlers: LinkHandlers;
  private readonly connections = new Map<number, Connection>();
  private readonly dials = new Map<number, Disposable>();
  private readonly opens = new Map<number, OpenMessage>();

  constructor(clock: Clock, network: Network, handlers: LinkHandlers) {
    this.clock = clock;
    this.network = network;
    this.handlers = handlers;
  }

  /** Neither a connection nor an attempt at one. */
  get none(): boolean {
    return this.connections.size === 0 && this.dials.size === 0;
  }

  get(id: number): Connection | undefined {
    return this.connections.get(id);
  }

  /** Our OPEN on this connection, once it was sent. */
  openOn(id: number): OpenMessage | undefined {
    return this.opens.get(id);
  }

  /** TcpCrAcked or TcpConnectionFails follows. */
  dial(id: number, config: NeighborConfig): void {
    const { address, port, source, device, password } = config;
    const [ttl, minimumTtl] = timeToLive(config);
    const attempt = this.network.dial(
      {
        remote: address,
        port,
        ttl,
        minimumTtl,
        ...(source !== undefined && { source }),
        ...(device !== undefined && { device }),
        ...(password !== undefined && { password }),
      },
      (socket) => {
        this.dials.delete(id);
        this.attach(id, socket);
        this.handlers.event(id, { type: 'TcpCrAcked' });
      },
      (detail) => {
        this.dials.delete(id);
        this.handlers.event(id, { type: 'TcpConnectionFails', detail });
      },
    );
    this.dials.set(id, attempt);
  }

  attach(id: number, socket: Socket): void {
    const { handlers } = this;
    const connection = new Connection(socket, this.clock, {
      message: (type, bytes, start, end) => handlers.message(id, type, bytes, start, end),
      batchEnd: () => handlers.batchEnd(id),
      malformed: ({ notification }) => handlers.event(id, { type: 'BgpHeaderErr', notification }),
      lost: (detail) => handlers.event(id, { type: 'TcpConnectionFails', detail }),
      pull: (maxBytes) => handlers.pull(id, maxBytes),
      writable: () => handlers.writable(),
    });
    this.connections.set(id, connection);
  }

  send(id: number, message: Uint8Array): void {
    this.connections.get(id)?.send(message);
  }

  sendOpen(id: number, open: OpenMessage): void {
    this.opens.set(id, open);
    this.send(id, encodeOpen(open));
  }

  close(id: number): void {
    this.dials.get(id)?.[Symbol.dispose]();
    this.dials.delete(id);
    this.connections.get(id)?.close();
    this.connections.delete(id);
    this.opens.delete(id);
  }

  /** Closes all without a word. */
  vanish(): void {
    for (const connection of this.connections.values()) connection.socket.close();
    for (const dial of this.dials.values()) dial[Symbol.dispose]();
    this.connections.clear();
    this.dials.clear();
  }
}
