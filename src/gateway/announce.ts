/**
 * What is announced of one prefix: its owner's address as next hop, or nothing, and then why. The gateways then hold the
 * routes that the nodes hold, and no node needs a session with them. Pure.
 */
import type { TextMap } from '../base/mod.ts';
import { isHostAddress } from '../bgp/mod.ts';
import { addressBytes, familyOf, prefixCovers, prefixesOverlap } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { AggregateRule } from './aggregate.ts';
import type { FactTable } from './facts.ts';

export interface Announcement {
  readonly nextHop: IpAddress;
  /** The owner; for an aggregate what it stands for, `pool` or `rack a`. */
  readonly node: string;
  /** RFC 8326: everybody who has another way shall take it. */
  readonly draining: boolean;
  readonly aggregate: boolean;
  /** An aggregate stands for it; gateways that want aggregates do not get it. */
  readonly covered: boolean;
}

export type Announcements = Omit<TextMap<Prefix, Announcement>, 'set' | 'delete'>;

/** What becomes of a node's prefixes: announced, announced with GRACEFUL_SHUTDOWN, or not announced. */
export const treatments = ['announce', 'drain', 'exclude'] as const;
export type Treatment = (typeof treatments)[number];

export interface AnnounceOptions {
  /** Only prefixes inside one of these are announced. */
  readonly within: readonly Prefix[];
  /** Nodes, by name or address, of which nothing is announced. */
  readonly exclude: ReadonlySet<string>;
  /** Nodes, by name or address, that are about to go. */
  readonly drain: ReadonlySet<string>;
  /** Nodes whose agent, or whose Kubernetes condition, says that they are not ready. */
  readonly notReady: Treatment;
  /** Nodes of which nobody says whether they are ready. */
  readonly withoutStatus: Treatment;
  readonly cordoned: Treatment;
  readonly communities: readonly string[];
  readonly med: number | undefined;
  readonly aggregate: readonly AggregateRule[];
}

/** A claim that is not announced, and why. */
export interface LeftOut {
  readonly prefix: Prefix;
  readonly node: string;
  readonly reason: string;
}

export interface Decision {
  readonly announcement: Announcement | undefined;
  readonly leftOut: readonly LeftOut[];
}

export function decide(prefix: Prefix, facts: FactTable, options: AnnounceOptions): Decision {
  let announcement: Announcement | undefined;
  const leftOut: LeftOut[] = [];
  for (const node of facts.ownersOf(prefix)) {
    const judged = announcement ? `${announcement.node} owns the same prefix` : judge(prefix, node, facts, options);
    if (typeof judged === 'string') leftOut.push({ prefix, node, reason: judged });
    else announcement = judged;
  }
  return { announcement, leftOut };
}

/** The announcement of `node`'s claim, or why there is none. */
function judge(prefix: Prefix, node: string, facts: FactTable, options: AnnounceOptions): Announcement | string {
  if (!options.within.some((pool) => prefixCovers(pool, prefix))) {
    const partly = options.within.some((pool) => prefixesOverlap(pool, prefix));
    return partly ? 'it is larger than the prefixes in `within`' : 'it is outside of `within`';
  }
  const withheld = facts.withheldPools.find((pool) => prefixCovers(pool, prefix));
  if (withheld !== undefined) return `its pool ${withheld} has disableBGPExport`;
  const known = facts.nodeOf(node);
  const nextHop = known?.addresses[familyOf(prefix)];
  if (!known) return 'its node is not known';
  if (nextHop === undefined) return `its node has no IPv${familyOf(prefix)} address`;
  // gateways would refuse it; and all zeros would draw the traffic to the announcer itself
  if (!isHostAddress(addressBytes(nextHop))) return `its node’s address, ${nextHop}, is no host’s`;
  const named = (names: ReadonlySet<string>) =>
    names.has(node) || Object.values(known.addresses).some((address) => names.has(address));
  if (named(options.exclude)) return 'its node is excluded';
  const ready = facts.readyOf(node);
  const said: (readonly [Treatment, string])[] = [
    [ready === false ? options.notReady : 'announce', 'its node is not ready'],
    [ready === undefined ? options.withoutStatus : 'announce', 'its node says nothing of itself'],
    [known.cordoned ? options.cordoned : 'announce', 'its node is cordoned'],
  ];
  const excluded = said.find(([treatment]) => treatment === 'exclude');
  if (excluded) return excluded[1];
  const draining = known.draining || named(options.drain) || said.some(([treatment]) => treatment === 'drain');
  return { nextHop, node, draining, aggregate: false, covered: false };
}

export const sameAnnouncement = (a: Announcement | undefined, b: Announcement | undefined): boolean =>
  a?.nextHop === b?.nextHop &&
  a?.draining === b?.draining &&
  a?.covered === b?.covered &&
  a?.aggregate === b?.aggregate;

/** Whether the agents' word is asked for at all. */
export const needsStatus = ({ notReady, withoutStatus }: AnnounceOptions): boolean =>
  notReady !== 'announce' || withoutStatus !== 'announce';
