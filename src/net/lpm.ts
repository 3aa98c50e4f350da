import { addressBits, addressBytes, familyOf, prefixFromBytes, prefixLength } from './address.ts';
import type { Family, IpAddress, Prefix } from './address.ts';

/** Longest-prefix match over some thousands of prefixes: one hash look-up per prefix length in use. */
export class PrefixMap<V> {
  private readonly entries_ = new Map<Prefix, V>();
  private readonly lengths: Record<Family, Uint32Array> = { 4: new Uint32Array(33), 6: new Uint32Array(129) };

  get size(): number {
    return this.entries_.size;
  }

  set(prefix: Prefix, value: V): void {
    if (!this.entries_.has(prefix)) this.lengths[familyOf(prefix)][prefixLength(prefix)]!++;
    this.entries_.set(prefix, value);
  }

  get(prefix: Prefix): V | undefined {
    return this.entries_.get(prefix);
  }

  delete(prefix: Prefix): boolean {
    if (!this.entries_.delete(prefix)) return false;
    this.lengths[familyOf(prefix)][prefixLength(prefix)]!--;
    return true;
  }

  entries(): IterableIterator<[Prefix, V]> {
    return this.entries_.entries();
  }

  /** The most specific entry that holds `address`. */
  lookup(address: IpAddress): [Prefix, V] | undefined {
    const family = familyOf(address);
    const bytes = addressBytes(address);
    for (let length: number = addressBits(family); length >= 0; length--) {
      if (this.lengths[family][length] === 0) continue;
      const prefix = prefixFromBytes(bytes, length);
      const value = this.entries_.get(prefix);
      if (value !== undefined) return [prefix, value];
    }
    return undefined;
  }
}
