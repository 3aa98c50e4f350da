/**
 * The RIB's vocabulary: what a neighbour is to it, what goes in, what comes out. Everything is pure: bytes of UPDATE
 * messages go in, bytes of UPDATE messages come out, and in between nothing waits, sleeps or looks at a clock. The
 * speaker owns sockets and timers and calls this.
 */
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import type { PathAttributes, ProtocolError, SessionContext } from '../wire/mod.ts';
import type { DecisionOptions, DecisionReason } from './decide.ts';

/** A neighbour's handle, small and dense; 0 is this speaker itself (`announce`). Used again after `removePeer`. */
export type PeerId = number & { readonly __brand: 'PeerId' };
export const localPeer = 0 as PeerId;

// ---------------------------------------------------------------------------------------------------------- policy

/** What a policy may look at besides the attributes. */
export interface PolicyRoute {
  readonly attributes: PathAttributes;
  readonly family: Family;
  /** Absent when the policy said that it does not look at the prefix. */
  readonly prefix?: Prefix;
  /** The neighbour the route was learned from; absent for routes of this speaker. */
  readonly from?: { readonly name: string; readonly address: IpAddress; readonly asn: number };
  readonly source: 'ebgp' | 'ibgp' | 'local';
}

export type PolicyVerdict =
  | { readonly accept: false; readonly reason: string }
  /** The same object as given when nothing was changed. */
  | { readonly accept: true; readonly attributes: PathAttributes };

/** An import or export policy, ready to run. Compared by identity: one object shared by peers lets them share work. */
export interface RoutePolicy {
  readonly name: string;
  /** Whether the verdict depends on the prefix. If not, it runs once per attribute set. */
  readonly perPrefix: boolean;
  /** Nothing passes: neighbours with it as export policy cost nothing. */
  readonly rejectsAll?: boolean;
  /** Everything passes as it is: it need not be run. */
  readonly acceptsAll?: boolean;
  apply(route: PolicyRoute): PolicyVerdict;
}

// ------------------------------------------------------------------------------------------------------ neighbours

export interface MaxPrefix {
  readonly limit: number;
  /** Warn at this share of the limit, 0 to 100. */
  readonly warnPercent: number;
}

/**
 * What is announced as next hop. `auto`: RFC 4271 §5.1.3: ourselves to eBGP neighbours unless the next hop lies in
 * `sharedSubnet` (third party), unchanged to iBGP ones, ourselves for routes of this speaker.
 */
export type NextHopMode = 'auto' | 'self' | 'unchanged';

export interface PeerFamilyConfig {
  /** Absent: everything is accepted (but see `requirePolicy`). */
  readonly importPolicy?: RoutePolicy;
  readonly exportPolicy?: RoutePolicy;
  readonly nextHop?: NextHopMode;
  readonly maxPrefixIn?: MaxPrefix;
  readonly maxPrefixOut?: MaxPrefix;
  /** Announce 0.0.0.0/0 or ::/0 of our own to this neighbour, whatever the table holds. */
  readonly defaultOriginate?: boolean;
}

export interface PeerConfig {
  /** For messages and policies; shown as it is. */
  readonly name: string;
  readonly address: IpAddress;
  readonly remoteAs: number;
  /** The AS we are to this neighbour; the speaker's own unless `local-as` is set. */
  readonly localAs: number;
  /** With `local-as`: put only the local AS, not our own as well, into the path sent (`replace-as`). */
  readonly localAsReplace?: boolean;
  /** With `local-as`: do not put the local AS into received paths (`no-prepend`). */
  readonly localAsNoPrepend?: boolean;
  /** RFC 4456: the neighbour is a client of this reflector. iBGP only. */
  readonly reflectorClient?: boolean;
  /** How often our own AS may appear in received paths. */
  readonly allowAsIn?: number;
  /** Private ASNs (RFC 6996) in paths sent to an eBGP neighbour: cut them all out, or replace them by ours. */
  readonly removePrivateAs?: 'all' | 'replace';
  /** RFC 8212: an eBGP neighbour without a policy in a direction carries nothing in it. */
  readonly requirePolicy?: boolean;
  /** Weight of its routes, compared before everything else. Local to this speaker. */
  readonly weight?: number;
  /** RFC 8326: its routes with the GRACEFUL_SHUTDOWN community get local preference 0. On for eBGP unless set. */
  readonly honorGracefulShutdown?: boolean;
  /** The AS_PATH of its routes has to begin with its AS (RFC 4271 §6.3). */
  readonly enforceFirstAs?: boolean;
  /** RFC 8326: announce everything to it with that community, because the session is about to go. */
  readonly drain?: boolean;
  /** `auto` next hop to eBGP: a next hop inside this subnet is left alone. */
  readonly sharedSubnet?: Prefix;
  /** Do not announce communities of these kinds to it. */
  readonly stripCommunities?: { readonly standard?: boolean; readonly extended?: boolean; readonly large?: boolean };
  readonly families: { readonly [F in Family]?: PeerFamilyConfig };
}

/** What a session agreed on, known when it is Established. */
export interface PeerSession {
  /** The peer's BGP Identifier. */
  readonly routerId: number;
  readonly context: SessionContext;
  /** Next hop self, by family. Absent: this family cannot be announced with our own address. */
  readonly localAddress: { readonly [F in Family]?: IpAddress };
  /** fe80:: address of ours on a link shared with an IPv6 neighbour (RFC 2545 §3). */
  readonly localLinkLocal?: IpAddress;
  /** The link a link-local neighbour is on: link-local next hops from it are reached there. */
  readonly device?: string;
}

// ------------------------------------------------------------------------------------------------------------ input

/** What became of a received UPDATE. `reset` asks for a NOTIFICATION; everything else leaves the session up. */
export type ReceiveResult =
  | { readonly kind: 'ok' }
  /** RFC 7606: attributes were bad; their routes were treated as withdrawn, or the attribute was dropped. */
  | { readonly kind: 'withdrawn' | 'discarded'; readonly reason: string }
  | { readonly kind: 'reset'; readonly error: ProtocolError };

/** A route of this speaker. */
export interface LocalRoute {
  readonly prefix: Prefix;
  /** Defaults: origin IGP, empty path, next hop self. */
  readonly attributes?: Partial<PathAttributes>;
}

// ------------------------------------------------------------------------------------------------------- next hops

/** How to reach a next hop, in terms of directly connected gateways. */
export type Resolution =
  | { readonly reachable: false }
  | {
      readonly reachable: true;
      /** IGP metric, for the decision. */
      readonly metric: number;
      readonly hops: readonly { readonly via?: IpAddress; readonly device: string; readonly onlink?: boolean }[];
    };

/** The view of the kernel's (or nobody's) routes through which next hops are resolved, RFC 4271 §9.1.2.1. */
export interface NextHopResolver {
  /** A link-local IPv6 next hop comes with its device, as `fe80::1%eth0`; without one it leads nowhere. */
  resolve(nextHop: IpAddress): Resolution;
  /** Begins to tell of changes to these next hops; `changed` is told the ones whose resolution differs. */
  watch(changed: (nextHops: readonly IpAddress[] | 'all') => void): Disposable;
}

// ---------------------------------------------------------------------------------------------------------- events

export interface RibEvents {
  /** `pull` would give this peer something. Told once until it was drained. */
  outputReady(peer: PeerId): void;
  /** There is work for `work()`. Told once until `work` returned false. */
  workReady(): void;
  /** RFC 4724: the neighbour finished its table. */
  endOfRib(peer: PeerId, family: Family): void;
  /** A limit was crossed; `exceeded` once per session and family, until the count falls below again. */
  maxPrefix(peer: PeerId, family: Family, direction: 'in' | 'out', level: 'warn' | 'exceeded', count: number): void;
}

export interface PeerCounters {
  /** Prefixes in Adj-RIB-In, among them those the import policy refused and those kept as stale. */
  readonly received: number;
  readonly accepted: number;
  readonly stale: number;
  /** Prefixes in Adj-RIB-Out. */
  readonly advertised: number;
  /** Updates the peer has not been given yet (0: in step with its update group). */
  readonly behind: number;
}

// ----------------------------------------------------------------------------------------------------------- views

/** A path of a prefix, for people and for the FIB. */
export interface PathView {
  readonly peer: PeerId;
  readonly attributes: PathAttributes;
  /** As received, before the import policy; the same object when the policy changed nothing. */
  readonly received: PathAttributes;
  readonly state: 'best' | 'multipath' | 'valid' | 'unreachable' | 'rejected' | 'loop';
  readonly stale: boolean;
  /** Which step of the decision set it apart from the best path (for the best: from the runner-up). */
  readonly reason: DecisionReason;
  /** A sentence: which comparison, with both values. */
  readonly why: string;
}

export interface RouteView {
  readonly prefix: Prefix;
  readonly paths: readonly PathView[];
}

export interface RouteQuery {
  readonly family?: Family;
  /** This prefix alone, or with `within` those inside it as well, or with `covering` those around it. */
  readonly prefix?: Prefix;
  readonly match?: 'exact' | 'within' | 'covering';
  /** Only routes received from this peer. */
  readonly receivedFrom?: PeerId;
}

/** A route as one neighbour was told it. */
export interface AdvertisedView {
  readonly prefix: Prefix;
  readonly attributes: PathAttributes;
  readonly from: PeerId;
}

/** The best paths of a prefix, as the FIB wants them; `paths` is empty when it is gone. */
export interface BestChange {
  readonly family: Family;
  readonly prefix: Prefix;
  /** The best path first, then those that multipath adds. */
  readonly paths: readonly { readonly peer: PeerId; readonly nextHop: IpAddress; readonly resolution: Resolution }[];
  /** Kept from the last session of a peer that is restarting. */
  readonly stale: boolean;
}

/**
 * A consumer's own view of the stream of best-path changes. Changes are coalesced per prefix, so a slow consumer costs
 * one bit per prefix. Starts with the whole table.
 */
export interface BestFeed {
  /** The next changes, at most `limit`; empty when there are none left. */
  take(limit: number): BestChange[];
  close(): void;
}

export interface RibOptions {
  readonly localAs: number;
  readonly routerId: number;
  /** RFC 4456 cluster identifier; the router id unless set. */
  readonly clusterId?: number;
  readonly decision?: Partial<DecisionOptions>;
  readonly resolver: NextHopResolver;
  readonly events: RibEvents;
  /** Makes the places of prefixes in hash tables unpredictable; a random number. */
  readonly seed?: number;
  /** Bytes of encoded updates kept for the slowest member of an update group before it is taken out of step. */
  readonly streamLimit?: number;
}

/**
 * The routing tables of one speaker. Input is only recorded and marks prefixes as changed; `work` decides and exports,
 * so that a burst of changes of one prefix costs and sends one. Call it when the input has paused.
 */
export interface Rib {
  // neighbours
  addPeer(config: PeerConfig): PeerId;
  /** Takes a new configuration. Changed policies are applied to what was received before (soft reconfiguration). */
  updatePeer(peer: PeerId, config: PeerConfig): void;
  /** Its routes go with the work that is done next; its handle is free for another neighbour when they are gone. */
  removePeer(peer: PeerId): void;
  sessionUp(peer: PeerId, session: PeerSession): void;
  /** Drops the peer's routes, except that those of `retain` stay and are marked as stale (RFC 4724 §4.2). */
  sessionDown(peer: PeerId, retain?: readonly Family[]): void;

  // input
  /**
   * One whole UPDATE message, header included, at `bytes[start, end)`. The header was checked; nothing else was.
   * Bytes are copied where they are kept.
   */
  receive(peer: PeerId, bytes: Uint8Array, start: number, end: number): ReceiveResult;
  /** Marks what the peer sent as stale: the Beginning-of-RR of RFC 7313. */
  markStale(peer: PeerId, family: Family): void;
  /** Drops what is still stale: at End-of-RIB, End-of-RR, or when the timer ran out. Returns how many. */
  sweepStale(peer: PeerId, family: Family): number;
  announce(route: LocalRoute): void;
  withdraw(prefix: Prefix): boolean;
  /** RFC 4724 §4.1: after our own restart nothing is exported (and no End-of-RIB sent) while this is on. */
  deferExport(on: boolean): void;

  // work
  /** Decides and exports a bounded share of what changed. Returns whether there is more that can be done now. */
  work(): boolean;
  readonly pending: boolean;

  // output
  /**
   * The next bytes for this peer, whole messages, at most about `maxBytes` (one message at least), or undefined when it
   * is in step. They belong to all members of the group: never change them. What was pulled counts as sent.
   */
  pull(peer: PeerId, maxBytes: number): Uint8Array | undefined;
  /**
   * Sends the whole Adj-RIB-Out again: the answer to ROUTE-REFRESH. `enhanced`: between the beginning and end markers of
   * RFC 7313, which come out of `pull` in their places.
   */
  refreshOut(peer: PeerId, family: Family, enhanced: boolean): void;
  /** Applies the import policy to everything received, as after a change of what it refers to, with the work that is done next. */
  refreshIn(peer: PeerId, family: Family): void;

  // views
  counters(peer: PeerId, family: Family): PeerCounters;
  routes(query: RouteQuery): Generator<RouteView>;
  advertised(peer: PeerId, family: Family, query?: Pick<RouteQuery, 'prefix' | 'match'>): Generator<AdvertisedView>;
  bestFeed(pending: () => void): BestFeed;
  /** Totals, for metrics. */
  stats(): RibStats;
}

export interface RibStats {
  readonly prefixes: { readonly [F in Family]: number };
  readonly paths: { readonly [F in Family]: number };
  readonly attributeSets: number;
  /** Next hops in use. */
  readonly nextHops: number;
  readonly updateGroups: number;
  /** Bytes of all tables. */
  readonly bytes: number;
}
