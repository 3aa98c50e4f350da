/**
 * Next hops in use and how they resolve (RFC 4271 §9.1.2.1). Attribute sets refer to them by a small number, so that the
 * decision reads reachability and metric from flat arrays and a change of the IGP touches the routes it concerns.
 */
import { addressBytes, addressFromBytes, familyOf } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { longer32, longer8 } from './columns.ts';
import type { NextHopResolver, Resolution } from './types.ts';

export class NextHops {
  /** By id; id 0 is "this speaker", always reachable at no cost. */
  reachable = new Uint8Array(64).fill(1, 0, 1);
  metric = new Uint32Array(64);
  private readonly resolver: NextHopResolver;
  private readonly ids = new Map<string, number>();
  private readonly addresses: IpAddress[] = ['' as IpAddress];
  private readonly resolutions: Resolution[] = [{ reachable: true, metric: 0, hops: [] }];
  private readonly refs: number[] = [1];
  private readonly free: number[] = [];
  private readonly ipv4 = new Map<number, number>();

  constructor(resolver: NextHopResolver) {
    this.resolver = resolver;
  }

  /** Takes a reference to an IPv4 next hop. */
  acquire4(word: number): number {
    const known = this.ipv4.get(word);
    if (known === undefined) return this.acquire(Uint8Array.of(word >>> 24, word >>> 16, word >>> 8, word));
    this.refs[known]!++;
    return known;
  }

  /** Takes a reference. All zeros stand for this speaker; a link-local address is one on `device`. */
  acquire(bytes: Uint8Array, device?: string): number {
    if (bytes.every((byte) => byte === 0)) return 0;
    const scoped = device !== undefined && isLinkLocalNextHop(bytes);
    const address = scoped ? (`${addressFromBytes(bytes)}%${device}` as IpAddress) : addressFromBytes(bytes);
    let id = this.ids.get(address);
    if (id === undefined) {
      id = this.free.pop() ?? this.addresses.length;
      if (id >= this.metric.length) this.grow();
      this.ids.set(address, id);
      this.addresses[id] = address;
      this.refs[id] = 0;
      if (bytes.length === 4) this.ipv4.set(wordOf(bytes), id);
      this.resolve(id);
    }
    this.refs[id]!++;
    return id;
  }

  release(id: number): void {
    if (id === 0 || --this.refs[id]! > 0) return;
    const address = this.addresses[id]!;
    this.ids.delete(address);
    if (familyOf(address) === 4) this.ipv4.delete(wordOf(addressBytes(address)));
    this.free.push(id);
  }

  address(id: number): IpAddress {
    return this.addresses[id]!;
  }

  resolution(id: number): Resolution {
    return this.resolutions[id]!;
  }

  /** Resolves these again; the ids whose outcome matters to a route and differs. */
  changed(nextHops: readonly IpAddress[] | 'all'): Set<number> {
    const differ = new Set<number>();
    for (const address of nextHops === 'all' ? [...this.ids.keys()] : nextHops) {
      const id = this.ids.get(address);
      if (id === undefined) continue;
      const before = JSON.stringify(this.resolutions[id]);
      this.resolve(id);
      if (JSON.stringify(this.resolutions[id]) !== before) differ.add(id);
    }
    return differ;
  }

  get size(): number {
    return this.ids.size;
  }

  private resolve(id: number): void {
    const resolution = this.resolver.resolve(this.addresses[id]!);
    this.resolutions[id] = resolution;
    this.reachable[id] = resolution.reachable ? 1 : 0;
    this.metric[id] = resolution.reachable ? resolution.metric : 0xffffffff;
  }

  private grow(): void {
    this.reachable = longer8(this.reachable, this.reachable.length * 2);
    this.metric = longer32(this.metric, this.metric.length * 2);
  }
}

/** fe80::/10 */
export const isLinkLocalNextHop = (b: Uint8Array): boolean =>
  b.length === 16 && b[0] === 0xfe && (b[1]! & 0xc0) === 0x80;

const wordOf = (b: Uint8Array): number => ((b[0]! << 24) | (b[1]! << 16) | (b[2]! << 8) | b[3]!) >>> 0;

/** For a speaker without a FIB: every next hop is as good as connected. */
export const directResolver: NextHopResolver = {
  resolve: () => ({ reachable: true, metric: 0, hops: [] }),
  watch: () => ({ [Symbol.dispose]: () => {} }),
};
