/**
 * Which subnet a node takes, as one pure function, in Flannel's order: the lease that already carries the node's
 * address; the subnet it had before, when nobody has it now; a random one of the first free. What overlaps anybody's
 * subnet is not free, whatever its length, so a change of SubnetLen cannot make two nodes share addresses.
 */
import { addressBits, addressFromBigInt, addressToBigInt, familyOf, prefixAddress, prefixSize } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { fitsRange } from './config.ts';
import type { NetworkConfig, SubnetRange } from './config.ts';
import { subnetList } from './lease.ts';
import type { LeaseAttributes, SubnetLease, Subnets } from './lease.ts';

export type Choice =
  /** The lease, or reservation, is this node's already. */
  | { readonly type: 'own'; readonly lease: SubnetLease }
  | { readonly type: 'take'; readonly subnets: Subnets }
  | { readonly type: 'full'; readonly family: 4 | 6 };

export interface Situation {
  readonly config: NetworkConfig;
  readonly node: Pick<LeaseAttributes, 'publicIp' | 'publicIpv6'>;
  /** All leases and reservations there are. */
  readonly leases: readonly SubnetLease[];
  /** Subnets in use whose lease cannot be read otherwise: a broken value still has its key. */
  readonly blocked?: readonly Prefix[];
  /** What the node had before a restart. */
  readonly previous?: Subnets | undefined;
  readonly random: () => number;
}

/** Flannel picks among this many of the first free subnets, so that nodes starting together seldom meet. */
const FREE_WINDOW = 100;

export function chooseSubnets(situation: Situation): Choice {
  const { config, leases, previous } = situation;
  const mine = leases.filter((lease) => isOwn(lease, situation.node) && fitsConfig(config, lease.subnets));
  const own = mine.find((lease) => sameSubnets(lease.subnets, previous)) ?? mine[0];
  if (own) return { type: 'own', lease: own };
  const taken = new TakenRanges([...leases.flatMap((l) => subnetList(l.subnets)), ...(situation.blocked ?? [])]);
  const pick = (range: SubnetRange | undefined, before: Prefix | undefined): Prefix | 'full' | undefined => {
    if (!range) return undefined;
    if (before !== undefined && fitsRange(range, before) && taken.isFree(before)) return before;
    const free = taken.firstFree(range, FREE_WINDOW);
    return free.length === 0 ? 'full' : free[Math.floor(situation.random() * free.length)]!;
  };
  const ipv4 = pick(config.ipv4, previous?.ipv4);
  if (ipv4 === 'full') return { type: 'full', family: 4 };
  const ipv6 = pick(config.ipv6, previous?.ipv6);
  if (ipv6 === 'full') return { type: 'full', family: 6 };
  return { type: 'take', subnets: { ipv4, ipv6 } };
}

/** By the IPv4 address; by the IPv6 one where there is no IPv4. */
export function isOwn(lease: SubnetLease, node: Situation['node']): boolean {
  if (node.publicIp !== undefined) return lease.attributes.publicIp === node.publicIp;
  return node.publicIpv6 !== undefined && lease.attributes.publicIpv6 === node.publicIpv6;
}

/** Whether a lease has exactly the families of the configuration, each in its range. */
export function fitsConfig(config: NetworkConfig, subnets: Subnets): boolean {
  const fits = (range: SubnetRange | undefined, subnet: Prefix | undefined) =>
    range === undefined ? subnet === undefined : subnet !== undefined && fitsRange(range, subnet);
  return fits(config.ipv4, subnets.ipv4) && fits(config.ipv6, subnets.ipv6);
}

const sameSubnets = (a: Subnets, b: Subnets | undefined): boolean => a.ipv4 === b?.ipv4 && a.ipv6 === b?.ipv6;

/** Address ranges in use, sorted and merged, so that a free subnet is found by one walk over a large network. */
class TakenRanges {
  private readonly ranges: Record<4 | 6, { first: bigint; last: bigint }[]> = { 4: [], 6: [] };

  constructor(prefixes: readonly Prefix[]) {
    for (const prefix of prefixes) {
      const first = addressToBigInt(prefixAddress(prefix));
      this.ranges[familyOf(prefix)].push({ first, last: first + prefixSize(prefix) - 1n });
    }
    for (const family of [4, 6] as const) {
      this.ranges[family].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
    }
  }

  isFree(prefix: Prefix): boolean {
    const first = addressToBigInt(prefixAddress(prefix));
    const last = first + prefixSize(prefix) - 1n;
    return !this.ranges[familyOf(prefix)].some((range) => range.first <= last && range.last >= first);
  }

  firstFree(range: SubnetRange, limit: number): Prefix[] {
    const family = familyOf(range.network);
    const size = 1n << BigInt(addressBits(family) - range.subnetLength);
    const last = addressToBigInt(range.subnetMax);
    const taken = this.ranges[family];
    const free: Prefix[] = [];
    let index = 0;
    let reach = -1n; // the highest address in use among the ranges passed so far
    for (let at = addressToBigInt(range.subnetMin); at <= last && free.length < limit; at += size) {
      for (; index < taken.length && taken[index]!.first < at + size; index++) {
        if (taken[index]!.last > reach) reach = taken[index]!.last;
      }
      if (reach < at) free.push(`${addressFromBigInt(at, family)}/${range.subnetLength}` as Prefix);
      // jump over a large range at once
      else if (reach >= at + size) at = reach - (reach % size);
    }
    return free;
  }
}
