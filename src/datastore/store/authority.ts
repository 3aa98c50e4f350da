/**
 * Makes HTTP/2 requests acceptable whose `:authority` is no authority. Go's gRPC clients, etcdctl among them, send the
 * whole endpoint there: `/run/godwit/store.sock`, `http://127.0.0.1:2379`. RFC 9113 §8.3.1 lets a server refuse that as
 * malformed, and node:http2 does, before the program sees it. So the bytes are mended on their way in: each slash of the
 * value becomes a dot. In HPACK's Huffman code (RFC 7541 appendix B) both have six bits, so nothing moves, and as the
 * length stays the same the two sides' tables stay in step. What cannot be followed is passed on as it came.
 */

const PREFACE = 24;
const FRAME_HEADER = 9;
const HEADERS = 1;
const PADDED = 0x08;
const PRIORITY = 0x20;
/** Frames above the default limit are not held back: the HTTP/2 library refuses them. */
const MAX_FRAME = 16_384;
const AUTHORITY_INDEX = 1;

export class AuthorityMender {
  /** Bytes of the preface still to come. */
  private preface = PREFACE;
  /** Bytes of a frame's payload that pass as they are. */
  private passing = 0;
  private held: Buffer = Buffer.alloc(0);

  /** What may be passed on, now that `chunk` is here. The bytes are mended in place. */
  push(chunk: Buffer): Buffer {
    const bytes = this.held.length === 0 ? chunk : Buffer.concat([this.held, chunk]);
    let at = Math.min(this.preface, bytes.length);
    this.preface -= at;
    while (at < bytes.length) {
      if (this.passing > 0) {
        const length = Math.min(this.passing, bytes.length - at);
        this.passing -= length;
        at += length;
        continue;
      }
      if (bytes.length - at < FRAME_HEADER) break;
      const length = bytes.readUIntBE(at, 3);
      const isHeaders = bytes[at + 3] === HEADERS && length <= MAX_FRAME;
      if (isHeaders && bytes.length - at < FRAME_HEADER + length) break;
      const start = at + FRAME_HEADER;
      if (isHeaders) mendHeaders(bytes.subarray(start, start + length), bytes[at + 4]!);
      this.passing = isHeaders ? 0 : length;
      at = start + (isHeaders ? length : 0);
    }
    this.held = bytes.subarray(at);
    return bytes.subarray(0, at);
  }
}

function mendHeaders(payload: Buffer, flags: number): void {
  let at = (flags & PADDED ? 1 : 0) + (flags & PRIORITY ? 5 : 0);
  while (at < payload.length) {
    const first = payload[at]!;
    // RFC 7541 §6: indexed field, table size update, or a literal whose name has an index of 6 or 4 bits
    if (first >= 0x80) at = integer(payload, at, 7).next;
    else if (first >> 5 === 1) at = integer(payload, at, 5).next;
    else {
      const name = integer(payload, at, first >= 0x40 ? 6 : 4);
      if (name.value === 0) name.next = text(payload, name.next).next;
      const value = text(payload, name.next);
      if (value.next > payload.length) return;
      if (name.value === AUTHORITY_INDEX) mendText(payload.subarray(value.start, value.next), value.huffman);
      at = value.next;
    }
  }
}

/** RFC 7541 §5.1. Past the end it reads zeros, and the caller finds itself past the end. */
function integer(bytes: Buffer, at: number, prefixBits: number): { value: number; next: number } {
  const mask = 2 ** prefixBits - 1;
  let value = (bytes[at] ?? 0) & mask;
  let next = at + 1;
  if (value < mask) return { value, next };
  for (let factor = 1; next <= bytes.length; factor *= 128) {
    const byte = bytes[next++] ?? 0;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  return { value, next };
}

/** RFC 7541 §5.2. */
function text(bytes: Buffer, at: number): { huffman: boolean; start: number; next: number } {
  const length = integer(bytes, at, 7);
  return { huffman: (bytes[at] ?? 0) >= 0x80, start: length.next, next: length.next + length.value };
}

function mendText(value: Buffer, huffman: boolean): void {
  if (!huffman) {
    for (let i = 0; i < value.length; i++) if (value[i] === 0x2f) value[i] = 0x2e;
    return;
  }
  const total = value.length * 8;
  const bits = (at: number, count: number): number => {
    const pair = ((value[at >> 3] ?? 0xff) << 8) | (value[(at >> 3) + 1] ?? 0xff);
    return (pair >> (16 - (at & 7) - count)) & (2 ** count - 1);
  };
  for (let at = 0; at < total;) {
    const length = codeLength(bits(at, 8));
    if (length === 0) return;
    if (length === 6 && bits(at, 6) === SLASH && at + 6 <= total) writeDot(value, at);
    at += length;
  }
}

const SLASH = 0b011000;
/** The dot's code, 010111, differs from the slash's in its last four bits, which are flipped. */
const FLIP = 0b001111;

function writeDot(value: Buffer, at: number): void {
  for (let bit = 0; bit < 6; bit++) {
    if ((FLIP >> (5 - bit)) & 1) value[(at + bit) >> 3]! ^= 0x80 >> ((at + bit) & 7);
  }
}

/** Bits of the code that begins with these eight; 0 for longer ones, which no host name has. */
function codeLength(eight: number): number {
  if (eight >> 3 < 0b01010) return 5;
  if (eight >> 2 <= 0b101101) return 6;
  if (eight >> 1 <= 0b1111011) return 7;
  return eight <= 0b11111101 ? 8 : 0;
}
