/**
 * A map for tens of thousands of texts. The runtime's own grows fourfold: with 20,000 keys it takes 3.3 MB and holds
 * 170 bytes for each, nearly all of them empty, and the announcer has half a dozen such maps. Here keys and values lie in
 * two lists and are found by a table of indexes, some 35 bytes a key. For small maps `Map` is as good.
 *
 * It may be changed while it is walked: what is there all the time is met once, what comes or goes meanwhile perhaps. The
 * order is that of insertion only as long as nothing is deleted.
 */
export class TextMap<K extends string, V> {
  private readonly keyAt: (K | undefined)[] = [];
  private readonly valueAt: (V | undefined)[] = [];
  private hashAt = new Int32Array(SMALLEST / 2);
  /** Indexes plus one by hash, linear probing, at most half full; 0 is a free slot. */
  private slots = new Uint32Array(SMALLEST);
  /** Indexes without a key, used again. */
  private readonly holes: number[] = [];
  private count = 0;

  get size(): number {
    return this.count;
  }

  get(key: K): V | undefined {
    const slot = this.slotOf(key, hash(key));
    return slot < 0 ? undefined : this.valueAt[this.slots[slot]! - 1];
  }

  has(key: K): boolean {
    return this.slotOf(key, hash(key)) >= 0;
  }

  set(key: K, value: V): void {
    const h = hash(key);
    const known = this.slotOf(key, h);
    if (known >= 0) {
      this.valueAt[this.slots[known]! - 1] = value;
      return;
    }
    if (++this.count * 2 > this.slots.length) this.grow();
    const index = this.holes.pop() ?? this.keyAt.length;
    this.keyAt[index] = key;
    this.valueAt[index] = value;
    this.hashAt[index] = h;
    this.place(index);
  }

  /** Whether it was there. */
  delete(key: K): boolean {
    const { slots, hashAt } = this;
    let hole = this.slotOf(key, hash(key));
    if (hole < 0) return false;
    const index = slots[hole]! - 1;
    this.keyAt[index] = undefined;
    this.valueAt[index] = undefined;
    this.holes.push(index);
    this.count--;
    // those behind it that would no longer be found move up
    const mask = slots.length - 1;
    for (let s = (hole + 1) & mask; slots[s] !== 0; s = (s + 1) & mask) {
      const home = hashAt[slots[s]! - 1]! & mask;
      if (((s - home) & mask) < ((s - hole) & mask)) continue;
      slots[hole] = slots[s]!;
      hole = s;
    }
    slots[hole] = 0;
    return true;
  }

  *keys(): Generator<K> {
    for (const key of this.keyAt) if (key !== undefined) yield key;
  }

  *values(): Generator<V> {
    for (const [, value] of this) yield value;
  }

  *[Symbol.iterator](): Generator<readonly [K, V]> {
    for (let index = 0; index < this.keyAt.length; index++) {
      const key = this.keyAt[index];
      if (key !== undefined) yield [key, this.valueAt[index]!];
    }
  }

  private slotOf(key: K, h: number): number {
    const { slots, hashAt, keyAt } = this;
    const mask = slots.length - 1;
    for (let s = h & mask; slots[s] !== 0; s = (s + 1) & mask) {
      const index = slots[s]! - 1;
      if (hashAt[index] === h && keyAt[index] === key) return s;
    }
    return -1;
  }

  private place(index: number): void {
    const { slots } = this;
    const mask = slots.length - 1;
    let s = this.hashAt[index]! & mask;
    while (slots[s] !== 0) s = (s + 1) & mask;
    slots[s] = index + 1;
  }

  private grow(): void {
    const { keyAt, hashAt, slots } = this;
    this.hashAt = new Int32Array(slots.length);
    this.hashAt.set(hashAt);
    this.slots = new Uint32Array(slots.length * 2);
    for (let index = 0; index < keyAt.length; index++) if (keyAt[index] !== undefined) this.place(index);
  }
}

/** A power of two. */
const SMALLEST = 16;

function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return h ^ (h >>> 13);
}
