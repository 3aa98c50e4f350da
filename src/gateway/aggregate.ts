/**
 * Fewer routes for gateways that are far away: one for a whole pool, or one for each part of it that a rack has for
 * itself, with the rack's gateway as next hop. A rack's prefixes are joined as far as all that lies inside is the rack's,
 * and a pool that no other rack has a part of is announced as a whole; what cannot be joined stays as it is, with its node
 * as next hop. So an aggregate never draws traffic for what somebody else owns. Pure.
 */
import { familyOf, nthAddress, prefixAddress, prefixCovers, prefixLength, prefixOf, prefixSize } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { Announcement } from './announce.ts';

export type AggregateRule =
  | { readonly to: 'pool'; readonly nextHops: readonly IpAddress[] }
  /** Racks are told apart by a label of their nodes; each has its gateway, at most one address of a family. */
  | { readonly to: 'rack'; readonly label: string; readonly nextHops: ReadonlyMap<string, readonly IpAddress[]> };

interface Part {
  readonly pool: Prefix;
  readonly rack: string | undefined;
}
type Aggregates = ReadonlyMap<Prefix, Announcement>;
const none: Aggregates = new Map();

export class Aggregator {
  private readonly poolRule: (AggregateRule & { readonly to: 'pool' }) | undefined;
  private readonly rackRule: (AggregateRule & { readonly to: 'rack' }) | undefined;
  /** The longest first. */
  private readonly pools: readonly Prefix[];
  private readonly parts = new Map<Prefix, Part>();
  /** How many prefixes each rack has in each pool. */
  private readonly users = new Map<Prefix, Map<string | undefined, number>>();
  private readonly racks = new Map<string, Set<Prefix>>();
  private readonly made = new Map<string, Aggregates>();
  private readonly joined = new Set<Prefix>();
  private dirtyPools = new Set<Prefix>();
  private dirtyRacks = new Set<string>();

  constructor(rules: readonly AggregateRule[], pools: readonly Prefix[]) {
    for (const rule of rules) {
      if (rule.to === 'pool') this.poolRule = rule;
      else this.rackRule = rule;
    }
    this.pools = [...pools].sort((a, b) => prefixLength(b) - prefixLength(a));
  }

  /** A node's prefix is announced, or (undefined) is not any more. */
  set(prefix: Prefix, labels: Readonly<Record<string, string>> | undefined): void {
    if (!this.poolRule && !this.rackRule) return;
    const before = this.parts.get(prefix);
    const pool = this.pools.find((p) => prefixCovers(p, prefix));
    const rack = this.rackRule && labels?.[this.rackRule.label];
    if (before) this.count(prefix, before, -1);
    if (!labels || pool === undefined) this.parts.delete(prefix);
    else {
      const part = { pool, rack };
      this.parts.set(prefix, part);
      this.count(prefix, part, 1);
    }
  }

  /** Whether an aggregate stands for a node's prefix. */
  covers(prefix: Prefix): boolean {
    return this.joined.has(prefix) || (this.poolRule !== undefined && this.parts.has(prefix));
  }

  /** Works off what was set. Gives aggregates that are new, changed or (undefined) gone, and the prefixes concerned. */
  take(): { readonly aggregates: ReadonlyMap<Prefix, Announcement | undefined>; readonly touched: Iterable<Prefix> } {
    const changed = new Map<Prefix, Announcement | undefined>();
    const touched = new Set<Prefix>();
    for (const pool of this.dirtyPools) {
      this.replace(`pool ${pool}`, this.wholePool(pool), changed);
      // a pool that has become one rack's alone, or is no longer, changes what that rack is told of
      for (const rack of this.users.get(pool)?.keys() ?? []) if (rack !== undefined) this.dirtyRacks.add(rack);
    }
    for (const rack of this.dirtyRacks) {
      const prefixes = this.racks.get(rack) ?? new Set<Prefix>();
      const aggregates = this.ofRack(rack, prefixes);
      this.replace(`rack ${rack}`, aggregates, changed);
      for (const prefix of prefixes) {
        const covered = [...aggregates.keys()].some((aggregate) => prefixCovers(aggregate, prefix));
        if (covered === this.joined.has(prefix)) continue;
        touched.add(prefix);
        if (covered) this.joined.add(prefix);
        else this.joined.delete(prefix);
      }
    }
    this.dirtyPools = new Set();
    this.dirtyRacks = new Set();
    return { aggregates: changed, touched };
  }

  /** Every aggregate there is. */
  *all(): Generator<Prefix> {
    for (const aggregates of this.made.values()) yield* aggregates.keys();
  }

  private count(prefix: Prefix, { pool, rack }: Part, by: 1 | -1): void {
    const users = this.users.get(pool) ?? new Map<string | undefined, number>();
    this.users.set(pool, users);
    const left = (users.get(rack) ?? 0) + by;
    if ((left === 0) !== (left - by === 0)) {
      this.dirtyPools.add(pool);
      // the one that leaves is not among the users any more
      if (rack !== undefined) this.dirtyRacks.add(rack);
    }
    if (left === 0) users.delete(rack);
    else users.set(rack, left);
    if (rack === undefined) return;
    this.dirtyRacks.add(rack);
    const prefixes = this.racks.get(rack) ?? new Set<Prefix>();
    this.racks.set(rack, prefixes);
    if (by === 1) prefixes.add(prefix);
    else {
      prefixes.delete(prefix);
      this.joined.delete(prefix);
    }
  }

  private wholePool(pool: Prefix): Aggregates {
    const nextHop = this.poolRule && hopFor(pool, this.poolRule.nextHops);
    const users = this.users.get(pool);
    if (nextHop === undefined || !users?.size || this.parts.has(pool)) return none;
    return new Map([[pool, aggregate(nextHop, 'pool')]]);
  }

  private ofRack(rack: string, prefixes: ReadonlySet<Prefix>): Aggregates {
    const hops = this.rackRule?.nextHops.get(rack);
    if (!hops || this.poolRule) return none;
    const out = new Map<Prefix, Announcement>();
    for (const pool of new Set([...prefixes].map((prefix) => this.parts.get(prefix)!.pool))) {
      const nextHop = hopFor(pool, hops);
      if (nextHop === undefined) continue;
      const own = [...prefixes].filter((prefix) => this.parts.get(prefix)!.pool === pool);
      const joined = this.users.get(pool)!.size === 1 ? [pool] : joinPrefixes(own);
      for (const prefix of joined) if (!this.parts.has(prefix)) out.set(prefix, aggregate(nextHop, `rack ${rack}`));
    }
    return out;
  }

  private replace(group: string, now: Aggregates, changed: Map<Prefix, Announcement | undefined>): void {
    const before = this.made.get(group) ?? none;
    for (const prefix of before.keys()) if (!now.has(prefix) && !changed.has(prefix)) changed.set(prefix, undefined);
    for (const [prefix, announcement] of now) changed.set(prefix, announcement);
    if (now.size > 0) this.made.set(group, now);
    else this.made.delete(group);
  }
}

const aggregate = (nextHop: IpAddress, node: string): Announcement => ({
  ...{ nextHop, node, draining: false, aggregate: true, covered: false },
});
const hopFor = (prefix: Prefix, hops: readonly IpAddress[]): IpAddress | undefined =>
  hops.find((hop) => familyOf(hop) === familyOf(prefix));

/** For asking whether one of many prefixes covers another. */
export class CoverSet {
  private readonly prefixes = new Set<Prefix>();
  private readonly lengths = new Set<number>();

  add(prefix: Prefix): void {
    this.prefixes.add(prefix);
    this.lengths.add(prefixLength(prefix));
  }

  covers(prefix: Prefix): boolean {
    const own = prefixLength(prefix);
    for (const length of this.lengths) {
      if (length <= own && this.prefixes.has(prefixOf(prefixAddress(prefix), length))) return true;
    }
    return false;
  }
}

/** The fewest prefixes that hold exactly the same addresses. */
export function joinPrefixes(prefixes: Iterable<Prefix>): Prefix[] {
  const byLength = new Map<number, Set<Prefix>>();
  const at = (length: number): Set<Prefix> => byLength.get(length) ?? byLength.set(length, new Set()).get(length)!;
  for (const prefix of prefixes) at(prefixLength(prefix)).add(prefix);
  const out: Prefix[] = [];
  for (let length = Math.max(0, ...byLength.keys()); length >= 0; length--) {
    for (const prefix of at(length)) {
      if (isInside(prefix, byLength)) continue;
      const parent = length > 0 ? prefixOf(prefixAddress(prefix), length - 1) : undefined;
      if (parent !== undefined && at(length).has(otherHalf(prefix, parent))) at(length - 1).add(parent);
      else out.push(prefix);
    }
  }
  return out;
}

function isInside(prefix: Prefix, byLength: ReadonlyMap<number, ReadonlySet<Prefix>>): boolean {
  for (const [length, set] of byLength) {
    if (length < prefixLength(prefix) && set.has(prefixOf(prefixAddress(prefix), length))) return true;
  }
  return false;
}

function otherHalf(half: Prefix, parent: Prefix): Prefix {
  const first = prefixAddress(half) === prefixAddress(parent);
  const address = first ? nthAddress(parent, prefixSize(parent) / 2n) : prefixAddress(parent);
  return prefixOf(address, prefixLength(half));
}
