/**
 * From a best path's attributes to what an update group announces: whether it may go there at all, the export policy, and
 * what RFC 4271 §5 and RFC 4456 §8 change on the way. Runs once per attribute set and group.
 */
import { addressBytes } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { IPV4_UNICAST, IPV6_UNICAST, SegmentType, WellKnownCommunity } from '../wire/mod.ts';
import type { AfiSafi, AsPath, AsSegment, NextHop, PathAttributes, SessionContext } from '../wire/mod.ts';
import { isLinkLocalNextHop } from './nexthops.ts';
import { SetFlag } from './set-columns.ts';
import type { NextHopMode, PolicyRoute, RoutePolicy } from './types.ts';

/** All that an announcement depends on besides the route: neighbours for which this is equal share an update group. */
export interface ExportRules {
  readonly family: Family;
  readonly kind: 'ebgp' | 'ibgp';
  readonly reflectorClient: boolean;
  readonly context: SessionContext;
  readonly localAs: number;
  /** The speaker's own AS; differs from `localAs` with `local-as`. */
  readonly ownAs: number;
  readonly localAsReplace: boolean;
  readonly clusterId: number;
  readonly nextHop: NextHopMode;
  readonly self: NextHop | undefined;
  readonly sharedSubnet: Subnet | undefined;
  readonly removePrivateAs: 'all' | 'replace' | undefined;
  readonly strip: { readonly standard?: boolean; readonly extended?: boolean; readonly large?: boolean };
  readonly policy: RoutePolicy | undefined;
  readonly defaultOriginate: boolean;
  /** Add GRACEFUL_SHUTDOWN, RFC 8326. */
  readonly drain: boolean;
}

/** A prefix for asking whether it holds an address given as bytes. */
export interface Subnet {
  readonly address: Uint8Array;
  readonly length: number;
}

/** Where the route came from. */
export interface RouteOrigin {
  readonly kind: 'ebgp' | 'ibgp' | 'local';
  readonly reflectorClient: boolean;
  /** The BGP Identifier of the neighbour. */
  readonly routerId: number;
  readonly from: PolicyRoute['from'];
}

export const afiSafiOf = (family: Family): AfiSafi => (family === 4 ? IPV4_UNICAST : IPV6_UNICAST);

/** Attributes of a route of this speaker; a next hop of all zeros stands for ourselves. */
export const ownAttributes = (family: Family): PathAttributes => ({
  origin: 0,
  asPath: [],
  nextHop: { address: new Uint8Array(family === 4 ? 4 : 16), linkLocal: undefined },
  med: undefined,
  localPref: undefined,
  atomicAggregate: false,
  aggregator: undefined,
  communities: [],
  originatorId: undefined,
  clusterList: [],
  extendedCommunities: [],
  largeCommunities: [],
  unknown: [],
  partial: 0,
});

/** RFC 1997 communities, RFC 4456 §6 and the split horizon of RFC 4271 §9.2: may a route like this go there? */
export function mayExport(flags: number, origin: RouteOrigin, rules: ExportRules): boolean {
  if ((flags & SetFlag.NoAdvertise) !== 0) return false;
  if (rules.kind === 'ebgp') return (flags & SetFlag.NoExport) === 0;
  return origin.kind !== 'ibgp' || origin.reflectorClient || rules.reflectorClient;
}

/** What is announced; undefined when the policy refuses or there is no next hop to announce. */
export function outbound(
  route: PathAttributes,
  origin: RouteOrigin,
  rules: ExportRules,
  prefix?: Prefix,
): PathAttributes | undefined {
  const external = rules.kind === 'ebgp';
  // a MED received is for our own AS (RFC 4271 §5.1.4); one that the policy sets goes out
  const before = external && origin.kind !== 'local' ? { ...route, med: undefined } : route;
  let after: PathAttributes = before;
  if (rules.policy && !rules.policy.acceptsAll) {
    const verdict = rules.policy.apply({
      attributes: before,
      family: rules.family,
      source: origin.kind,
      ...(prefix === undefined ? {} : { prefix }),
      ...(origin.from === undefined ? {} : { from: origin.from }),
    });
    if (!verdict.accept) return undefined;
    after = verdict.attributes;
  }
  const nextHop = announcedNextHop(after.nextHop, after.nextHop !== before.nextHop, rules);
  if (!nextHop) return undefined;
  const reflected = !external && origin.kind === 'ibgp';
  return {
    ...after,
    nextHop,
    asPath: external ? externalPath(after.asPath, rules) : after.asPath,
    localPref: external ? undefined : (after.localPref ?? 100),
    originatorId: reflected ? (after.originatorId ?? origin.routerId) : undefined,
    clusterList: reflected ? [rules.clusterId, ...after.clusterList] : [],
    communities: standardCommunities(after.communities, rules),
    extendedCommunities: rules.strip.extended
      ? []
      : external
        ? transitive(after.extendedCommunities)
        : after.extendedCommunities,
    largeCommunities: rules.strip.large ? [] : after.largeCommunities,
  };
}

function standardCommunities(communities: readonly number[], rules: ExportRules): readonly number[] {
  const kept = rules.strip.standard ? [] : communities;
  if (!rules.drain || kept.includes(WellKnownCommunity.GracefulShutdown)) return kept;
  return [...kept, WellKnownCommunity.GracefulShutdown];
}

function isOurs({ address }: NextHop): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== 0) return false;
  return true;
}

function announcedNextHop(nextHop: NextHop, byPolicy: boolean, rules: ExportRules): NextHop | undefined {
  const keep = byPolicy || rules.nextHop === 'unchanged' || (rules.nextHop === 'auto' && mayKeep(nextHop, rules));
  // RFC 2545 §3: a link-local address means nothing off its link
  const elsewhere = !byPolicy && isLinkLocalNextHop(nextHop.address);
  if (!keep || elsewhere || isOurs(nextHop)) return rules.self;
  // a policy may set any address; an IPv6 route has an IPv6 next hop
  if (rules.family === 6 && nextHop.address.length !== 16) return undefined;
  // RFC 8950: an IPv6 next hop of an IPv4 route only for those who asked for it
  if (rules.family === 4 && nextHop.address.length !== 4 && rules.context.extendedNextHop.size === 0) return undefined;
  return nextHop.linkLocal ? { address: nextHop.address, linkLocal: undefined } : nextHop;
}

/** RFC 4271 §5.1.3: kept inside the AS, and to eBGP neighbours on the subnet that the next hop is on. */
function mayKeep(nextHop: NextHop, rules: ExportRules): boolean {
  if (rules.kind === 'ibgp') return true;
  return rules.sharedSubnet !== undefined && sameFamilyContains(rules.sharedSubnet, nextHop.address);
}

const sameFamilyContains = (subnet: Subnet, address: Uint8Array): boolean =>
  subnet.address.length === address.length && contains(subnet, address, 0);

/** Whether the address at `at`, of the subnet's family, lies in it. */
export function contains({ address, length }: Subnet, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < address.length; i++) {
    const bits = Math.min(8, length - 8 * i);
    if (bits <= 0) return true;
    if (((address[i]! ^ bytes[at + i]!) & (0xff << (8 - bits))) !== 0) return false;
  }
  return true;
}

/** RFC 6996. */
const isPrivateAs = (asn: number): boolean =>
  (asn >= 64512 && asn <= 65534) || (asn >= 4200000000 && asn <= 4294967294);

function externalPath(path: AsPath, rules: ExportRules): AsPath {
  let kept = path;
  if (rules.removePrivateAs === 'replace') {
    kept = path.map((s) => ({ type: s.type, asns: s.asns.map((asn) => (isPrivateAs(asn) ? rules.ownAs : asn)) }));
  } else if (rules.removePrivateAs === 'all') {
    kept = path
      .map((s) => ({ type: s.type, asns: s.asns.filter((asn) => !isPrivateAs(asn)) }))
      .filter((s) => s.asns.length > 0);
  }
  if (rules.localAs === rules.ownAs || rules.localAsReplace) return prepend(kept, [rules.localAs]);
  return prepend(kept, [rules.localAs, rules.ownAs]);
}

/** Puts `asns` before the path, RFC 4271 §5.1.2: into its first sequence while that has room. */
export function prepend(path: AsPath, asns: readonly number[]): AsPath {
  const first = path[0];
  if (first?.type === SegmentType.Sequence && first.asns.length + asns.length <= 255) {
    const merged: AsSegment = { type: SegmentType.Sequence, asns: [...asns, ...first.asns] };
    return path.length === 1 ? [merged] : [merged, ...path.slice(1)];
  }
  return [{ type: SegmentType.Sequence, asns: [...asns] }, ...path];
}

/** RFC 4360 §6: communities whose type says so stay inside the AS. */
function transitive(communities: readonly number[]): readonly number[] {
  let out: number[] | undefined;
  for (let i = 0; i < communities.length; i += 2) {
    const high = communities[i]!;
    if ((high & 0x40000000) !== 0) out ??= communities.slice(0, i);
    else out?.push(high, communities[i + 1]!);
  }
  return out ?? communities;
}

/** Our own next hop for the family: the session's address, or with RFC 8950 the IPv6 one for IPv4 routes. */
export function selfNextHop(
  family: Family,
  addresses: { readonly [F in Family]?: IpAddress },
  linkLocal: IpAddress | undefined,
  context: SessionContext,
): NextHop | undefined {
  const address = addresses[family] ?? (family === 4 && context.extendedNextHop.size > 0 ? addresses[6] : undefined);
  if (address === undefined) return undefined;
  const bytes = addressBytes(address);
  return { address: bytes, linkLocal: bytes.length === 16 && linkLocal ? addressBytes(linkLocal) : undefined };
}
