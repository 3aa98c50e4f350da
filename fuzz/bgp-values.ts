/** Random values of every kind the BGP codec can encode, in the form that decoding gives them back. */
import {
  type AfiSafi,
  type AsPath,
  type Capability,
  IPV4_UNICAST,
  IPV6_UNICAST,
  makeOpen,
  type NextHop,
  type OpenMessage,
  type PathAttributes,
  type SessionContext,
} from '../src/bgp/wire/mod.ts';
import type { Random } from './random.ts';

const unicast: readonly AfiSafi[] = [IPV4_UNICAST, IPV6_UNICAST];

export function anyContext(r: Random): SessionContext {
  const some = (): ReadonlySet<AfiSafi> => new Set(unicast.filter(() => r.chance(3)));
  return {
    fourOctetAs: !r.chance(3),
    extendedMessages: r.chance(3),
    peerType: r.pick(['internal', 'external']),
    families: r.chance(5) ? some() : new Set(unicast),
    extendedNextHop: r.chance(2) ? new Set([IPV4_UNICAST]) : new Set(),
    addPathReceive: r.chance(4) ? some() : new Set(),
    addPathSend: new Set(),
  };
}

const asn = (r: Random): number => 1 + (r.chance(2) ? r.below(65000) : r.below(4_294_967_294));

export function anyAsPath(r: Random): AsPath {
  return r.list(3, () => ({ type: r.pick([1, 2] as const), asns: [asn(r), ...r.list(6, () => asn(r))] }));
}

export function anyNextHop(r: Random, family: AfiSafi): NextHop {
  if (family === IPV4_UNICAST) return { address: Uint8Array.of(10, ...r.bytes(3)), linkLocal: undefined };
  const linkLocal = r.chance(3) ? Uint8Array.of(0xfe, 0x80, ...r.bytes(14)) : undefined;
  return { address: Uint8Array.of(0x20, ...r.bytes(15)), linkLocal };
}

export function anyAttributes(r: Random, family: AfiSafi): PathAttributes {
  const words = (max: number, each: number) =>
    r.list(max, () => 0).flatMap(() => Array.from({ length: each }, () => r.u32()));
  const communities = words(4, 1);
  const extendedCommunities = words(2, 2);
  const largeCommunities = words(2, 3);
  const aggregator = r.chance(4) ? { asn: asn(r), address: r.u32() } : undefined;
  const types = [...new Set(r.list(3, () => r.pick([11, 13, 20, 26, 35, 40, 128, 255])))].sort((a, b) => a - b);
  let partial = 0;
  if (aggregator && r.chance(3)) partial |= 1 << 7;
  if (communities.length > 0 && r.chance(3)) partial |= 1 << 8;
  if (extendedCommunities.length > 0 && r.chance(3)) partial |= 1 << 16;
  if (largeCommunities.length > 0 && r.chance(3)) partial |= 1 << (32 & 31);
  return {
    origin: r.pick([0, 1, 2] as const),
    asPath: anyAsPath(r),
    nextHop: anyNextHop(r, family),
    med: r.maybe(() => r.u32()),
    localPref: r.maybe(() => r.u32()),
    atomicAggregate: r.chance(4),
    aggregator,
    communities,
    originatorId: r.maybe(() => r.u32()),
    clusterList: words(3, 1),
    extendedCommunities,
    largeCommunities,
    unknown: types.map((type) => ({ type, flags: 0xe0, value: r.bytes(r.chance(8) ? 300 : r.below(9)) })),
    partial,
  };
}

export function anyCapability(r: Random): Capability {
  const family = (): AfiSafi => r.pick(unicast);
  switch (r.below(10)) {
    case 0:
      return { type: 'route-refresh' };
    case 1:
      return { type: 'enhanced-route-refresh' };
    case 2:
      return { type: 'extended-message' };
    case 3:
      return { type: 'four-octet-as', asn: r.u32() };
    case 4:
      return { type: 'extended-next-hop', entries: r.list(3, () => ({ family: family(), nextHopAfi: 2 })) };
    case 5:
      return {
        type: 'graceful-restart',
        restarting: r.chance(2),
        notification: r.chance(2),
        restartTime: r.below(4096),
        families: r.list(3, () => ({ family: family(), forwardingPreserved: r.chance(2) })),
      };
    case 6:
      return {
        type: 'add-path',
        entries: r.list(3, () => ({ family: family(), receive: r.chance(2), send: r.chance(2) })),
      };
    case 7:
      return { type: 'fqdn', host: r.pick(['', 'r1', 'knöten']), domain: r.pick(['', 'example.net']) };
    case 8:
      return { type: 'unknown', code: 200 + r.below(56), value: r.bytes(r.below(200)) };
    default:
      return { type: 'multiprotocol', family: family() };
  }
}

export function anyOpen(r: Random): OpenMessage {
  return makeOpen(
    asn(r),
    r.below(65536),
    r.u32(),
    r.list(12, () => anyCapability(r)),
  );
}
