/**
 * Cuts a TCP stream into BGP messages (RFC 4271 §4.1) and finds header errors (§6.1).
 *
 *     0                   1                   2                   3
 *     +---------------------------------------------------------------+
 *     |                    Marker (16 octets, all ones)               |
 *     +-------------------------------+---------------+---------------+
 *     |          Length               |      Type     |
 *     +-------------------------------+---------------+
 *
 * Whole messages are handed out where they lie in the received chunk. Only a message that crosses chunks is copied, each
 * octet once, so a peer that sends single octets costs no more than one that sends full segments.
 */
import { ErrorCode, HEADER_LENGTH, HeaderError, MARKER_LENGTH, MAX_MESSAGE_LENGTH, MessageType } from './iana.ts';
import { protocolError } from './notification.ts';
import type { ProtocolError } from './types.ts';

const MIN_LENGTH: readonly number[] = [0, 29, 23, 21, 19, 23];

/** The chunk of a connection that has none. */
const nothing = new Uint8Array(0);

export const FrameStatus = { Incomplete: 0, Message: 1, Error: 2 } as const;
export type FrameStatus = (typeof FrameStatus)[keyof typeof FrameStatus];

/**
 * `push` a chunk, then call `next` until it gives `Incomplete`. After `Message`, the whole message (with header) is
 * `bytes[start, end)` and valid until the next call; `Error` is final. A caller that stops before `Incomplete` must call
 * `detach` when the chunk's memory is not its own.
 */
export class Framer {
  /** MAX_EXTENDED_MESSAGE_LENGTH where our OPEN offered RFC 8654. */
  maxLength: number = MAX_MESSAGE_LENGTH;
  bytes = nothing;
  start = 0;
  end = 0;
  type = 0;
  error: ProtocolError | undefined;

  private chunk = nothing;
  private offset = 0;
  /** The beginning of a message that crosses chunks. */
  private carry = nothing;
  private carried = 0;

  push(chunk: Uint8Array): void {
    if (this.offset < this.chunk.length) this.detach();
    if (this.offset < this.chunk.length) {
      // more than one chunk behind: join them, which a caller that drains `next` never needs
      const joined = new Uint8Array(this.chunk.length - this.offset + chunk.length);
      joined.set(this.chunk.subarray(this.offset));
      joined.set(chunk, this.chunk.length - this.offset);
      this.chunk = joined;
    } else this.chunk = chunk as Uint8Array<ArrayBuffer>;
    this.offset = 0;
  }

  /** Copies what is left of the chunk, so that its memory may be used again. */
  detach(): void {
    this.chunk = this.chunk.slice(this.offset);
    this.offset = 0;
  }

  next(): FrameStatus {
    if (this.error) return FrameStatus.Error;
    if (this.carried > 0) return this.nextCarried();
    const left = this.chunk.length - this.offset;
    if (left >= HEADER_LENGTH) {
      const length = this.header(this.chunk, this.offset);
      if (length < 0) return FrameStatus.Error;
      if (left >= length) return this.deliver(this.chunk, this.offset, (this.offset += length));
    }
    if (left > 0) this.fill(left);
    // between messages an idle connection holds on to nothing
    this.chunk = this.bytes = nothing;
    this.offset = 0;
    return FrameStatus.Incomplete;
  }

  private nextCarried(): FrameStatus {
    if (this.carried < HEADER_LENGTH) this.fill(HEADER_LENGTH - this.carried);
    if (this.carried < HEADER_LENGTH) return FrameStatus.Incomplete;
    const length = this.header(this.carry, 0);
    if (length < 0) return FrameStatus.Error;
    this.fill(length - this.carried);
    if (this.carried < length) return FrameStatus.Incomplete;
    this.carried = 0;
    return this.deliver(this.carry, 0, length);
  }

  /** Moves up to `wanted` octets from the chunk behind those carried. */
  private fill(wanted: number): void {
    const n = Math.min(wanted, this.chunk.length - this.offset);
    const need = this.carried + n;
    if (need > this.carry.length) {
      const grown = new Uint8Array(Math.max(need, MAX_MESSAGE_LENGTH, Math.min(2 * need, this.maxLength)));
      grown.set(this.carry.subarray(0, this.carried));
      this.carry = grown;
    }
    this.carry.set(this.chunk.subarray(this.offset, this.offset + n), this.carried);
    this.carried = need;
    this.offset += n;
  }

  private deliver(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): FrameStatus {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    return FrameStatus.Message;
  }

  /** The message's length; −1 with `error` set when the header is wrong. Sets `type`. */
  private header(bytes: Uint8Array, at: number): number {
    for (let i = 0; i < MARKER_LENGTH; i++) {
      if (bytes[at + i] !== 0xff) return this.fail(HeaderError.NotSynchronized, [], 'the marker is not all ones');
    }
    const length = (bytes[at + 16]! << 8) | bytes[at + 17]!;
    const type = bytes[at + 18]!;
    const lengthOctets = [length >> 8, length & 0xff];
    const max = type === MessageType.Open ? MAX_MESSAGE_LENGTH : this.maxLength; // RFC 8654 §6
    if (length < HEADER_LENGTH || length > max) {
      return this.fail(HeaderError.BadLength, lengthOctets, `message length ${length}`);
    }
    const min = MIN_LENGTH[type];
    if (min === undefined || type === 0) return this.fail(HeaderError.BadType, [type], `message type ${type}`);
    if (length < min || (type === MessageType.Keepalive && length !== min)) {
      return this.fail(HeaderError.BadLength, lengthOctets, `length ${length} for message type ${type}`);
    }
    this.type = type;
    return length;
  }

  private fail(subcode: number, data: readonly number[], reason: string): -1 {
    this.error = protocolError(ErrorCode.MessageHeader, subcode, `bad message header: ${reason}`, data);
    return -1;
  }
}
