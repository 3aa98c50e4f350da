/**
 * The load of the BGP benchmarks, the same for every run of one seed: prefix lengths as in the public table, in runs of
 * neighbours; attribute sets shared by k prefixes with a skewed k of mean 17; AS paths of 3 to 6; communities on two of
 * three; one UPDATE per set, more where it does not fit.
 */
import { addressBytes, addressFromBytes, ip } from '../../src/net/mod.ts';
import type { IpAddress } from '../../src/net/mod.ts';
import { IPV4_UNICAST, UpdateWriter, encodeAttributes } from '../../src/bgp/wire/mod.ts';
import type { PathAttributes } from '../../src/bgp/wire/mod.ts';

export class Random {
  private state: number;
  constructor(seed: number) {
    this.state = seed >>> 0 || 1;
  }
  /** 0 ≤ n < below */
  next(below: number): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return Math.floor((this.state / 2 ** 32) * below);
  }
  share(): number {
    return this.next(2 ** 31) / 2 ** 31;
  }
}

const lengths = [
  [24, 600],
  [23, 100],
  [22, 115],
  [21, 53],
  [20, 46],
  [19, 34],
  [18, 17],
  [17, 12],
  [16, 23],
] as const;

export interface Prefixes {
  readonly words: Uint32Array;
  readonly lengths: Uint8Array;
  readonly count: number;
}

export function makePrefixes(count: number, seed: number): Prefixes {
  const random = new Random(seed);
  const words = new Uint32Array(count);
  const out = new Uint8Array(count);
  const seen = new Set<number>();
  let base = 0;
  let length = 0;
  for (let n = 0; n < count;) {
    if (length > 0 && random.share() < 0.6) base = (base + 2 ** (32 - length)) >>> 0;
    else {
      let r = random.next(1000);
      length = 24;
      for (const [l, weight] of lengths) {
        if (r < weight) {
          length = l;
          break;
        }
        r -= weight;
      }
      base = ((1 + random.next(222)) * 2 ** 24 + random.next(2 ** 24)) >>> 0;
      base = (base & (-1 << (32 - length))) >>> 0;
    }
    const key = base * 64 + length;
    if (base >>> 24 === 0 || base >>> 24 > 223 || seen.has(key)) {
      length = 0;
      continue;
    }
    seen.add(key);
    words[n] = base;
    out[n++] = length;
  }
  return { words, lengths: out, count };
}

/** How many prefixes share an attribute set: truncated Pareto with mean about 17. */
export const setSize = (random: Random): number => Math.min(3000, Math.floor((random.share() + 1e-9) ** (-1 / 0.84)));

const bigNetworks = [174, 209, 701, 1299, 2914, 3257, 3320, 3356, 3491, 5511, 6453, 6461, 6762, 6830, 7018, 12956];

export interface SenderLoad {
  readonly announce: Uint8Array;
  readonly withdraw: Uint8Array;
  readonly sets: number;
}

const external = { fourOctetAs: true } as const;
const bits = (address: IpAddress): Uint8Array => addressBytes(address);

/** What one external sender says about the prefixes that `order` names. `short` gets paths of 3, all others longer ones. */
export function makeSender(
  prefixes: Prefixes,
  order: readonly number[],
  as: number,
  address: string,
  seed: number,
  short?: (prefix: number) => boolean,
): SenderLoad {
  const random = new Random(seed);
  const writer = new UpdateWriter();
  let sets = 0;
  for (let at = 0; at < order.length;) {
    const size = setSize(random);
    const wins = short?.(order[at]!) ?? false;
    let end = at + 1;
    while (end < order.length && end < at + size && (short?.(order[end]!) ?? false) === wins) end++;
    const length = short ? (wins ? 3 : 4 + random.next(3)) : 3 + random.next(4);
    const path = [as, bigNetworks[random.next(bigNetworks.length)]!];
    while (path.length < length - 1) path.push(24000 + random.next(2000));
    path.push(200000 + seed * 100000 + sets++);
    const communities: number[] = [];
    const high = bigNetworks[random.next(bigNetworks.length)]! * 65536;
    if (random.share() > 0.35)
      for (let i = random.next(8); i >= 0; i--) communities.push(high + 1000 * i + random.next(900));
    const attributes: PathAttributes = {
      origin: random.share() < 0.9 ? 0 : 2,
      asPath: [{ type: 2, asns: path }],
      nextHop: { address: bits(ip(address)), linkLocal: undefined },
      med: random.share() < 0.1 ? random.next(200) : undefined,
      localPref: undefined,
      atomicAggregate: false,
      aggregator: undefined,
      communities,
      originatorId: undefined,
      clusterList: [],
      extendedCommunities: [],
      largeCommunities: [],
      unknown: [],
      partial: 0,
    };
    writer.announce(encodeAttributes(attributes, IPV4_UNICAST, external));
    for (let i = at; i < end; i++) writer.add4(prefixes.words[order[i]!]!, prefixes.lengths[order[i]!]!);
    at = end;
  }
  writer.endOfRib(IPV4_UNICAST);
  writer.finish();
  const announce = writer.out.copy();
  writer.out.reset();
  writer.withdraw(IPV4_UNICAST);
  for (const i of order) writer.add4(prefixes.words[i]!, prefixes.lengths[i]!);
  writer.finish();
  return { announce, withdraw: writer.out.copy(), sets };
}

/** A reflector's client with a few routes of its own. */
export function makeClient(client: number, count: number, address: string): SenderLoad {
  const writer = new UpdateWriter();
  const attributes: PathAttributes = {
    origin: 0,
    asPath: [],
    nextHop: { address: bits(ip(address)), linkLocal: undefined },
    med: undefined,
    localPref: 100,
    atomicAggregate: false,
    aggregator: undefined,
    communities: [],
    originatorId: undefined,
    clusterList: [],
    extendedCommunities: [],
    largeCommunities: [],
    unknown: [],
    partial: 0,
  };
  writer.announce(encodeAttributes(attributes, IPV4_UNICAST, external));
  const first = 0x0a800000 + client * count * 64;
  for (let i = 0; i < count; i++) writer.add4(first + i * 64, 26);
  writer.endOfRib(IPV4_UNICAST);
  writer.finish();
  return { announce: writer.out.copy(), withdraw: new Uint8Array(0), sets: 1 };
}

export const nthAddress = (base: string, i: number): string => {
  const bytes = addressBytes(ip(base));
  bytes[2] = bytes[2]! + Math.floor(i / 250);
  bytes[3] = 1 + (i % 250);
  return addressFromBytes(bytes);
};
