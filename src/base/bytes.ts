/**
 * Byte cursors. `Reader` checks every read against its window and never throws: the first read past the end sets
 * `failed` and this and all later reads give zeros (or empty slices), so a decoder checks once, where it matters.
 * Numbers are big-endian (network order); the `le` forms are for netlink headers on little-endian machines.
 */
export class Reader {
  readonly bytes: Uint8Array;
  offset: number;
  readonly end: number;
  failed = false;

  constructor(bytes: Uint8Array, offset = 0, end = bytes.length) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = Math.min(end, bytes.length);
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  /** Whether everything was read and nothing was read past the end. */
  get done(): boolean {
    return !this.failed && this.offset === this.end;
  }

  private take(length: number): number {
    const at = this.offset;
    if (this.failed || length < 0 || at + length > this.end) {
      this.failed = true;
      return -1;
    }
    this.offset = at + length;
    return at;
  }

  u8(): number {
    const at = this.take(1);
    return at < 0 ? 0 : this.bytes[at]!;
  }

  u16(): number {
    const at = this.take(2);
    return at < 0 ? 0 : (this.bytes[at]! << 8) | this.bytes[at + 1]!;
  }

  u32(): number {
    const at = this.take(4);
    if (at < 0) return 0;
    const b = this.bytes;
    return ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;
  }

  u16le(): number {
    const at = this.take(2);
    return at < 0 ? 0 : this.bytes[at]! | (this.bytes[at + 1]! << 8);
  }

  u32le(): number {
    const at = this.take(4);
    if (at < 0) return 0;
    const b = this.bytes;
    return (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)) >>> 0;
  }

  i32le(): number {
    return this.u32le() | 0;
  }

  /** A view (not a copy) of the next `length` bytes. */
  view(length: number): Uint8Array {
    const at = this.take(length);
    return at < 0 ? new Uint8Array(0) : this.bytes.subarray(at, at + length);
  }

  /** A reader of its own over the next `length` bytes; it cannot see past them. */
  sub(length: number): Reader {
    const at = this.take(length);
    const reader = at < 0 ? new Reader(this.bytes, 0, 0) : new Reader(this.bytes, at, at + length);
    reader.failed = at < 0;
    return reader;
  }

  skip(length: number): void {
    this.take(length);
  }
}

/** Appends to a buffer that grows by doubling; `reset` keeps the buffer for the next message. */
export class Writer {
  bytes: Uint8Array;
  length = 0;

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity);
  }

  reset(): this {
    this.length = 0;
    return this;
  }

  private room(length: number): number {
    const at = this.length;
    const need = at + length;
    if (need > this.bytes.length) {
      const grown = new Uint8Array(Math.max(need, this.bytes.length * 2));
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.length = need;
    return at;
  }

  u8(value: number): this {
    const at = this.room(1);
    this.bytes[at] = value;
    return this;
  }

  u16(value: number): this {
    const at = this.room(2);
    this.bytes[at] = value >>> 8;
    this.bytes[at + 1] = value;
    return this;
  }

  u32(value: number): this {
    const at = this.room(4);
    this.bytes[at] = value >>> 24;
    this.bytes[at + 1] = value >>> 16;
    this.bytes[at + 2] = value >>> 8;
    this.bytes[at + 3] = value;
    return this;
  }

  u16le(value: number): this {
    const at = this.room(2);
    this.bytes[at] = value;
    this.bytes[at + 1] = value >>> 8;
    return this;
  }

  u32le(value: number): this {
    const at = this.room(4);
    this.bytes[at] = value;
    this.bytes[at + 1] = value >>> 8;
    this.bytes[at + 2] = value >>> 16;
    this.bytes[at + 3] = value >>> 24;
    return this;
  }

  put(bytes: ArrayLike<number>): this {
    const at = this.room(bytes.length);
    this.bytes.set(bytes, at);
    return this;
  }

  zeros(length: number): this {
    const at = this.room(length);
    this.bytes.fill(0, at, at + length);
    return this;
  }

  /** Overwrites what was written before, for lengths known only at the end. */
  patchU16(at: number, value: number): void {
    this.bytes[at] = value >>> 8;
    this.bytes[at + 1] = value;
  }

  patchU16le(at: number, value: number): void {
    this.bytes[at] = value;
    this.bytes[at + 1] = value >>> 8;
  }

  patchU32le(at: number, value: number): void {
    this.patchU16le(at, value & 0xffff);
    this.patchU16le(at + 2, value >>> 16);
  }

  /** A view of what was written, valid until the next write. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** A copy of what was written. */
  copy(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}
