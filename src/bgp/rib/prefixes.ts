/**
 * The prefixes of one address family, each with a small dense index that all other tables use in its place. An open
 * hash table of indexes (linear probing, at most half full) over flat arrays of keys: no object, string or map entry per
 * prefix. An index is stable while its prefix is there and is given to another one after `remove`.
 */
import { addressBytes, prefixAddress, prefixFromBytes, prefixLength } from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import type { PrefixBuffer } from '../wire/mod.ts';
import { firstCapacity } from './columns.ts';

const freed = 255;

export class PrefixTable {
  readonly family: Family;
  /** 32-bit words of a key: 1 or 4. */
  readonly words: 1 | 4;
  /** Address words, host bits zero, `words` of them per index. */
  keys: Uint32Array;
  lengths: Uint8Array;
  size = 0;
  /** Indexes in use are below this; index 0 is never given out. */
  top = 1;
  private slots: Uint32Array;
  private shift: number;
  private nextFree = 0;
  /** Keeps the reads of `touch` from being optimised away. */
  touched = 0;
  private readonly seed: number;

  /** `seed` makes the places of prefixes unpredictable, so that nobody can send prefixes that all collide. */
  constructor(family: Family, seed: number) {
    this.family = family;
    this.words = family === 4 ? 1 : 4;
    this.seed = seed | 0;
    const capacity = firstCapacity[family];
    this.keys = new Uint32Array(capacity * this.words);
    this.lengths = new Uint8Array(capacity).fill(freed);
    this.slots = new Uint32Array(32768);
    this.shift = 32 - 15;
  }

  /** Tables indexed by prefix index need this many entries. */
  get capacity(): number {
    return this.lengths.length;
  }

  get bytes(): number {
    return this.keys.byteLength + this.lengths.byteLength + this.slots.byteLength;
  }

  isUsed(index: number): boolean {
    return index > 0 && index < this.top && this.lengths[index] !== freed;
  }

  /**
   * Where to look for a prefix first. Sixteen IPv4 neighbours of one length have places side by side, in one cache line:
   * they tend to be announced together, and the look-up is bound by memory.
   */
  private hash(a: number, b: number, c: number, d: number, length: number): number {
    if (this.words === 1) {
      const network = length === 0 ? 0 : a >>> (32 - length);
      let h = Math.imul((network >>> 4) ^ this.seed, 0x9e3779b1);
      h = Math.imul(h ^ (h >>> 15) ^ length, 0x85ebca77);
      return ((h >>> this.shift) & ~15) | (network & 15);
    }
    let h = Math.imul(a ^ this.seed, 0x9e3779b1);
    h = Math.imul(h ^ (h >>> 15) ^ b, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13) ^ c, 0xc2b2ae35);
    h = Math.imul(h ^ (h >>> 16) ^ d, 0x27d4eb2f);
    return Math.imul(h ^ (h >>> 15) ^ length, 0x85ebca77) >>> this.shift;
  }

  private hashOf(index: number): number {
    const keys = this.keys;
    if (this.words === 1) return this.hash(keys[index]!, 0, 0, 0, this.lengths[index]!);
    const at = index * 4;
    return this.hash(keys[at]!, keys[at + 1]!, keys[at + 2]!, keys[at + 3]!, this.lengths[index]!);
  }

  private same(index: number, a: number, b: number, c: number, d: number, length: number): boolean {
    if (this.lengths[index] !== length) return false;
    const keys = this.keys;
    if (this.words === 1) return keys[index] === a;
    const at = index * 4;
    return keys[at] === a && keys[at + 1] === b && keys[at + 2] === c && keys[at + 3] === d;
  }

  /** The prefix's index, 0 when it is not there. Host bits must be zero; for IPv4 only `a` counts. */
  find(a: number, b: number, c: number, d: number, length: number): number {
    const slots = this.slots;
    const mask = slots.length - 1;
    for (let s = this.hash(a, b, c, d, length); ; s = (s + 1) & mask) {
      const index = slots[s]!;
      if (index === 0 || this.same(index, a, b, c, d, length)) return index;
    }
  }

  /** The prefix's index, a new one if need be. */
  insert(a: number, b: number, c: number, d: number, length: number): number {
    const slots = this.slots;
    const mask = slots.length - 1;
    let s = this.hash(a, b, c, d, length);
    for (;;) {
      const index = slots[s]!;
      if (index === 0) break;
      if (this.same(index, a, b, c, d, length)) return index;
      s = (s + 1) & mask;
    }
    let index = this.nextFree;
    if (index !== 0) this.nextFree = this.keys[index * this.words]!;
    else {
      index = this.top++;
      if (index >= this.lengths.length) this.growKeys();
    }
    slots[s] = index;
    this.lengths[index] = length;
    const at = index * this.words;
    const keys = this.keys;
    keys[at] = a;
    if (this.words === 4) {
      keys[at + 1] = b;
      keys[at + 2] = c;
      keys[at + 3] = d;
    }
    // by four: every step costs as much as inserting all there is
    if (++this.size * 2 > slots.length) this.rehash(slots.length * 4);
    return index;
  }

  /**
   * Reads the places where these prefixes will be looked for. A look-up is one wait for memory; here they are asked for
   * all at once, so that the look-ups that follow find them in the cache. Halves the time of a full table.
   */
  touch(buffer: PrefixBuffer): void {
    const { words, lengths, count } = buffer;
    if (this.words !== 1 || count < 4) return;
    const { slots } = this;
    let all = 0;
    for (let i = 0; i < count; i++) all |= slots[this.hash(words[i]!, 0, 0, 0, lengths[i]!)]!;
    this.touched = all;
  }

  remove(index: number): void {
    const slots = this.slots;
    const mask = slots.length - 1;
    let hole = this.hashOf(index);
    while (slots[hole] !== index) hole = (hole + 1) & mask;
    // close the gap, so that no look-up ends early: move back every later one that may stand in the hole
    for (let s = (hole + 1) & mask; slots[s] !== 0; s = (s + 1) & mask) {
      const home = this.hashOf(slots[s]!);
      if (((s - home) & mask) >= ((s - hole) & mask)) {
        slots[hole] = slots[s]!;
        hole = s;
      }
    }
    slots[hole] = 0;
    this.release(index);
  }

  /** Removes many at once; when few remain, by building the hash table again. */
  removeMany(indexes: Uint32Array, count: number): void {
    if (count < 1024 || count * 2 < this.size) {
      for (let i = 0; i < count; i++) this.remove(indexes[i]!);
      return;
    }
    // from the last to the first, so that they are given out again in ascending order
    for (let i = count - 1; i >= 0; i--) this.release(indexes[i]!);
    if (this.size === 0) {
      this.top = 1;
      this.nextFree = 0;
    }
    let slots = this.slots.length;
    while (slots > 32768 && this.size * 16 < slots) slots /= 4;
    this.rehash(slots);
  }

  private release(index: number): void {
    this.lengths[index] = freed;
    this.keys[index * this.words] = this.nextFree;
    this.nextFree = index;
    this.size--;
  }

  private growKeys(): void {
    const capacity = this.lengths.length * 2;
    const keys = new Uint32Array(capacity * this.words);
    keys.set(this.keys);
    this.keys = keys;
    const lengths = new Uint8Array(capacity).fill(freed, this.lengths.length);
    lengths.set(this.lengths);
    this.lengths = lengths;
  }

  private rehash(size: number): void {
    const slots = size === this.slots.length ? this.slots.fill(0) : new Uint32Array(size);
    this.slots = slots;
    this.shift = Math.clz32(size) + 1;
    const mask = size - 1;
    if (this.size === 0) return;
    for (let index = 1; index < this.top; index++) {
      if (this.lengths[index] === freed) continue;
      let s = this.hashOf(index);
      while (slots[s] !== 0) s = (s + 1) & mask;
      slots[s] = index;
    }
  }

  // --------------------------------------------------------------------------------------------- off the hot path

  text(index: number): Prefix {
    const bytes = new Uint8Array(4 * this.words);
    this.writeAddress(index, bytes, 0, bytes.length);
    return prefixFromBytes(bytes, this.lengths[index]!);
  }

  findText(prefix: Prefix): number {
    const [a, b, c, d] = wordsOf(prefix);
    return this.find(a, b, c, d, prefixLength(prefix));
  }

  insertText(prefix: Prefix): number {
    const [a, b, c, d] = wordsOf(prefix);
    return this.insert(a, b, c, d, prefixLength(prefix));
  }

  /** Indexes of this prefix, of all inside it, or of all around it (both with itself), in no order. */
  *matching(prefix: Prefix, match: 'exact' | 'within' | 'covering'): Generator<number> {
    const words = wordsOf(prefix);
    const length = prefixLength(prefix);
    if (match === 'within') {
      for (let index = 1; index < this.top; index++) {
        const own = this.lengths[index]!;
        if (own !== freed && own >= length && this.sharesBits(index, words, length)) yield index;
      }
      return;
    }
    for (let l = match === 'covering' ? 0 : length; l <= length; l++) {
      const [a, b, c, d] = words.map((word, i) => masked(word, l - 32 * i)) as [number, number, number, number];
      const index = this.find(a, b, c, d, l);
      if (index !== 0) yield index;
    }
  }

  private sharesBits(index: number, words: readonly number[], bits: number): boolean {
    const at = index * this.words;
    for (let i = 0; i < this.words; i++) {
      if (masked(this.keys[at + i]!, bits - 32 * i) !== masked(words[i]!, bits - 32 * i)) return false;
    }
    return true;
  }

  /** The first `count` bytes of the address. */
  writeAddress(index: number, into: Uint8Array, at: number, count: number): void {
    const base = index * this.words;
    for (let i = 0; i < count; i++) into[at + i] = this.keys[base + (i >>> 2)]! >>> (24 - 8 * (i & 3));
  }
}

/** The first `bits` bits of a word, none when negative. */
function masked(word: number, bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? word : (word & (-1 << (32 - bits))) >>> 0;
}

function wordsOf(prefix: Prefix): [number, number, number, number] {
  const bytes = new Uint8Array(16);
  bytes.set(addressBytes(prefixAddress(prefix)));
  const view = new DataView(bytes.buffer);
  return [view.getUint32(0), view.getUint32(4), view.getUint32(8), view.getUint32(12)];
}
