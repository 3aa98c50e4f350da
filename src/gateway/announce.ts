/**
 * What is announced: every prefix that a node owns, with that node's own address as next hop. The gateways then hold the
 * routes that the nodes hold, and no node needs a session with them. Pure.
 */
import { comparePrefixes, familyOf, prefixCovers, prefixesOverlap } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';

/** A fact of the datastore: this node owns this prefix. */
export interface OwnedPrefix {
  readonly prefix: Prefix;
  /** The node as the source names it: Calico's node name, Flannel's public address. */
  readonly node: string;
  /** The node's address, of the prefix's family. */
  readonly nextHop: IpAddress;
}

export interface Announcement {
  readonly nextHop: IpAddress;
  readonly node: string;
  /** RFC 8326: everybody who has another way shall take it. */
  readonly draining: boolean;
}

export type Announcements = ReadonlyMap<Prefix, Announcement>;

export interface AnnounceOptions {
  /** Only prefixes inside one of these are announced. */
  readonly within: readonly Prefix[];
  /** Nodes, by name or address, of which nothing is announced. */
  readonly exclude: ReadonlySet<string>;
  /** Nodes, by name or address, that are about to go. */
  readonly drain: ReadonlySet<string>;
}

/** A fact that is not announced, and why. */
export interface LeftOut {
  readonly fact: OwnedPrefix;
  readonly reason: string;
}

export function wantedAnnouncements(
  facts: Iterable<OwnedPrefix>,
  options: AnnounceOptions,
): { readonly announcements: Announcements; readonly leftOut: readonly LeftOut[] } {
  const announcements = new Map<Prefix, Announcement>();
  const leftOut: LeftOut[] = [];
  const named = (names: ReadonlySet<string>, fact: OwnedPrefix) => names.has(fact.node) || names.has(fact.nextHop);
  // sorted, so that every announcer settles a conflict in the same way
  for (const fact of [...facts].sort(byPrefixThenNode)) {
    const other = announcements.get(fact.prefix);
    if (other) leftOut.push({ fact, reason: `${other.node} owns the same prefix` });
    else if (familyOf(fact.nextHop) !== familyOf(fact.prefix)) {
      leftOut.push({ fact, reason: `the node's address ${fact.nextHop} is of the other family` });
    } else if (!options.within.some((pool) => prefixCovers(pool, fact.prefix))) {
      const partly = options.within.some((pool) => prefixesOverlap(pool, fact.prefix));
      leftOut.push({
        fact,
        reason: partly ? 'it is larger than the prefixes in `within`' : 'it is outside of `within`',
      });
    } else if (named(options.exclude, fact)) leftOut.push({ fact, reason: 'its node is excluded' });
    else {
      const { nextHop, node } = fact;
      announcements.set(fact.prefix, { nextHop, node, draining: named(options.drain, fact) });
    }
  }
  return { announcements, leftOut };
}

function byPrefixThenNode(a: OwnedPrefix, b: OwnedPrefix): number {
  return comparePrefixes(a.prefix, b.prefix) || (a.node < b.node ? -1 : a.node > b.node ? 1 : 0);
}

export const sameAnnouncement = (a: Announcement | undefined, b: Announcement | undefined): boolean =>
  a?.nextHop === b?.nextHop && a?.draining === b?.draining;
