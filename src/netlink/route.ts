/** Routes: RTM_{NEW,DEL,GET}ROUTE, struct rtmsg. One value for a route with one or with many next hops. */
import type { Reader } from '../base/mod.ts';
import { addressBytes, addressFromBytes, familyOf, prefixAddress, prefixFromBytes, prefixLength } from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';
import { AF } from '../sys/mod.ts';
import { NLM_F, RT_SCOPE, RT_TABLE, RTA, RTAX_MTU, RTM, RTM_F_CLONED, RTN, RTNH_F } from './codes.ts';
import { forEachAttribute } from './message.ts';
import type { Batch } from './message.ts';

export interface KernelNextHop {
  readonly gateway: IpAddress | undefined;
  /** Interface index; 0 when the kernel is to find it. */
  readonly index: number;
  /** RTNH_F bits. */
  readonly flags: number;
  /** 1 to 256. */
  readonly weight: number;
}

export interface KernelRoute {
  readonly destination: Prefix;
  readonly table: number;
  /** RTPROT number: who owns the route. */
  readonly protocol: number;
  readonly scope: number;
  /** RTN number. */
  readonly type: number;
  /** The metric; lower wins. */
  readonly priority: number;
  readonly source: IpAddress | undefined;
  /** 0 for none. */
  readonly mtu: number;
  /** Empty for blackhole and the like. */
  readonly nextHops: readonly KernelNextHop[];
}

const readAddress = (value: Reader): IpAddress | undefined =>
  value.remaining === 4 || value.remaining === 16 ? addressFromBytes(value.view(value.remaining)) : undefined;

/** RTA_VIA: a gateway of another family (RFC 5549 style), family first. */
function readVia(value: Reader): IpAddress | undefined {
  value.skip(2);
  return readAddress(value);
}

function readMultipath(value: Reader): KernelNextHop[] {
  const hops: KernelNextHop[] = [];
  while (value.remaining >= 8) {
    const length = value.u16le();
    const [flags, weight, index] = [value.u8(), value.u8() + 1, value.u32le()];
    let gateway: IpAddress | undefined;
    const attributes = value.sub(length - 8);
    forEachAttribute(attributes, (type, inner) => {
      if (type === RTA.GATEWAY) gateway = readAddress(inner);
      else if (type === RTA.VIA) gateway = readVia(inner);
    });
    if (value.failed) break;
    hops.push({ gateway, index, flags, weight });
    value.skip(Math.min(-length & 3, value.remaining));
  }
  return hops;
}

export function decodeRoute(body: Reader): KernelRoute | undefined {
  const family = body.u8();
  const length = body.u8();
  body.skip(2);
  let table = body.u8();
  const [protocol, scope, type, flags] = [body.u8(), body.u8(), body.u8(), body.u32le()];
  if (body.failed || (family !== AF.INET && family !== AF.INET6) || (flags & RTM_F_CLONED) !== 0) return undefined;
  let destination = new Uint8Array(family === AF.INET ? 4 : 16);
  let [priority, mtu, index] = [0, 0, 0];
  let gateway: IpAddress | undefined;
  let source: IpAddress | undefined;
  let nextHops: KernelNextHop[] = [];
  forEachAttribute(body, (attribute, value) => {
    if (attribute === RTA.DST && value.remaining === destination.length)
      destination = value.view(value.remaining).slice();
    else if (attribute === RTA.TABLE) table = value.u32le();
    else if (attribute === RTA.PRIORITY) priority = value.u32le();
    else if (attribute === RTA.GATEWAY) gateway = readAddress(value);
    else if (attribute === RTA.VIA) gateway = readVia(value);
    else if (attribute === RTA.PREFSRC) source = readAddress(value);
    else if (attribute === RTA.OIF) index = value.u32le();
    else if (attribute === RTA.MULTIPATH) nextHops = readMultipath(value);
    else if (attribute === RTA.METRICS) {
      forEachAttribute(value, (metric, inner) => {
        if (metric === RTAX_MTU) mtu = inner.u32le();
      });
    }
  });
  if (nextHops.length === 0 && index !== 0 && (type === RTN.UNICAST || type === RTN.LOCAL || type === RTN.BROADCAST)) {
    nextHops = [{ gateway, index, flags: flags & 0xff, weight: 1 }];
  }
  return {
    destination: prefixFromBytes(destination, length),
    table,
    protocol,
    scope,
    type,
    priority,
    source,
    mtu,
    nextHops,
  };
}

function writeGateway(batch: Batch, gateway: IpAddress, family: Family): void {
  const bytes = addressBytes(gateway);
  if (familyOf(gateway) === family) batch.attribute(RTA.GATEWAY, bytes);
  else batch.attribute(RTA.VIA, [familyOf(gateway) === 4 ? AF.INET : AF.INET6, 0, ...bytes]);
}

function encode(batch: Batch, route: KernelRoute): Batch {
  const family = familyOf(route.destination);
  const length = prefixLength(route.destination);
  const single = route.nextHops.length === 1 ? route.nextHops[0]! : undefined;
  batch
    .u8(family === 4 ? AF.INET : AF.INET6)
    .u8(length)
    .u8(0)
    .u8(0);
  batch
    .u8(route.table < 256 ? route.table : 0)
    .u8(route.protocol)
    .u8(route.scope)
    .u8(route.type);
  batch.u32(single ? single.flags & RTNH_F.ONLINK : 0);
  if (length > 0) batch.attribute(RTA.DST, addressBytes(prefixAddress(route.destination)));
  if (route.table >= 256) batch.attributeU32(RTA.TABLE, route.table);
  if (route.priority !== 0) batch.attributeU32(RTA.PRIORITY, route.priority);
  if (route.source !== undefined) batch.attribute(RTA.PREFSRC, addressBytes(route.source));
  if (route.mtu !== 0) batch.nested(RTA.METRICS, () => void batch.attributeU32(RTAX_MTU, route.mtu));
  if (single) {
    if (single.gateway !== undefined) writeGateway(batch, single.gateway, family);
    if (single.index !== 0) batch.attributeU32(RTA.OIF, single.index);
  } else if (route.nextHops.length > 1) {
    batch.nested(RTA.MULTIPATH, () => {
      for (const hop of route.nextHops) {
        batch.counted(() => {
          batch
            .u8(hop.flags & RTNH_F.ONLINK)
            .u8(hop.weight - 1)
            .u32(hop.index);
          if (hop.gateway !== undefined) writeGateway(batch, hop.gateway, family);
        });
      }
    });
  }
  return batch.end();
}

/** A route with the usual defaults filled in: main table, scope by next hop, unicast unless there is none. */
export function kernelRoute(
  route: Pick<KernelRoute, 'destination' | 'protocol'> &
    Partial<Omit<KernelRoute, 'nextHops'>> & { readonly nextHops: readonly Partial<KernelNextHop>[] },
): KernelRoute {
  const nextHops = route.nextHops.map((hop): KernelNextHop => ({
    gateway: undefined,
    index: 0,
    flags: 0,
    weight: 1,
    ...hop,
  }));
  const direct = nextHops.length > 0 && nextHops.every((hop) => hop.gateway === undefined);
  return {
    table: RT_TABLE.MAIN,
    scope: direct && familyOf(route.destination) === 4 ? RT_SCOPE.LINK : RT_SCOPE.UNIVERSE,
    type: nextHops.length > 0 ? RTN.UNICAST : RTN.BLACKHOLE,
    // the kernel gives IPv6 routes without a metric 1024
    priority: familyOf(route.destination) === 6 ? 1024 : 0,
    source: undefined,
    mtu: 0,
    ...route,
    nextHops,
  };
}

export function formatRoute(route: KernelRoute): string {
  const via = route.nextHops.map(
    (hop) => ` ${hop.gateway === undefined ? '' : `via ${hop.gateway} `}dev #${hop.index}`,
  );
  return `${route.type === RTN.BLACKHOLE ? 'blackhole ' : ''}${route.destination}${via.join('')} proto ${route.protocol}`;
}

/** `create` fails when a route with this destination and metric exists; `replace` takes its place without a gap. */
export function addRoute(batch: Batch, route: KernelRoute, how: 'create' | 'replace' = 'create'): Batch {
  const flags = NLM_F.ACK | NLM_F.CREATE | (how === 'create' ? NLM_F.EXCL : NLM_F.REPLACE);
  return encode(batch.begin(RTM.NEWROUTE, flags, `${how} route ${formatRoute(route)}`), route);
}

/** Deletes the route that equals this one in destination, table, metric, protocol and next hops. */
export function deleteRoute(batch: Batch, route: KernelRoute): Batch {
  return encode(batch.begin(RTM.DELROUTE, NLM_F.ACK, `delete route ${formatRoute(route)}`), route);
}
