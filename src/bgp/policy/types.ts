/**
 * A policy's description, as parsed from a configuration. Terms are tried in order; the first whose matches all hold runs
 * its actions and, unless it says `continue`, decides. A route that no term decides meets `default`.
 */
import type { Asn, Family, IpAddress, Prefix } from '../../net/mod.ts';

/** One line of a prefix list: `10.0.0.0/8 ge 16 le 24`. Without ge and le the length must be exactly the prefix's. */
export interface PrefixRule {
  readonly prefix: Prefix;
  readonly ge?: number;
  readonly le?: number;
  readonly permit: boolean;
}

/** First match decides; no match is a no. */
export interface PrefixList {
  readonly name: string;
  readonly rules: readonly PrefixRule[];
}

/**
 * Patterns are text. Communities: `65000:100`, `65000:*`, `no-export`. Large: `65000:1:*`. Extended: `rt:65000:1`,
 * `ro:10.0.0.1:5`, `rt:*:*`, or `0x` and 16 digits. AS paths: `^64512 .* 65001$`, see `aspath.ts`.
 */
export interface PolicyMatch {
  /** Names of prefix lists, any of which may match. */
  readonly prefixLists?: readonly string[];
  /** Any of these patterns. */
  readonly asPath?: readonly string[];
  readonly asPathLength?: { readonly min?: number; readonly max?: number };
  /** Any of these; `allCommunities`: every one of them. */
  readonly communities?: readonly string[];
  readonly allCommunities?: readonly string[];
  readonly extendedCommunities?: readonly string[];
  readonly largeCommunities?: readonly string[];
  /** The next hop lies in one of these. */
  readonly nextHop?: readonly Prefix[];
  /** The way to the next hop is by a device of such a name, `*` standing for any characters. Our own routes have none. */
  readonly interface?: string;
  /** Learned from a neighbour in one of these prefixes, or of this AS. */
  readonly neighbors?: readonly Prefix[];
  readonly neighborAs?: readonly Asn[];
  readonly source?: readonly ('ebgp' | 'ibgp' | 'local')[];
  readonly origin?: readonly ('igp' | 'egp' | 'incomplete')[];
  readonly med?: { readonly min?: number; readonly max?: number };
  readonly localPref?: { readonly min?: number; readonly max?: number };
  readonly family?: Family;
}

export interface PolicySet {
  readonly localPref?: number;
  /** `remove` takes the attribute away; `add` may be negative. */
  readonly med?: number | 'remove' | { readonly add: number };
  readonly origin?: 'igp' | 'egp' | 'incomplete';
  /** Standard, extended and large communities told apart by their form, as in matches. `remove` takes wildcards. */
  readonly addCommunities?: readonly string[];
  readonly removeCommunities?: readonly string[];
  /** Replaces all communities (of all three kinds). */
  readonly setCommunities?: readonly string[];
  /** Put before the path, first one outermost. */
  readonly prepend?: readonly Asn[];
  readonly nextHop?: IpAddress;
}

export interface PolicyTerm {
  readonly name?: string;
  readonly match?: PolicyMatch;
  readonly set?: PolicySet;
  readonly then: 'accept' | 'reject' | 'continue';
}

export interface PolicyDescription {
  readonly name: string;
  readonly terms: readonly PolicyTerm[];
  readonly default: 'accept' | 'reject';
}
