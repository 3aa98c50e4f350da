/**
 * Which of this node's addresses the other nodes use as next hop: Calico's autodetection methods over a snapshot of the
 * kernel. Pure; every address that was looked at comes back with the reason it was or was not taken, so that `godwit node
 * detect` can show the choice before anything depends on it.
 *
 * Order of preference among the addresses a method allows: interfaces by index (the kernel's order); on one interface a
 * network address before a /32 or /128 (floating addresses of keepalived and the like), a primary before a secondary one.
 */
import {
  addressBits,
  compareAddresses,
  familyOf,
  formatInterfaceAddress,
  isLinkLocal,
  isLoopback,
  isMulticast,
  prefixContains,
  prefixLength,
} from '../net/mod.ts';
import type { Family, InterfaceAddress, IpAddress } from '../net/mod.ts';
import { IFA_F, isUp, RT_TABLE, RTN } from '../netlink/mod.ts';
import type { KernelAddress, KernelRoute, Link } from '../netlink/mod.ts';
import type { DetectionMethod } from './method.ts';

/** What detection looks at; from one set of dumps. */
export interface HostSnapshot {
  readonly links: readonly Link[];
  readonly addresses: readonly KernelAddress[];
  /** Main table, both families; only `can-reach` looks at them. */
  readonly routes: readonly KernelRoute[];
}

export interface NodeAddress extends InterfaceAddress {
  readonly device: string;
  readonly index: number;
  /** MTU of the device, bytes. */
  readonly mtu: number;
}

export interface Candidate {
  readonly device: string;
  /** `10.168.0.2/24`; empty for an interface without an address of the family. */
  readonly address: string;
  readonly verdict: 'chosen' | 'allowed' | 'refused';
  readonly reason: string;
}

export interface Detection {
  readonly family: Family;
  readonly method: string;
  readonly choice: NodeAddress | undefined;
  /** Why this one, or why none. */
  readonly reason: string;
  readonly candidates: readonly Candidate[];
}

/** Interfaces that belong to containers, bridges, tunnels and virtual networks, never to the underlay. */
const NOT_UNDERLAY =
  /^(docker|cbr|dummy|virbr|lxcbr|lxdbr|veth|cali|tunl|flannel|kube-ipvs|kube-bridge|cni|podman|br-|vxlan|wireguard\.cali|nodelocaldns|godwit|ovs-system|cilium|lxc|nerdctl)/;

const [SECONDARY, DADFAILED, DEPRECATED] = [0x01, 0x08, 0x20];
const GLOBAL_SCOPE = 0;

interface Rated extends NodeAddress {
  readonly flags: number;
}

/** Why an address of the family cannot be a node's address whatever the method; undefined when it can. */
function unusable(address: KernelAddress): string | undefined {
  if (isLoopback(address.address)) return 'loopback address';
  if (isLinkLocal(address.address)) return 'link-local address';
  if (isMulticast(address.address)) return 'multicast address';
  if (address.scope !== GLOBAL_SCOPE) return 'scope of the address is not global';
  if (familyOf(address.address) === 6) {
    if ((address.flags & (IFA_F.TENTATIVE | DADFAILED)) !== 0) return 'duplicate address detection is not passed';
    if ((address.flags & DEPRECATED) !== 0) return 'deprecated address';
    if ((address.flags & SECONDARY) !== 0) return 'temporary address';
  }
  return undefined;
}

function matching(patterns: readonly RegExp[], name: string): RegExp | undefined {
  return patterns.find((pattern) => pattern.test(name));
}

/** Why the method does not allow an address on this device; undefined when it does. */
function refusal(
  method: DetectionMethod,
  device: string,
  address: IpAddress,
  skip: readonly string[],
): string | undefined {
  if (skip.includes(device)) return 'the pod network’s own interface';
  if (method.type === 'interface')
    return matching(method.patterns, device) ? undefined : `interface matches none of ${method.text}`;
  if (method.type === 'address') return address === method.address ? undefined : `not ${method.address}`;
  if (method.type === 'can-reach') return undefined;
  if (device === 'lo') return 'loopback interface';
  if (NOT_UNDERLAY.test(device)) return 'name of a container, bridge or tunnel interface';
  if (method.type === 'skip-interface') {
    const pattern = matching(method.patterns, device);
    if (pattern) return `interface matches skip-interface ${pattern.source}`;
  }
  if (method.type === 'cidr' && !method.prefixes.some((p) => prefixContains(p, address)))
    return `not in ${method.prefixes.join(', ')}`;
  return undefined;
}

function preference(a: Rated, b: Rated): number {
  const host = (x: Rated) => (x.prefixLength === addressBits(familyOf(x.address)) ? 1 : 0);
  return (
    a.index - b.index ||
    host(a) - host(b) ||
    (a.flags & SECONDARY) - (b.flags & SECONDARY) ||
    compareAddresses(a.address, b.address)
  );
}

/** The route the kernel would take to `target`, by longest prefix and then metric. */
function routeTo(routes: readonly KernelRoute[], target: IpAddress): KernelRoute | undefined {
  let best: KernelRoute | undefined;
  for (const route of routes) {
    if (route.table !== RT_TABLE.MAIN || !prefixContains(route.destination, target)) continue;
    const longer = best === undefined ? 1 : prefixLength(route.destination) - prefixLength(best.destination);
    if (longer > 0 || (longer === 0 && route.priority < best!.priority)) best = route;
  }
  return best;
}

/** The device, and the source if the route names one, that packets to `target` leave by; or why there is none. */
function reach(host: HostSnapshot, target: IpAddress): { index: number; source?: IpAddress } | string {
  const own = host.addresses.find((a) => a.address === target);
  if (own) return { index: own.index, source: target };
  const route = routeTo(host.routes, target);
  const hop = route?.nextHops[0];
  if (route === undefined || route.type !== RTN.UNICAST || hop === undefined) return `no route to ${target}`;
  return { index: hop.index, ...(route.source === undefined ? {} : { source: route.source }) };
}

/**
 * Picks this node's address of one family. `skip` names interfaces of ours that are never the underlay (the bridge).
 * Never throws: without a usable address `choice` is undefined and `reason` says why.
 */
export function detectAddress(
  host: HostSnapshot,
  method: DetectionMethod,
  family: Family,
  skip: readonly string[] = [],
): Detection {
  const links = new Map(host.links.map((link) => [link.index, link]));
  const allowed: Rated[] = [];
  const candidates: { device: string; address: KernelAddress | undefined; refused: string | undefined }[] = [];
  const target = method.type === 'can-reach' ? method.target : undefined;
  const path = target === undefined ? undefined : familyOf(target) === family ? reach(host, target) : 'other family';
  for (const link of host.links.toSorted((a, b) => a.index - b.index)) {
    const addresses = host.addresses.filter((a) => a.index === link.index && familyOf(a.address) === family);
    if (addresses.length === 0) {
      candidates.push({ device: link.name, address: undefined, refused: `no IPv${family} address` });
    }
    for (const address of addresses) {
      let refused = unusable(address) ?? refusal(method, link.name, address.address, skip);
      if (refused === undefined && !isUp(link)) refused = 'interface is down';
      if (refused === undefined && path !== undefined) {
        if (typeof path === 'string') refused = path;
        else if (path.index !== link.index) refused = `${target} is reached by ${links.get(path.index)?.name}`;
        else if (path.source !== undefined && path.source !== address.address)
          refused = `the route to ${target} prefers source ${path.source}`;
      }
      candidates.push({ device: link.name, address, refused });
      if (refused === undefined) {
        const { address: ip, prefixLength, flags } = address;
        allowed.push({ address: ip, prefixLength, flags, device: link.name, index: link.index, mtu: link.mtu });
      }
    }
  }
  const best = allowed.toSorted(preference)[0];
  const choice = best && withoutFlags(best);
  const told = candidates.map(({ device, address, refused }): Candidate => {
    const text = address === undefined ? '' : formatInterfaceAddress(address);
    if (refused !== undefined) return { device, address: text, verdict: 'refused', reason: refused };
    const chosen = best !== undefined && best.index === address?.index && best.address === address.address;
    return chosen
      ? { device, address: text, verdict: 'chosen', reason: `first allowed by ${method.text}` }
      : { device, address: text, verdict: 'allowed', reason: `allowed, after ${formatInterfaceAddress(best!)}` };
  });
  const reason = choice
    ? `${method.text}: ${formatInterfaceAddress(choice)} on ${choice.device}`
    : typeof path === 'string'
      ? `${method.text}: ${path}`
      : `${method.text}: no address of the family is allowed`;
  return { family, method: method.text, choice, reason, candidates: told };
}

function withoutFlags({ address, prefixLength, device, index, mtu }: Rated): NodeAddress {
  return { address, prefixLength, device, index, mtu };
}
