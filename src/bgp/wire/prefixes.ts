/**
 * NLRI (RFC 4271 §4.3, RFC 4760 §5): a length in bits and as many octets as it needs, decoded into typed arrays that are
 * used again for the next message. One million prefixes pass here at start-up, so nothing is allocated per prefix and
 * addresses stay numbers: one 32-bit word for IPv4, four for IPv6, host bits cleared.
 *
 *     +---------------------------+
 *     |   Path Identifier (4)     |  only with ADD-PATH, RFC 7911
 *     +---------------------------+
 *     |   Length in bits (1)      |
 *     +---------------------------+
 *     |   Prefix (0 … 4 or 16)    |
 *     +---------------------------+
 */
import { addressFromBytes, type Prefix, prefixOf } from '../../net/mod.ts';
import { Afi, type AfiSafi, afiOf, IPV4_UNICAST } from './iana.ts';

/** Prefixes of one family in flat arrays; the first `count` entries are valid. */
export class PrefixBuffer {
  family: AfiSafi = IPV4_UNICAST;
  count = 0;
  /** Words per prefix in `words`: 1 for IPv4, 4 for IPv6 (most significant first). */
  stride: 1 | 4 = 1;
  words = new Uint32Array(0);
  lengths = new Uint8Array(0);
  /** RFC 7911 identifiers; 0 throughout without ADD-PATH. */
  pathIds = new Uint32Array(0);

  /** Empties the buffer for `family` with room for `capacity` prefixes; what was in it is gone. */
  reset(family: AfiSafi, capacity: number): void {
    this.family = family;
    this.stride = afiOf(family) === Afi.IPv6 ? 4 : 1;
    this.count = 0;
    if (this.words.length < capacity * this.stride) this.words = new Uint32Array(capacity * this.stride);
    if (this.lengths.length < capacity) {
      this.lengths = new Uint8Array(capacity);
      this.pathIds = new Uint32Array(capacity);
    }
  }
}

/** Decodes NLRI in `bytes[start, end)` into `out`; false when a length is too great or the octets end early. */
export function decodePrefixes(
  bytes: Uint8Array,
  start: number,
  end: number,
  family: AfiSafi,
  addPath: boolean,
  out: PrefixBuffer,
): boolean {
  // every prefix takes at least its length octet
  out.reset(family, end - start);
  if (addPath) return decodeAny(bytes, start, end, true, out);
  return out.stride === 1 ? decodeIPv4(bytes, start, end, out) : decodeAny(bytes, start, end, false, out);
}

function decodeIPv4(bytes: Uint8Array, start: number, end: number, out: PrefixBuffer): boolean {
  const words = out.words;
  const lengths = out.lengths;
  let at = start;
  let n = 0;
  while (at < end) {
    const length = bytes[at]!;
    const octets = (length + 7) >> 3;
    const next = at + 1 + octets;
    if (length > 32 || next > end) return false;
    // the shift count is taken modulo 32, so /0 needs its own word
    let word = 0;
    if (octets > 0) {
      word = bytes[at + 1]! << 24;
      if (octets > 1) {
        word |= bytes[at + 2]! << 16;
        if (octets > 2) {
          word |= bytes[at + 3]! << 8;
          if (octets > 3) word |= bytes[at + 4]!;
        }
      }
      word &= -1 << (32 - length);
    }
    words[n] = word;
    lengths[n] = length;
    n++;
    at = next;
  }
  out.count = n;
  return true;
}

function decodeAny(bytes: Uint8Array, start: number, end: number, addPath: boolean, out: PrefixBuffer): boolean {
  const { words, lengths, pathIds, stride } = out;
  const maxLength = stride === 1 ? 32 : 128;
  let at = start;
  let n = 0;
  while (at < end) {
    let pathId = 0;
    if (addPath) {
      if (at + 5 > end) return false;
      pathId = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
      at += 4;
    }
    const length = bytes[at]!;
    const octets = (length + 7) >> 3;
    const first = at + 1;
    const next = first + octets;
    if (length > maxLength || next > end) return false;
    const base = n * stride;
    for (let w = 0; w < stride; w++) {
      const left = octets - 4 * w;
      const p = first + 4 * w;
      let word = 0;
      if (left > 0) {
        word = bytes[p]! << 24;
        if (left > 1) word |= bytes[p + 1]! << 16;
        if (left > 2) word |= bytes[p + 2]! << 8;
        if (left > 3) word |= bytes[p + 3]!;
        const bits = length - 32 * w;
        if (bits < 32) word &= -1 << (32 - bits);
      }
      words[base + w] = word;
    }
    lengths[n] = length;
    pathIds[n] = pathId;
    n++;
    at = next;
  }
  out.count = n;
  return true;
}

/** The `index`-th prefix as text, for people and tests. */
export function prefixAt(buffer: PrefixBuffer, index: number): Prefix {
  const octets = new Uint8Array(buffer.stride * 4);
  for (let w = 0; w < buffer.stride; w++) {
    const word = buffer.words[index * buffer.stride + w]!;
    for (let i = 0; i < 4; i++) octets[4 * w + i] = word >>> (24 - 8 * i);
  }
  return prefixOf(addressFromBytes(octets), buffer.lengths[index]!);
}
