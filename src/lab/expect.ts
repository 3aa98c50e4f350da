/**
 * Which routes a scenario demands of each machine, as the lines `ip route` would show. Pure. Who owns which part of
 * the pod network is the datastore's word, which in a healthy lab is the scenario's where that says anything.
 */
import { ROUTE_PROTOCOL } from '../dataplane/mod.ts';
import { familyOf, nthAddress, prefixLength, prefixOf } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import { RTPROT } from '../netlink/mod.ts';
import { calicoRoutes } from './calico.ts';
import { addressOf, deviceTo, nextHop } from './machine.ts';
import type { ObservedNode } from './observe.ts';
import { routeLine } from './route-line.ts';
import type { Machine, RoutingProgram, Topology } from './topology.ts';

export interface RouteFault {
  readonly node: string;
  readonly problem: 'missing' | 'stale';
  /** The line that should be there, or should not. */
  readonly line: string;
}

/** What the datastore says that routes follow from. */
export interface Facts {
  /** Who owns which prefixes of the pod network. */
  readonly owned: ReadonlyMap<string, readonly Prefix[]>;
  /** The addresses of each node's VXLAN tunnels. */
  readonly vteps: ReadonlyMap<string, readonly IpAddress[]>;
}

/** `addresses` are those of the pods. */
export function expectedRoutes(
  topology: Topology,
  facts: Facts,
  machine: Machine,
  addresses: Readonly<Record<string, readonly string[]>> = {},
): string[] {
  if (machine.expect) return [...machine.expect];
  const lines = machine.interfaces.flatMap(({ name, addresses: own }) => {
    return own.map(({ address, prefixLength: length }) => {
      const connected = `${prefixOf(address, length)} dev ${name} proto kernel`;
      return familyOf(address) === 4 ? `${connected} scope link src ${address}` : `${connected} metric 256`;
    });
  });
  for (const { to, via } of machine.routes) {
    const destination = prefixLength(to) === 0 ? 'default' : to;
    lines.push(routeLine(destination, `via ${via} dev ${deviceTo(machine, via)} proto static`, familyOf(to)));
  }
  if (machine.agent && topology.mode === 'calico')
    return [...lines, ...calicoRoutes(topology, facts, machine, addresses)];
  for (const owner of topology.machines) {
    for (const prefix of facts.owned.get(owner.name) ?? []) lines.push(...routeTo(prefix, owner, machine));
  }
  return lines;
}

/** At `machine`, the route to a prefix of `owner`'s, where there is to be one. */
function routeTo(prefix: Prefix, owner: Machine, machine: Machine): string[] {
  const via = addressOf(owner, familyOf(prefix));
  if (via === undefined) return [];
  if (machine.bgp) {
    if (owner === machine || familyOf(prefix) === 6) return []; // their sessions carry IPv4
    const hop = nextHop(machine, via);
    return hop === undefined
      ? []
      : [`${prefix} via ${hop} dev ${deviceTo(machine, hop)} ${marks[machine.bgp.program]}`];
  }
  if (!machine.agent) return [];
  if (owner === machine) return [`${prefix} dev cni0 proto kernel scope link src ${nthAddress(prefix, 1)}`];
  const device = deviceTo(machine, via);
  return device === undefined ? [] : [`${prefix} via ${via} dev ${device} proto ${ROUTE_PROTOCOL}`];
}

/** How the routes of each program look in the kernel. */
const marks: Readonly<Record<RoutingProgram['program'], string>> = {
  frr: 'proto bgp metric 20',
  bird: 'proto bird metric 32',
  godwit: 'proto bgp',
};

/** Protocol numbers of routes that are a machine's programs' own: of these, none may be there that is not demanded. */
const protocolsOf = ({ agent, bgp }: Machine): readonly number[] =>
  bgp ? [RTPROT.BGP, RTPROT.BIRD] : agent ? [ROUTE_PROTOCOL] : [];

/** What is demanded and not there, and what carries our mark and is not demanded. Routes of others are nobody's fault. */
export function compareRoutes(expected: readonly string[], node: ObservedNode, machine: Machine): RouteFault[] {
  const ours = protocolsOf(machine);
  // a bridge without pods has no carrier, nor has the tunnel of a dead agent where a program is its other end; both work
  const lines = new Map(
    node.routes.map((seen) => [seen.line.replace(/^(.* dev (?:cni0|tunl0) .*) linkdown$/, '$1'), seen]),
  );
  const wanted = new Set(expected);
  const missing = expected.filter((line) => !lines.has(line));
  const stale = [...lines].filter(
    ([line, { route }]) => (machine.expect !== undefined || ours.includes(route.protocol)) && !wanted.has(line),
  );
  return [
    ...missing.map((line): RouteFault => ({ node: node.name, problem: 'missing', line })),
    ...stale.map(([line]): RouteFault => ({ node: node.name, problem: 'stale', line })),
  ];
}
