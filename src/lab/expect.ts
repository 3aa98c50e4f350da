/**
 * Which routes a scenario demands of each machine, as the lines `ip route` would show. Pure. `subnets` says who owns which
 * pod subnet: the datastore's word, which in a healthy lab is the scenario's where that says anything.
 */
import { ROUTE_PROTOCOL } from '../dataplane/mod.ts';
import { nthAddress, prefixContains } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { ObservedNode } from './observe.ts';
import type { Machine, Topology } from './topology.ts';

export interface RouteFault {
  readonly node: string;
  readonly problem: 'missing' | 'stale';
  /** The line that should be there, or should not. */
  readonly line: string;
}

export function expectedRoutes(topology: Topology, subnets: ReadonlyMap<string, Prefix>, machine: Machine): string[] {
  const lines = machine.interfaces.map(
    ({ name, address, segment }) => `${segment.prefix} dev ${name} proto kernel scope link src ${address}`,
  );
  for (const { to, via } of machine.routes) {
    lines.push(`${to === '0.0.0.0/0' ? 'default' : to} via ${via} dev ${deviceTo(machine, via)} proto static`);
  }
  if (!machine.agent) return lines;
  for (const other of topology.machines) {
    const subnet = subnets.get(other.name);
    if (!other.agent || subnet === undefined) continue;
    if (other === machine) {
      lines.push(`${subnet} dev cni0 proto kernel scope link src ${nthAddress(subnet, 1)}`);
    } else {
      const via = other.interfaces[0]!.address;
      lines.push(`${subnet} via ${via} dev ${deviceTo(machine, via)} proto ${ROUTE_PROTOCOL}`);
    }
  }
  return lines;
}

function deviceTo(machine: Machine, address: IpAddress): string {
  return machine.interfaces.find((own) => prefixContains(own.segment.prefix, address))?.name ?? '?';
}

/** What is demanded and not there, and what carries our mark and is not demanded. Routes of others are nobody's fault. */
export function compareRoutes(expected: readonly string[], node: ObservedNode): RouteFault[] {
  // the bridge of a host without pods has no carrier, which is as it should be
  const lines = new Map(node.routes.map((seen) => [seen.line.replace(/^(.* dev cni0 .*) linkdown$/, '$1'), seen]));
  const wanted = new Set(expected);
  const missing = expected.filter((line) => !lines.has(line));
  const stale = [...lines].filter(([line, { route }]) => route.protocol === ROUTE_PROTOCOL && !wanted.has(line));
  return [
    ...missing.map((line): RouteFault => ({ node: node.name, problem: 'missing', line })),
    ...stale.map(([line]): RouteFault => ({ node: node.name, problem: 'stale', line })),
  ];
}
