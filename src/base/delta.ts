/**
 * Desired and actual state of one kind of thing, and what differs. Producers write `desired`, the driver writes what it
 * saw or did into `actual` and drains `missing` and `surplus`. A failed write simply leaves the entry different, so it is
 * pending again at the next pass and stops nothing else.
 */
export class DeltaMap<K, V> {
  private readonly desired = new Map<K, V>();
  private readonly actual = new Map<K, V>();
  private readonly dirty = new Set<K>();
  private readonly equal: (a: V, b: V) => boolean;

  constructor(equal: (a: V, b: V) => boolean) {
    this.equal = equal;
  }

  private note(key: K): void {
    const want = this.desired.get(key);
    const have = this.actual.get(key);
    const same = want === undefined ? have === undefined : have !== undefined && this.equal(want, have);
    if (same) this.dirty.delete(key);
    else this.dirty.add(key);
  }

  setDesired(key: K, value: V): void {
    this.desired.set(key, value);
    this.note(key);
  }

  deleteDesired(key: K): void {
    this.desired.delete(key);
    this.note(key);
  }

  setActual(key: K, value: V): void {
    this.actual.set(key, value);
    this.note(key);
  }

  deleteActual(key: K): void {
    this.actual.delete(key);
    this.note(key);
  }

  /** Replaces the whole picture of what is there, after a full dump. */
  replaceActual(entries: Iterable<readonly [K, V]>): void {
    const before = new Set(this.actual.keys());
    this.actual.clear();
    for (const [key, value] of entries) {
      before.delete(key);
      this.actual.set(key, value);
      this.note(key);
    }
    for (const key of before) this.note(key);
    for (const key of this.desired.keys()) this.note(key);
  }

  getDesired(key: K): V | undefined {
    return this.desired.get(key);
  }

  getActual(key: K): V | undefined {
    return this.actual.get(key);
  }

  desiredEntries(): IterableIterator<[K, V]> {
    return this.desired.entries();
  }

  actualEntries(): IterableIterator<[K, V]> {
    return this.actual.entries();
  }

  /** The keys that differ. */
  pendingKeys(): Iterable<K> {
    return this.dirty;
  }

  /** Number of keys that differ. */
  get pending(): number {
    return this.dirty.size;
  }

  /** Desired entries that are absent or different: `[key, want, have]`. A snapshot; safe to change the map meanwhile. */
  missing(): [K, V, V | undefined][] {
    const out: [K, V, V | undefined][] = [];
    for (const key of this.dirty) {
      const want = this.desired.get(key);
      if (want !== undefined) out.push([key, want, this.actual.get(key)]);
    }
    return out;
  }

  /** Actual entries nobody wants: `[key, have]`. */
  surplus(): [K, V][] {
    const out: [K, V][] = [];
    for (const key of this.dirty) {
      const have = this.actual.get(key);
      if (have !== undefined && !this.desired.has(key)) out.push([key, have]);
    }
    return out;
  }
}
