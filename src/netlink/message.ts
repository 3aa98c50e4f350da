/**
 * Netlink messages: a header, a fixed part, and attributes (type, length, value, padded to 4). Several requests are
 * collected in one `Batch`, go to the kernel in one system call, and are answered one by one.
 */
import { Reader, Writer } from '../base/mod.ts';
import { NLA_F_NESTED, NLM_F } from './codes.ts';

const HEADER_LENGTH = 16;
const ATTRIBUTE_TYPE_MASK = 0x3fff;

export class Batch {
  /** What each request does, for its error: `route 10.244.1.0/24 via 10.168.0.3`. */
  readonly names: string[] = [];
  private readonly writer = new Writer(4096);
  private start = 0;

  get count(): number {
    return this.names.length;
  }

  get length(): number {
    return this.writer.length;
  }

  reset(): this {
    this.writer.reset();
    this.names.length = 0;
    return this;
  }

  /** Opens a request; its sequence number is its position in the batch, counted from 1. */
  begin(type: number, flags: number, name: string): this {
    this.start = this.writer.length;
    this.names.push(name);
    this.writer
      .u32le(0)
      .u16le(type)
      .u16le(flags | NLM_F.REQUEST);
    this.writer.u32le(this.names.length).u32le(0);
    return this;
  }

  end(): this {
    this.writer.patchU32le(this.start, this.writer.length - this.start);
    return this.pad();
  }

  u8(value: number): this {
    this.writer.u8(value);
    return this;
  }

  u16(value: number): this {
    this.writer.u16le(value);
    return this;
  }

  u32(value: number): this {
    this.writer.u32le(value);
    return this;
  }

  private pad(): this {
    this.writer.zeros(-this.writer.length & 3);
    return this;
  }

  attribute(type: number, value: ArrayLike<number>): this {
    this.writer
      .u16le(4 + value.length)
      .u16le(type)
      .put(value);
    return this.pad();
  }

  attributeU8(type: number, value: number): this {
    return this.attribute(type, [value]);
  }

  attributeU16be(type: number, value: number): this {
    return this.attribute(type, [value >>> 8, value & 0xff]);
  }

  attributeU32(type: number, value: number): this {
    this.writer.u16le(8).u16le(type).u32le(value);
    return this;
  }

  attributeU32be(type: number, value: number): this {
    this.writer.u16le(8).u16le(type).u32(value);
    return this;
  }

  attributeU64be(type: number, value: bigint): this {
    this.writer
      .u16le(12)
      .u16le(type)
      .u32(Number(value >> 32n))
      .u32(Number(value & 0xffffffffn));
    return this;
  }

  /** A C string, with its terminating zero. */
  attributeString(type: number, value: string): this {
    return this.attribute(type, new TextEncoder().encode(`${value}\0`));
  }

  nested(type: number, content: () => void): this {
    const at = this.writer.length;
    this.writer.u16le(0).u16le(type | NLA_F_NESTED);
    content();
    this.writer.patchU16le(at, this.writer.length - at);
    return this.pad();
  }

  /** A sub-structure with its length in its first 16 bits, as in RTA_MULTIPATH. */
  counted(content: () => void): this {
    const at = this.writer.length;
    this.writer.u16le(0);
    content();
    this.writer.patchU16le(at, this.writer.length - at);
    return this.pad();
  }

  bytes(): Uint8Array {
    return this.writer.view();
  }
}

export interface MessageHeader {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
}

/** Calls `visit` for each message in a datagram; stops at one whose length is impossible. */
export function forEachMessage(bytes: Uint8Array, visit: (header: MessageHeader, body: Reader) => void): void {
  const reader = new Reader(bytes);
  while (reader.remaining >= HEADER_LENGTH) {
    const length = reader.u32le();
    const header = { type: reader.u16le(), flags: reader.u16le(), sequence: reader.u32le() };
    reader.skip(4);
    const body = reader.sub(length - HEADER_LENGTH);
    if (body.failed) return;
    visit(header, body);
    reader.skip(Math.min(-length & 3, reader.remaining));
  }
}

/** Calls `visit` for each attribute left in `reader`; stops at one whose length is impossible. */
export function forEachAttribute(reader: Reader, visit: (type: number, value: Reader) => void): void {
  while (reader.remaining >= 4) {
    const length = reader.u16le();
    const type = reader.u16le() & ATTRIBUTE_TYPE_MASK;
    const value = reader.sub(length - 4);
    if (value.failed) return;
    visit(type, value);
    reader.skip(Math.min(-length & 3, reader.remaining));
  }
}

/** A C string attribute, without its terminating zero. */
export function readString(value: Reader): string {
  const bytes = value.view(value.remaining);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
