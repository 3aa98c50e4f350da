/**
 * Which peerings the BGPPeers ask of one node, before the node's own address and reflector role shape them into
 * sessions. A peering is known by address and port. Those for all nodes come first, then those for this node by name or
 * selector, then, as the other end of what is asked of other nodes, the reverse ones; the first to name a peer wins.
 */
import type { BgpPeerSpec, Resource } from '../../model/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { Asn, Family, IpAddress } from '../../net/mod.ts';
import type { BgpResources, Cluster, Speaker } from './cluster.ts';

export interface Peering {
  /** The BGPPeer that asks for it. */
  readonly peer: Resource<'BGPPeer'>;
  readonly scope: 'global' | 'node' | 'workload';
  readonly address: IpAddress;
  readonly port: number | undefined;
  readonly as: Asn;
  readonly localAs: Asn | undefined;
  /** Of a peer that is one of our nodes and was found by selector. */
  readonly clusterId: IpAddress | undefined;
  /** Named by an address that is one of our nodes': then only one side connects. */
  readonly isNode: boolean;
  readonly allowedLocalAs: number;
}

const families: readonly Family[] = [4, 6];

export function peeringsOf(node: string, cluster: Cluster, resources: BgpResources): Peering[] {
  const peers = [...resources.peers].sort((a, b) => (a.name < b.name ? -1 : 1));
  const found = new Map<string, Peering>();
  const add = (peering: Peering) => {
    const key = `${peering.address} ${peering.port ?? ''}`;
    if (!found.has(key)) found.set(key, peering);
  };
  const isGlobal = ({ spec }: Resource<'BGPPeer'>) => spec.node === undefined && spec.nodeSelector === undefined;
  for (const peer of peers.filter(isGlobal))
    for (const peering of forward(peer, 'global', node, cluster, resources)) add(peering);
  for (const peer of peers.filter((p) => !isGlobal(p) && appliesTo(p.spec, node, cluster)))
    for (const peering of forward(peer, 'node', node, cluster, resources)) add(peering);
  for (const peer of peers) for (const peering of reverse(peer, node, cluster)) add(peering);
  return [...found.values()];
}

/** The nodes a peer is for: all, one, or those selected. */
function localNodes(spec: BgpPeerSpec, cluster: Cluster): Speaker[] {
  const all = [...cluster.speakers.values()];
  if (spec.nodeSelector) return all.filter((speaker) => spec.nodeSelector!.matches(speaker.labels));
  return spec.node === undefined ? all : all.filter((speaker) => speaker.name === spec.node);
}

const appliesTo = (spec: BgpPeerSpec, node: string, cluster: Cluster): boolean =>
  spec.node === node ||
  (spec.nodeSelector !== undefined && localNodes(spec, cluster).some(({ name }) => name === node));

function forward(
  peer: Resource<'BGPPeer'>,
  scope: 'global' | 'node',
  node: string,
  cluster: Cluster,
  resources: BgpResources,
): Peering[] {
  const { spec } = peer;
  if (spec.localWorkloadSelector) return workloads(peer, node, cluster, resources);
  if (spec.peerSelector) {
    const { peerSelector } = spec;
    const others = [...cluster.speakers.values()].filter((speaker) => peerSelector.matches(speaker.labels));
    return others.flatMap((other) => withNode(peer, scope, other, families));
  }
  if (!spec.peerIP) return [];
  const { address, port } = spec.peerIP;
  if (address !== 'gateway') return [withAddress(peer, scope, address, port, cluster, undefined)];
  // one that has no number of its own is of the node's AS: the rack's reflector
  const self = cluster.speakers.get(node);
  return families.flatMap((family) =>
    (resources.gateways?.[family] ?? []).map((gateway) =>
      withAddress(peer, scope, gateway, port, cluster, self?.gatewayAs ?? self?.as),
    ),
  );
}

function withAddress(
  peer: Resource<'BGPPeer'>,
  scope: 'global' | 'node',
  address: IpAddress,
  port: number | undefined,
  cluster: Cluster,
  gatewayAs: Asn | undefined,
): Peering {
  const { spec } = peer;
  const asNumber = spec.asNumber ?? gatewayAs;
  const [other] = cluster.withAddress(address, asNumber, port);
  const isNode = [...cluster.speakers.values()].some((speaker) => speaker.addresses[familyOf(address)] === address);
  return {
    peer,
    scope,
    address,
    port: port ?? other?.port,
    // without a number the peer is one of ours
    as: asNumber ?? other?.as ?? cluster.as,
    localAs: spec.localASNumber,
    clusterId: undefined,
    isNode,
    allowedLocalAs: spec.numAllowedLocalASNumbers ?? 0,
  };
}

function withNode(
  peer: Resource<'BGPPeer'>,
  scope: 'global' | 'node',
  other: Speaker,
  of: readonly Family[],
): Peering[] {
  return of.flatMap((family) => {
    const address = other.addresses[family];
    if (address === undefined) return [];
    const { port, as, clusterId } = other;
    return [{ peer, scope, address, port, as, localAs: undefined, clusterId, isNode: false, allowedLocalAs: 0 }];
  });
}

/** A peering has two ends: what is asked of other nodes towards this one is asked of this one towards them. */
function reverse(peer: Resource<'BGPPeer'>, node: string, cluster: Cluster): Peering[] {
  const { spec } = peer;
  if (spec.reversePeering === 'Manual' || spec.localWorkloadSelector) return [];
  const self = cluster.speakers.get(node);
  if (!self) return [];
  let of = families;
  if (spec.peerSelector) {
    if (!spec.peerSelector.matches(self.labels)) return [];
  } else {
    if (!spec.peerIP) return [];
    const { address, port } = spec.peerIP;
    // a gateway is not asked for by its nodes' objects: which of them stand behind it, only they know
    if (address === 'gateway' || !cluster.withAddress(address, spec.asNumber, port).includes(self)) return [];
    of = [familyOf(address)];
  }
  return localNodes(spec, cluster).flatMap((other) => withNode(peer, 'node', other, of));
}

/** Pods of this node that speak BGP themselves. */
function workloads(peer: Resource<'BGPPeer'>, node: string, cluster: Cluster, resources: BgpResources): Peering[] {
  const { spec } = peer;
  const out: Peering[] = [];
  for (const endpoint of resources.endpoints ?? []) {
    if (endpoint.spec.node !== node || !spec.localWorkloadSelector!.matches(endpoint.metadata.labels)) continue;
    for (const { address } of endpoint.spec.ipNetworks) {
      out.push({
        peer,
        scope: 'workload',
        address,
        port: undefined,
        as: spec.asNumber ?? cluster.as,
        localAs: spec.localASNumber,
        clusterId: undefined,
        isNode: false,
        allowedLocalAs: 0,
      });
    }
  }
  return out;
}
