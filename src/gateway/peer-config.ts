/**
 * The other side: what to write on a gateway so that it accepts an announcer. Made from the announcer's configuration, and
 * when it runs from what it knows: the address its session has, and the next hops of what it announces.
 */
import { GodwitError } from '../base/mod.ts';
import type { NeighborConfig } from '../bgp/mod.ts';
import { addressBits, compareAddresses, familyOf, prefixLength } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { GatewayConfig } from './config.ts';

export const peerFormats = ['frr', 'bird', 'cisco-ios', 'junos', 'arista-eos'] as const;
export type PeerFormat = (typeof peerFormats)[number];

interface Sides {
  readonly announcerAs: number;
  readonly gatewayAs: number;
  readonly announcer: string;
  readonly gateway: string;
  readonly within: readonly Prefix[];
  readonly password: boolean;
  readonly port: number;
}

/** The gateway of that name or address; throws GodwitError with those there are. */
export function findGateway(config: GatewayConfig, name: string): NeighborConfig {
  const { neighbors } = config.bgp;
  const gateway = neighbors.find((n) => n.name === name || n.address === name);
  if (gateway) return gateway;
  const hint = `there is ${neighbors.map((n) => n.name).join(', ') || 'none'}`;
  throw new GodwitError('gateway', `no gateway ${name} in the configuration`, { hint });
}

/** Addresses that are shown of many. */
const SHOWN = 12;

/** Remarks for who configures the gateway: where packets for what is announced now go from there. */
export function nextHopRemarks(announced: Iterable<{ readonly nextHop: IpAddress }>, format: PeerFormat): string {
  let prefixes = 0;
  const hops = new Set<IpAddress>();
  for (const { nextHop } of announced) {
    prefixes++;
    hops.add(nextHop);
  }
  const list = [...hops].sort(compareAddresses);
  const more = list.length > SHOWN ? `, and ${list.length - SHOWN} more` : '';
  const lines = [
    `${prefixes} prefixes are announced now; the gateway needs a route to each of their next hops:`,
    `${list.slice(0, SHOWN).join(', ') || 'none'}${more}`,
  ];
  const mark = format === 'bird' || format === 'junos' ? '#' : '!';
  return lines.map((line) => `${mark} ${line}\n`).join('');
}

/**
 * `announcer` is the address the gateway sees; its source, or router id, when nobody knows better. A password is never
 * printed: a mark stands where it goes.
 */
export function peerConfig(
  config: GatewayConfig,
  gateway: NeighborConfig,
  announcer: string | undefined,
  format: PeerFormat,
): string {
  const as = gateway.remoteAs;
  const sides: Sides = {
    announcerAs: gateway.localAs,
    gatewayAs: typeof as === 'number' ? as : gateway.localAs,
    announcer: announcer ?? gateway.source ?? config.bgp.routerId,
    ...{ gateway: gateway.address, port: gateway.port, password: gateway.password !== undefined },
    within: config.announce.within,
  };
  return `${writers[format](sides).join('\n')}\n`;
}

const SECRET = 'PUT-THE-PASSWORD-HERE';
const isIpv6 = (p: Prefix): boolean => familyOf(p) === 6;
const longest = (p: Prefix): number => addressBits(familyOf(p));
/** IPv4 (false) and IPv6 (true), as far as anything of them is announced. */
const familiesOf = ({ within }: Sides): boolean[] => [false, true].filter((v6) => within.some((p) => isIpv6(p) === v6));
/** A list's line: the prefix and all inside; a host's prefix has nothing inside. */
const permit = (p: Prefix): string => `permit ${p}${prefixLength(p) < longest(p) ? ` le ${longest(p)}` : ''}`;
const external = (s: Sides): boolean => s.announcerAs !== s.gatewayAs;

function frr(s: Sides): string[] {
  const families = familiesOf(s);
  const lines = families.flatMap((v6) =>
    s.within.filter((p) => isIpv6(p) === v6).map((p) => `${v6 ? 'ipv6' : 'ip'} prefix-list GODWIT ${permit(p)}`),
  );
  for (const v6 of families) {
    lines.push(`route-map GODWIT-IN permit ${v6 ? 20 : 10}`, ` match ${v6 ? 'ipv6' : 'ip'} address prefix-list GODWIT`);
  }
  lines.push('route-map GODWIT-OUT deny 10', `router bgp ${s.gatewayAs}`);
  lines.push(` neighbor ${s.announcer} remote-as ${s.announcerAs}`);
  if (external(s))
    lines.push(` neighbor ${s.announcer} ebgp-multihop`, ` neighbor ${s.announcer} disable-connected-check`);
  if (s.password) lines.push(` neighbor ${s.announcer} password ${SECRET}`);
  for (const v6 of families) {
    lines.push(` address-family ${v6 ? 'ipv6' : 'ipv4'} unicast`, `  neighbor ${s.announcer} activate`);
    lines.push(
      `  neighbor ${s.announcer} route-map GODWIT-IN in`,
      `  neighbor ${s.announcer} route-map GODWIT-OUT out`,
    );
    lines.push(' exit-address-family');
  }
  return [...lines, 'exit'];
}

function bird(s: Sides): string[] {
  const channel = (v6: boolean): string[] => {
    const pools = s.within.filter((p) => isIpv6(p) === v6);
    if (pools.length === 0) return [];
    const set = pools.map((p) => `${p}+`).join(', ');
    return [`  ${v6 ? 'ipv6' : 'ipv4'} {`, `    import where net ~ [ ${set} ];`, '    export none;', '  };'];
  };
  return [
    'protocol bgp godwit {',
    `  local ${s.gateway} as ${s.gatewayAs};`,
    `  neighbor ${s.announcer} as ${s.announcerAs};`,
    '  multihop;',
    ...(s.password ? [`  password "${SECRET}";`] : []),
    ...channel(false),
    ...channel(true),
    '}',
  ];
}

/**
 * IOS and EOS differ in little: IPv6 prefix lists, which EOS has a mode for, and how passwords are written. IOS: IP Routing
 * BGP Command Reference, "neighbor" commands; EOS: User Manual, "Border Gateway Protocol" and "ACLs and Route Maps".
 */
function cisco(s: Sides, eos: boolean): string[] {
  const families = familiesOf(s);
  const lines: string[] = [];
  for (const v6 of families) {
    const rules = s.within.filter((p) => isIpv6(p) === v6).map((p, i) => `seq ${5 * (i + 1)} ${permit(p)}`);
    if (eos && v6) lines.push('ipv6 prefix-list GODWIT', ...rules.map((rule) => `   ${rule}`));
    else lines.push(...rules.map((rule) => `${v6 ? 'ipv6' : 'ip'} prefix-list GODWIT ${rule}`));
    lines.push('!');
  }
  for (const v6 of families) {
    const name = v6 ? 'GODWIT-IN6' : 'GODWIT-IN';
    lines.push(`route-map ${name} permit 10`, ` match ${v6 ? 'ipv6' : 'ip'} address prefix-list GODWIT`, '!');
  }
  lines.push('route-map GODWIT-OUT deny 10', '!', `router bgp ${s.gatewayAs}`);
  lines.push(` neighbor ${s.announcer} remote-as ${s.announcerAs}`);
  if (external(s)) lines.push(` neighbor ${s.announcer} ebgp-multihop 255`);
  if (s.password) lines.push(` neighbor ${s.announcer} password ${eos ? '0 ' : ''}${SECRET}`);
  for (const v6 of families) {
    lines.push(` address-family ${v6 ? 'ipv6' : 'ipv4'}`, `  neighbor ${s.announcer} activate`);
    lines.push(`  neighbor ${s.announcer} route-map ${v6 ? 'GODWIT-IN6' : 'GODWIT-IN'} in`);
    lines.push(`  neighbor ${s.announcer} route-map GODWIT-OUT out`, ...(eos ? [' !'] : [' exit-address-family']));
  }
  return lines;
}

/** The router's own AS is `routing-options autonomous-system`; what a group calls `local-as` is another one for its peers. */
function junos(s: Sides): string[] {
  const policy = 'policy-options policy-statement godwit-in term pools';
  const group = 'set protocols bgp group godwit';
  const families = familiesOf(s);
  return [
    `set routing-options autonomous-system ${s.gatewayAs}`,
    ...s.within.map((p) => `set ${policy} from route-filter ${p} orlonger`),
    `set ${policy} then accept`,
    'set policy-options policy-statement godwit-in term rest then reject',
    'set policy-options policy-statement godwit-out then reject',
    `${group} type ${external(s) ? 'external' : 'internal'}`,
    ...(external(s) ? [`${group} multihop ttl 255`, `${group} peer-as ${s.announcerAs}`] : []),
    ...families.map((v6) => `${group} family ${v6 ? 'inet6' : 'inet'} unicast`),
    `${group} import godwit-in`,
    `${group} export godwit-out`,
    ...(s.password ? [`${group} authentication-key ${SECRET}`] : []),
    `${group} neighbor ${s.announcer}`,
  ];
}

const writers: Readonly<Record<PeerFormat, (sides: Sides) => string[]>> = {
  ...{ frr, bird, junos },
  'cisco-ios': (s) => cisco(s, false),
  'arista-eos': (s) => cisco(s, true),
};
