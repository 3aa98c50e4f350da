/**
 * A set of small integers as a bitmap: which prefixes changed. Marking costs a few instructions and nothing is allocated,
 * so a burst of changes of one prefix is one bit, and a consumer that falls behind costs one bit per prefix. Members come
 * out in ascending order, round after round, so that no prefix starves however often others change.
 */
export class DirtySet {
  private words: Uint32Array;
  /** Words outside [low, high] are zero. */
  private low = 0;
  private high = -1;
  private cursor = 0;
  size = 0;

  /** With room for the numbers below `capacity`; it grows. */
  constructor(capacity = 65536) {
    this.words = new Uint32Array(capacity >>> 5);
  }

  has(index: number): boolean {
    const word = this.words[index >>> 5];
    return word !== undefined && (word & (1 << (index & 31))) !== 0;
  }

  add(index: number): boolean {
    const w = index >>> 5;
    if (w >= this.words.length) this.grow(w);
    const old = this.words[w]!;
    const now = (old | (1 << (index & 31))) >>> 0;
    if (now === old) return false;
    this.words[w] = now;
    this.size++;
    if (w < this.low || this.high < 0) this.low = w;
    if (w > this.high) this.high = w;
    return true;
  }

  delete(index: number): boolean {
    const w = index >>> 5;
    const old = this.words[w];
    if (old === undefined) return false;
    const now = (old & ~(1 << (index & 31))) >>> 0;
    if (now === old) return false;
    this.words[w] = now;
    if (--this.size === 0) this.empty();
    return true;
  }

  /** Moves up to `out.length` members into `out`, ascending; returns how many. */
  take(out: Uint32Array): number {
    const words = this.words;
    const limit = Math.min(out.length, this.size);
    let n = 0;
    let w = this.cursor;
    while (n < limit) {
      if (w > this.high || w < this.low) {
        if (n > 0) break; // the next round starts below: keeps each batch ascending
        w = this.low;
      }
      let word = words[w]!;
      while (word !== 0 && n < limit) {
        const bit = 31 - Math.clz32(word & -word);
        word = (word & (word - 1)) >>> 0;
        out[n++] = (w << 5) | bit;
      }
      words[w] = word;
      if (word === 0) w++;
    }
    this.cursor = w;
    this.size -= n;
    if (this.size === 0) this.empty();
    return n;
  }

  /** Everything goes into the other set. */
  moveTo(other: DirtySet): void {
    for (let w = this.low; w <= this.high; w++) {
      for (let word = this.words[w]!; word !== 0; word = (word & (word - 1)) >>> 0) {
        other.add((w << 5) | (31 - Math.clz32(word & -word)));
      }
    }
    this.clear();
  }

  clear(): void {
    if (this.high >= 0) this.words.fill(0, this.low, this.high + 1);
    this.size = 0;
    this.empty();
  }

  get bytes(): number {
    return this.words.byteLength;
  }

  private empty(): void {
    this.low = 0;
    this.high = -1;
    this.cursor = 0;
  }

  private grow(word: number): void {
    const grown = new Uint32Array(Math.max(word + 1, this.words.length * 2));
    grown.set(this.words);
    this.words = grown;
  }
}
