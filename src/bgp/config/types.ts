/**
 * The configuration after parsing: every default filled in, groups applied, names resolved to what they name. This is
 * what the speaker takes, and what an embedding program builds directly.
 */
import { familyOf, isLinkLocal } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import type { PolicyDescription, PrefixList } from '../policy/mod.ts';

/** Which AS a neighbour may be of. */
export type RemoteAs = number | readonly number[] | 'internal' | 'external' | 'any';

/** Seconds. */
export interface TimerConfig {
  readonly hold: number;
  /** A third of the negotiated hold time when absent. */
  readonly keepalive?: number;
  readonly connectRetry: number;
  readonly delayOpen: number;
  /** How long the peer's OPEN may take to arrive whole. */
  readonly open: number;
  /** RFC 9687; `auto` is the greater of eight minutes and twice the hold time, 0 turns it off. */
  readonly sendHold: number | 'auto';
  /** The first wait after a failure, doubled up to `idleHoldMax`. */
  readonly idleHold: number;
  readonly idleHoldMax: number;
}

export interface PrefixLimit {
  readonly limit: number;
  readonly warnPercent: number;
  /** `warn`: only say so. `restart`: end the session and come back after `restartAfter` seconds. `shutdown`: stay down. */
  readonly action: 'warn' | 'restart' | 'shutdown';
  readonly restartAfter: number;
}

export interface FamilySettings {
  /** Name of a policy. `accept` and `reject` always exist. */
  readonly import?: string;
  readonly export?: string;
  readonly nextHop: 'auto' | 'self' | 'unchanged';
  readonly maxPrefix?: PrefixLimit;
  readonly maxPrefixOut?: PrefixLimit;
  readonly defaultOriginate: boolean;
}

/** RFC 4724: `on` takes both roles, `helper` only keeps routes of peers that restart. */
export type GracefulRestartMode = 'on' | 'helper' | 'off';

/** What static neighbours and dynamic ranges have in common. */
export interface PeerSettings {
  readonly remoteAs: RemoteAs;
  readonly description?: string;
  readonly localAs: number;
  readonly localAsReplace: boolean;
  readonly localAsNoPrepend: boolean;
  /** TCP MD5 (RFC 2385). Never logged or shown. */
  readonly password?: string;
  /** RFC 5082: packets must have come over at most this many hops; 0 turns it off. */
  readonly ttlSecurity: number;
  /** Time to live of packets sent to eBGP neighbours. */
  readonly multihop: number;
  /** Our address on the connection. */
  readonly source?: IpAddress;
  /** Bind connections to this device (SO_BINDTODEVICE). */
  readonly device?: string;
  readonly timers: TimerConfig;
  readonly families: { readonly [F in Family]?: FamilySettings };
  readonly allowAsIn: number;
  readonly removePrivateAs?: 'all' | 'replace';
  readonly reflectorClient: boolean;
  readonly weight: number;
  readonly stripCommunities: readonly ('standard' | 'extended' | 'large')[];
  readonly gracefulRestart: GracefulRestartMode;
  /** How long this neighbour keeps our routes while we are away, seconds; the speaker's when absent. */
  readonly restartTime?: number;
  readonly extendedMessages: boolean;
  /** RFC 8950: IPv4 routes with IPv6 next hops. */
  readonly extendedNextHop: boolean;
  /** RFC 8326: routes with the GRACEFUL_SHUTDOWN community get local preference 0. */
  readonly honorGracefulShutdown: boolean;
  /** The AS_PATH from an external neighbour has to begin with its AS; true when absent. A route server's does not. */
  readonly enforceFirstAs?: boolean;
  /** Announce everything to this neighbour with the GRACEFUL_SHUTDOWN community: it is about to go. */
  readonly drain: boolean;
}

export interface NeighborConfig extends PeerSettings {
  readonly address: IpAddress;
  readonly name: string;
  readonly port: number;
  readonly passive: boolean;
  readonly enabled: boolean;
}

/**
 * What tells a neighbour from all others: its address, and for a link-local one the device too, as `fe80::1%eth0`: the same
 * address may be somebody else's on another link (RFC 4007).
 */
export function neighborKey(address: IpAddress, device: string | undefined): string {
  return device !== undefined && familyOf(address) === 6 && isLinkLocal(address) ? `${address}%${device}` : address;
}

/** Neighbours nobody listed: whoever connects from `range` and is of the right AS. */
export interface DynamicRange extends PeerSettings {
  readonly range: Prefix;
  readonly name: string;
  readonly limit: number;
}

/** A prefix this speaker announces. */
export interface NetworkConfig {
  readonly prefix: Prefix;
  readonly nextHop?: IpAddress;
  readonly med?: number;
  readonly localPref?: number;
  readonly communities: readonly string[];
  readonly prepend: readonly number[];
}

export interface ListenConfig {
  readonly address: IpAddress;
  readonly port: number;
}

export interface GracefulRestartConfig {
  readonly mode: GracefulRestartMode;
  /** How long neighbours keep our routes while we are away, seconds. */
  readonly restartTime: number;
  /** After our own restart: the longest wait for End-of-RIB from all neighbours before choosing routes, seconds. */
  readonly deferral: number;
  /** RFC 8538: keep routes over NOTIFICATIONs as well. */
  readonly notifications: boolean;
}

export interface DecisionConfig {
  readonly alwaysCompareMed: boolean;
  readonly missingMedWorst: boolean;
  readonly preferOlder: boolean;
  readonly multipathEbgp: number;
  readonly multipathIbgp: number;
  readonly multipathRelax: boolean;
}

/** Best paths stay in the tables, or go into the kernel's main table with this route protocol number. */
export type FibConfig = { readonly type: 'none' } | { readonly type: 'kernel'; readonly protocol: number };

export interface BgpConfig {
  readonly routerId: IpAddress;
  readonly asn: number;
  readonly clusterId: IpAddress;
  readonly listen: readonly ListenConfig[];
  /** RFC 8212. */
  readonly ebgpRequiresPolicy: boolean;
  readonly gracefulRestart: GracefulRestartConfig;
  readonly decision: DecisionConfig;
  readonly networks: readonly NetworkConfig[];
  readonly prefixLists: readonly PrefixList[];
  readonly policies: readonly PolicyDescription[];
  readonly neighbors: readonly NeighborConfig[];
  readonly dynamic: readonly DynamicRange[];
  readonly fib: FibConfig;
  /** Path of the control socket; absent: none. */
  readonly control?: string;
}
