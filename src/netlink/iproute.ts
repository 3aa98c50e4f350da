/** Routes as iproute2 prints them: what people compare with, and paste. */
import { familyOf, prefixAddress } from '../net/mod.ts';
import { RT_SCOPE, RT_TABLE, RTN, RTNH_F, RTPROT } from './codes.ts';
import type { KernelNextHop, KernelRoute } from './route.ts';

const types: Readonly<Record<number, string>> = {
  [RTN.LOCAL]: 'local ',
  [RTN.BROADCAST]: 'broadcast ',
  [RTN.MULTICAST]: 'multicast ',
  [RTN.BLACKHOLE]: 'blackhole ',
  [RTN.UNREACHABLE]: 'unreachable ',
  [RTN.PROHIBIT]: 'prohibit ',
};
/** /etc/iproute2/rt_protos; numbers without a name are printed as they are. */
const protocols: Readonly<Record<number, string>> = {
  [RTPROT.UNSPEC]: 'unspec',
  [RTPROT.REDIRECT]: 'redirect',
  [RTPROT.KERNEL]: 'kernel',
  [RTPROT.STATIC]: 'static',
  8: 'gated',
  9: 'ra',
  10: 'mrt',
  11: 'zebra',
  [RTPROT.BIRD]: 'bird',
  13: 'dnrouted',
  14: 'xorp',
  15: 'ntk',
  [RTPROT.DHCP]: 'dhcp',
  18: 'keepalived',
  42: 'babel',
  99: 'openr',
  [RTPROT.BGP]: 'bgp',
  187: 'isis',
  188: 'ospf',
  189: 'rip',
  192: 'eigrp',
};
const scopes: Readonly<Record<number, string>> = {
  [RT_SCOPE.SITE]: 'site',
  [RT_SCOPE.LINK]: 'link',
  [RT_SCOPE.HOST]: 'host',
  [RT_SCOPE.NOWHERE]: 'nowhere',
};

function flagWords(flags: number): string {
  const words: [number, string][] = [
    [RTNH_F.DEAD, 'dead'],
    [RTNH_F.ONLINK, 'onlink'],
    [RTNH_F.LINKDOWN, 'linkdown'],
  ];
  return words.map(([bit, word]) => ((flags & bit) === 0 ? '' : ` ${word}`)).join('');
}

/**
 * One line of `ip route show`, without its trailing blank. `nameOf` gives the name of an interface by index. IPv6's
 * `pref` is left out: the route's value does not carry it.
 */
export function iprouteLine(route: KernelRoute, nameOf: (index: number) => string): string {
  const family = familyOf(route.destination);
  const toGateway = ({ gateway }: KernelNextHop) => {
    if (gateway === undefined) return '';
    const other = familyOf(gateway) === family ? '' : familyOf(gateway) === 4 ? 'inet ' : 'inet6 ';
    return ` via ${other}${gateway}`;
  };
  const single = route.nextHops.length === 1 ? route.nextHops[0] : undefined;
  let line = (types[route.type] ?? '') + destination(route);
  if (single) line += `${toGateway(single)} dev ${nameOf(single.index)}`;
  if (route.table !== RT_TABLE.MAIN) line += ` table ${route.table === RT_TABLE.LOCAL ? 'local' : route.table}`;
  if (route.protocol !== RTPROT.BOOT) line += ` proto ${protocols[route.protocol] ?? route.protocol}`;
  if (route.scope !== RT_SCOPE.UNIVERSE) line += ` scope ${scopes[route.scope] ?? route.scope}`;
  if (route.source !== undefined) line += ` src ${route.source}`;
  if (route.priority !== 0) line += ` metric ${route.priority}`;
  // of several next hops: what holds for all of them
  const common = route.nextHops.reduce((flags, hop) => flags & hop.flags, RTNH_F.DEAD | RTNH_F.LINKDOWN);
  if (route.nextHops.length > 0) line += flagWords(single?.flags ?? common);
  if (route.mtu !== 0) line += ` mtu ${route.mtu}`;
  if (!single) {
    for (const hop of route.nextHops) {
      line += ` nexthop${toGateway(hop)} dev ${nameOf(hop.index)} weight ${hop.weight}${flagWords(hop.flags)}`;
    }
  }
  return line;
}

function destination({ destination: prefix }: KernelRoute): string {
  if (prefix === '0.0.0.0/0' || prefix === '::/0') return 'default';
  return prefix.endsWith(familyOf(prefix) === 4 ? '/32' : '/128') ? prefixAddress(prefix) : prefix;
}
