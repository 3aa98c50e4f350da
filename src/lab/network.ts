/**
 * The wires of a lab: one namespace a machine, one a segment with a bridge in it, and a veth pair from each to each. A
 * namespace is marked as the lab's as soon as it is there.
 */
import { existsSync, readdirSync } from 'node:fs';
import { GodwitError } from '../base/mod.ts';
import { familyOf } from '../net/mod.ts';
import {
  addAddress,
  addLink,
  addRoute,
  deleteLink,
  IFA_F,
  kernelRoute,
  Rtnetlink,
  RTPROT,
  setLink,
} from '../netlink/mod.ts';
import { createNetworkNamespace, NetworkNamespace, writeSysctl } from '../sys/mod.ts';
import type { LabLayout } from './layout.ts';
import { usesDatastore } from './topology.ts';
import { NAMESPACES } from './layout.ts';
import type { Machine, Segment, StaticRoute, Topology } from './topology.ts';

const BRIDGE = 'br0';

/** All namespaces the topology needs, as files. */
export function namespacesOf(layout: LabLayout, topology: Topology): string[] {
  const { segments, machines, pods } = topology;
  const names = [...segments, ...machines, ...pods].map(({ name }) => layout.namespace(name));
  return usesDatastore(topology) ? [layout.datastoreNamespace, ...names] : names;
}

/** Throws when a namespace of that name is there already: it would be somebody else's. */
export function refuseForeign(paths: readonly string[]): void {
  const path = paths.find((candidate) => existsSync(candidate));
  if (path === undefined) return;
  const name = path.slice(NAMESPACES.length + 1);
  const hint = `give the lab another name (--name), or remove it with: ip netns delete ${name}`;
  throw new GodwitError('conflict', `${path} exists and is not of this lab`, { hint });
}

/** Makes a namespace with its mark and its loopback up. */
export function makeNamespace(layout: LabLayout, path: string): NetworkNamespace {
  const namespace = createNetworkNamespace(path);
  using netlink = Rtnetlink.in(namespace);
  const lo = netlink.link('lo')!;
  netlink.change((batch) => setLink(batch, lo.index, { alias: layout.mark, up: true }, 'lo'));
  return namespace;
}

/** The marked namespaces of a lab, wherever the manifest went. */
export function markedNamespaces(layout: LabLayout): string[] {
  let names: string[];
  try {
    names = readdirSync(NAMESPACES);
  } catch {
    return [];
  }
  return names.map((name) => `${NAMESPACES}/${name}`).filter((path) => markOf(path) === layout.mark);
}

/** Empty for a namespace without a mark; undefined for a file that is no namespace (or not ours to enter). */
export function markOf(path: string): string | undefined {
  try {
    using namespace = NetworkNamespace.open(path);
    using netlink = Rtnetlink.in(namespace);
    return netlink.link('lo')?.alias ?? '';
  } catch {
    return undefined;
  }
}

export function makeSwitch(layout: LabLayout, segment: Segment): void {
  using namespace = makeNamespace(layout, layout.namespace(segment.name));
  using netlink = Rtnetlink.in(namespace);
  netlink.change((batch) => addLink(batch, { kind: 'bridge', name: BRIDGE, mtu: segment.mtu, up: true }));
}

const FORWARDING = { 4: 'net/ipv4/ip_forward', 6: 'net/ipv6/conf/all/forwarding' } as const;

/** Makes a machine and plugs it into its segments; their switches must be there. */
export function makeMachine(layout: LabLayout, machine: Machine): void {
  using namespace = makeNamespace(layout, layout.namespace(machine.name));
  for (const { name, segment } of machine.interfaces) {
    using lan = NetworkNamespace.open(layout.namespace(segment.name));
    using switchSide = Rtnetlink.in(lan);
    const bridge = switchSide.link(BRIDGE)!;
    const peer = { name, mtu: segment.mtu, namespace: namespace.descriptor };
    switchSide.change((batch) =>
      addLink(batch, { kind: 'veth', name: machine.name, mtu: segment.mtu, master: bridge.index, up: true, peer }),
    );
  }
  using netlink = Rtnetlink.in(namespace);
  for (const own of machine.interfaces) {
    const { index } = netlink.link(own.name)!;
    netlink.change((batch) => {
      // nobody else has it, so that it need not be asked for
      for (const address of own.addresses) {
        addAddress(batch, index, address, familyOf(address.address) === 6 ? { flags: IFA_F.NODAD } : {});
      }
      setLink(batch, index, { up: true }, own.name);
    });
  }
  for (const route of machine.routes) addStaticRoute(netlink, route);
  if (machine.role !== 'router') return;
  const both = machine.interfaces.flatMap(({ addresses }) => addresses.map(({ address }) => familyOf(address)));
  for (const family of new Set(both)) namespace.run(() => writeSysctl(FORWARDING[family], 1));
}

/**
 * Takes its wires away on the side of the switches. With its namespace they would go as well, but some time later, and a
 * machine of the same name could not be plugged in until then.
 */
export function unplug(layout: LabLayout, machine: Machine): void {
  for (const { segment } of machine.interfaces) {
    using lan = NetworkNamespace.open(layout.namespace(segment.name));
    using netlink = Rtnetlink.in(lan);
    const link = netlink.link(machine.name);
    if (link) netlink.change((batch) => deleteLink(batch, link.index, link.name));
  }
}

function addStaticRoute(netlink: Rtnetlink, { to, via }: StaticRoute): void {
  const route = kernelRoute({ destination: to, protocol: RTPROT.STATIC, nextHops: [{ gateway: via }] });
  netlink.change((batch) => addRoute(batch, route));
}
