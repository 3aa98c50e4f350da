/**
 * Path attributes as values, for policies, people and routes of our own. The tables keep attribute sets as the bytes
 * they came in and read the few fields the decision needs from them; this form is made only where somebody looks.
 */
import type { IpAddress } from '../../net/mod.ts';

/** RFC 4271 §4.3, path segments; the confederation kinds of RFC 5065 are carried, not acted on. */
export interface AsPathSegment {
  readonly type: 'sequence' | 'set' | 'confed-sequence' | 'confed-set';
  readonly asns: readonly number[];
}

export interface RouteAttributes {
  readonly origin: 'igp' | 'egp' | 'incomplete';
  readonly asPath: readonly AsPathSegment[];
  readonly nextHop: IpAddress;
  /** RFC 2545: the second next hop of an IPv6 route. */
  readonly linkLocalNextHop?: IpAddress;
  readonly med?: number;
  readonly localPref?: number;
  readonly atomicAggregate: boolean;
  readonly aggregator?: { readonly asn: number; readonly address: IpAddress };
  /** RFC 1997, as 32-bit numbers. */
  readonly communities: readonly number[];
  /** RFC 4360, as 64-bit numbers. */
  readonly extendedCommunities: readonly bigint[];
  /** RFC 8092. */
  readonly largeCommunities: readonly (readonly [number, number, number])[];
  readonly originatorId?: IpAddress;
  readonly clusterList: readonly IpAddress[];
  /** Attributes this speaker has no name for, in the order of their types. */
  readonly unknown: readonly { readonly flags: number; readonly type: number; readonly value: Uint8Array }[];
}
