/**
 * The BGP sessions of one node, as Calico's confd makes them of the same resources: the node-to-node mesh among nodes that
 * are no route reflectors, and what the BGPPeers ask for. Pure; a table in docs/bgp-sessions.md tells where the result
 * differs from Calico's, and why.
 */
import type { BgpFilterRule, BgpPeerSpec, Resource } from '../../model/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { Asn, Family, IpAddress, Prefix } from '../../net/mod.ts';
import { Cluster, DEFAULT_PORT } from './cluster.ts';
import type { BgpResources, Speaker } from './cluster.ts';
import { peeringsOf } from './peerings.ts';
import type { Peering } from './peerings.ts';

/** Where a password is: never the password itself. */
export interface SecretReference {
  readonly name: string;
  readonly key: string;
}

export interface BgpSession {
  /** `Mesh_10_192_0_3`, `Global_…`, `Node_…`, `Local_Workload_…`, as Calico names it. */
  readonly name: string;
  /** Name of the BGPPeer; undefined for the mesh. */
  readonly peer: string | undefined;
  readonly family: Family;
  readonly neighbor: IpAddress;
  readonly port: number;
  readonly remoteAs: Asn;
  /** The AS number shown to this peer instead of the node's. */
  readonly localAs: Asn | undefined;
  readonly sourceAddress: IpAddress | undefined;
  /** Wait for the peer to connect. */
  readonly passive: boolean;
  /** The peer is a client of this reflector (RFC 4456). */
  readonly reflectorClient: boolean;
  readonly clusterId: IpAddress | undefined;
  readonly nextHop: 'auto' | 'self' | 'keep';
  readonly password: SecretReference | undefined;
  /** Hops the peer may be away (RFC 5082); undefined for no check. */
  readonly ttlSecurityHops: number | undefined;
  /** Seconds; undefined for the speaker's default. */
  readonly restartTime: number | undefined;
  readonly keepaliveTime: number | undefined;
  /** How often our own AS may be in a path we take. */
  readonly allowedLocalAs: number;
  /** With the node's default gateway: a way out, and not a part of the cluster. */
  readonly toGateway: boolean;
  /** The gateway through which the peer is reached, on a route of its own. */
  readonly reachableBy: IpAddress | undefined;
  /** Of the filters that exist, in order; the first rule that fits decides, none means accept. */
  readonly filters: readonly string[];
  readonly importRules: readonly BgpFilterRule[];
  readonly exportRules: readonly BgpFilterRule[];
}

export interface NodeBgp {
  /** The node's IPv4 address; undefined without one, then it must be configured. */
  readonly routerId: IpAddress | undefined;
  readonly as: Asn;
  readonly listenPort: number;
  /** Empty for all addresses. */
  readonly listenAddresses: readonly IpAddress[];
  readonly sessions: readonly BgpSession[];
  /** Pools whose blocks may leave by BGP, and those whose must not. */
  readonly pools: readonly { readonly cidr: Prefix; readonly export: boolean }[];
  /** Ranges of services announced as they are. */
  readonly serviceRanges: readonly Prefix[];
  /** Communities to put on what is announced of a prefix; their values, names resolved. */
  readonly advertisements: readonly { readonly cidr: Prefix; readonly communities: readonly string[] }[];
}

/** undefined for a node that has no Node object. */
export function bgpOf(node: string, resources: BgpResources): NodeBgp | undefined {
  const cluster = new Cluster(resources);
  const self = cluster.speakers.get(node);
  if (!self) return undefined;
  const { global } = cluster;
  const filters = new Map([...resources.filters].map((filter) => [filter.name, filter]));
  const sessions = [
    ...mesh(self, cluster),
    ...peeringsOf(node, cluster, resources).flatMap((peering) => sessionOf(peering, self, filters) ?? []),
  ];
  const own = cluster.own(node);
  const advertised = own && own.prefixAdvertisements.length > 0 ? own : global;
  const communities = new Map(advertised?.communities.map(({ name, value }) => [name, value]));
  return {
    routerId: self.addresses[4],
    as: self.as,
    listenPort: cluster.portOf(node),
    listenAddresses: global?.bindMode === 'NodeIP' ? Object.values(self.addresses) : [],
    sessions: sessions.sort((a, b) => (a.name < b.name ? -1 : 1)),
    pools: [...resources.pools].map(({ spec }) => ({ cidr: spec.cidr, export: !spec.disableBGPExport })),
    serviceRanges: [
      ...(global?.serviceClusterIPs ?? []),
      ...(global?.serviceExternalIPs ?? []),
      ...(global?.serviceLoadBalancerIPs ?? []),
    ].flatMap(({ cidr }) => cidr ?? []),
    advertisements: (advertised?.prefixAdvertisements ?? []).map((advertisement) => ({
      cidr: advertisement.cidr,
      communities: advertisement.communities.map((name) => communities.get(name) ?? name),
    })),
  };
}

const named = (prefix: string, address: IpAddress): string => `${prefix}_${address.replaceAll(/[.:]/g, '_')}`;

/** Every node with every other, except reflectors, which have their clients. */
function mesh(self: Speaker, cluster: Cluster): BgpSession[] {
  const { global } = cluster;
  if (self.clusterId !== undefined || global?.nodeToNodeMeshEnabled === false) return [];
  const out: BgpSession[] = [];
  for (const other of cluster.speakers.values()) {
    if (other.name === self.name || other.clusterId !== undefined) continue;
    out.push(...meshSessions(self, other, cluster));
  }
  return out;
}

/** The sessions two nodes of the mesh have with each other, one a family. */
export function meshSessions(self: Speaker, other: Speaker, { global }: Cluster): BgpSession[] {
  const out: BgpSession[] = [];
  for (const family of [4, 6] as const) {
    const [source, neighbor] = [self.addresses[family], other.addresses[family]];
    if (source === undefined || neighbor === undefined || source === neighbor) continue;
    out.push({
      name: named('Mesh', neighbor),
      peer: undefined,
      family,
      neighbor,
      port: other.port ?? DEFAULT_PORT,
      remoteAs: other.as,
      localAs: undefined,
      sourceAddress: source,
      // one of the two connects: by text, as all Calico nodes compare
      passive: neighbor > source,
      reflectorClient: false,
      clusterId: undefined,
      nextHop: 'auto',
      password: secretOf(global?.nodeMeshPassword),
      ttlSecurityHops: undefined,
      restartTime: global?.nodeMeshMaxRestartTime,
      keepaliveTime: undefined,
      allowedLocalAs: 0,
      toGateway: false,
      reachableBy: undefined,
      filters: [],
      importRules: [],
      exportRules: [],
    });
  }
  return out;
}

function sessionOf(
  peering: Peering,
  self: Speaker,
  filters: ReadonlyMap<string, Resource<'BGPFilter'>>,
): BgpSession | undefined {
  const { spec, name: peer } = peering.peer;
  const neighbor = peering.address;
  const family = familyOf(neighbor);
  const source = self.addresses[family];
  // a node does not peer with itself, nor in a family it has no address of
  if (source === undefined || neighbor === source) return undefined;
  const workload = peering.scope === 'workload';
  const prefix = workload ? 'Local_Workload' : peering.scope === 'global' ? 'Global' : 'Node';
  const localAs = peering.localAs === undefined ? self.as : peering.localAs;
  const internal = peering.as === localAs;
  const reflects = internal && self.clusterId !== undefined && peering.clusterId !== self.clusterId;
  const known = workload || spec.peerSelector || spec.peerIP ? spec.filters.flatMap((n) => filters.get(n) ?? []) : [];
  return {
    name: `${named(prefix, neighbor)}${peering.port === undefined ? '' : `_port_${peering.port}`}`,
    peer,
    family,
    neighbor,
    port: peering.port ?? DEFAULT_PORT,
    remoteAs: peering.as,
    localAs: peering.localAs,
    sourceAddress: workload || spec.sourceAddress === 'None' ? undefined : source,
    passive: workload || (peering.scope === 'global' && peering.isNode && neighbor > source),
    reflectorClient: reflects,
    clusterId: reflects ? self.clusterId : undefined,
    nextHop: nextHopOf(spec, internal),
    password: workload ? undefined : secretOf(spec.password),
    ttlSecurityHops:
      spec.ttlSecurity === undefined || spec.ttlSecurity === 0 || workload ? undefined : spec.ttlSecurity,
    restartTime: workload ? undefined : spec.maxRestartTime,
    keepaliveTime: workload ? undefined : spec.keepaliveTime,
    allowedLocalAs: peering.allowedLocalAs,
    toGateway: spec.peerIP?.address === 'gateway' && !peering.isNode,
    reachableBy: spec.reachableBy !== undefined && familyOf(spec.reachableBy) === family ? spec.reachableBy : undefined,
    filters: known.map((filter) => filter.name),
    importRules: known.flatMap((filter) => (family === 4 ? filter.spec.importV4 : filter.spec.importV6)),
    exportRules: known.flatMap((filter) => (family === 4 ? filter.spec.exportV4 : filter.spec.exportV6)),
  };
}

/** The older keepOriginalNextHop is for peers of other ASes only. */
function nextHopOf(spec: BgpPeerSpec, internal: boolean): BgpSession['nextHop'] {
  if (spec.nextHopMode === 'Self') return 'self';
  if (spec.nextHopMode === 'Keep') return 'keep';
  return spec.nextHopMode === undefined && spec.keepOriginalNextHop && !internal ? 'keep' : 'auto';
}

function secretOf(password: BgpPeerSpec['password']): SecretReference | undefined {
  const reference = password?.secretKeyRef;
  return reference && { name: reference.name, key: reference.key };
}
