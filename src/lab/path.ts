/**
 * The way a packet takes through the lab by the routes that are in the kernels, hop by hop, for the explanation of a probe
 * that failed: which hop lacks which route. Pure: it walks what `observe` read.
 */
import { familyOf, isLinkLocal, prefixContains, prefixLength } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import { RTN } from '../netlink/mod.ts';
import type { ObservedNode, ObservedRoute } from './observe.ts';

export interface Walk {
  /** Names of the nodes the packet comes through, the sender first. */
  readonly hops: readonly string[];
  /** Why it ends before it arrives; absent when it arrives. */
  readonly problem?: string;
}

const MAX_HOPS = 32;
const FORWARDING = { 4: 'ip_forward', 6: 'net.ipv6.conf.all.forwarding' } as const;

/** `hosts` are those of the pods: a pod's next hop may be an address that only its end of the wire means something to. */
export function walk(
  nodes: readonly ObservedNode[],
  hosts: ReadonlyMap<string, string>,
  from: string,
  to: IpAddress,
): Walk {
  const owners = new Map(nodes.flatMap((node) => node.addresses.map(({ address }) => [address, node] as const)));
  const hops: string[] = [];
  let node = nodes.find(({ name }) => name === from);
  while (node) {
    hops.push(node.name);
    const here = node;
    if (here.addresses.some(({ address }) => address === to)) return { hops };
    if (hops.length > MAX_HOPS)
      return { hops, problem: `a loop: after ${MAX_HOPS} hops the packet is at ${here.name}` };
    if (hops.length > 1 && !here.forwards.includes(familyOf(to)))
      return { hops, problem: `${here.name} does not forward (${FORWARDING[familyOf(to)]} is 0)` };
    const route = lookUp(here, to);
    if (!route) return { hops, problem: `${here.name} has no route to ${to}` };
    if (route.route.type !== RTN.UNICAST) return { hops, problem: `${here.name} drops it: ${route.line}` };
    const next = route.route.nextHops[0]?.gateway ?? to;
    node = isLinkLocal(next) ? nodes.find(({ name }) => name === hosts.get(here.name)) : owners.get(next);
    if (!node) return { hops, problem: `${here.name} sends it to ${next}, which nobody has: ${route.line}` };
  }
  return { hops, problem: `${from} is not there` };
}

/** The longest prefix wins, then the lower metric. */
function lookUp(node: ObservedNode, to: IpAddress): ObservedRoute | undefined {
  let best: ObservedRoute | undefined;
  for (const candidate of node.routes) {
    const { destination, priority } = candidate.route;
    if (!prefixContains(destination, to)) continue;
    const longer = best === undefined ? 1 : prefixLength(destination) - prefixLength(best.route.destination);
    if (longer > 0 || (longer === 0 && priority < best!.route.priority)) best = candidate;
  }
  return best;
}

/** Why `from` and `to` do not reach each other, as far as routes tell. */
export function explain(
  nodes: readonly ObservedNode[],
  hosts: ReadonlyMap<string, string>,
  from: { readonly name: string; readonly address: IpAddress },
  to: { readonly name: string; readonly address: IpAddress },
): string {
  const there = walk(nodes, hosts, from.name, to.address);
  if (there.problem !== undefined) return `on the way there (${there.hops.join(' → ')}): ${there.problem}`;
  const back = walk(nodes, hosts, to.name, from.address);
  if (back.problem !== undefined) return `on the way back (${back.hops.join(' → ')}): ${back.problem}`;
  return `the routes are complete both ways (${there.hops.join(' → ')}); something drops the packets: a filter, or a link that is down`;
}
