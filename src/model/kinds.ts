/** All kinds of resources, by name; and the names a person may use for them. */
import { bgpConfiguration } from './kinds/bgp-configuration.ts';
import type { BgpConfigurationSpec } from './kinds/bgp-configuration.ts';
import { bgpFilter } from './kinds/bgp-filter.ts';
import type { BgpFilterSpec } from './kinds/bgp-filter.ts';
import { bgpPeer } from './kinds/bgp-peer.ts';
import type { BgpPeerSpec } from './kinds/bgp-peer.ts';
import { clusterConfiguration } from './kinds/cluster-configuration.ts';
import type { ClusterConfigurationSpec } from './kinds/cluster-configuration.ts';
import { felixConfiguration } from './kinds/felix-configuration.ts';
import type { FelixConfigurationSpec } from './kinds/felix-configuration.ts';
import { ipamConfiguration, ipReservation } from './kinds/ipam.ts';
import type { IpamConfigurationSpec, IpReservationSpec } from './kinds/ipam.ts';
import { ipPool } from './kinds/ip-pool.ts';
import type { IpPoolSpec } from './kinds/ip-pool.ts';
import { node } from './kinds/node.ts';
import type { NodeSpec } from './kinds/node.ts';
import { workloadEndpoint } from './kinds/workload-endpoint.ts';
import type { WorkloadEndpointSpec } from './kinds/workload-endpoint.ts';
import { calicoGroup } from './kind.ts';
import type { ApiGroup, KindDefinition } from './kind.ts';

export interface Specs {
  IPPool: IpPoolSpec;
  IPReservation: IpReservationSpec;
  IPAMConfiguration: IpamConfigurationSpec;
  Node: NodeSpec;
  WorkloadEndpoint: WorkloadEndpointSpec;
  BGPConfiguration: BgpConfigurationSpec;
  BGPPeer: BgpPeerSpec;
  BGPFilter: BgpFilterSpec;
  FelixConfiguration: FelixConfigurationSpec;
  ClusterConfiguration: ClusterConfigurationSpec;
}
export type Kind = keyof Specs;

/** In an order in which they can be created: what is referred to comes first. */
export const kinds: { readonly [K in Kind]: KindDefinition<K, Specs[K]> } = {
  FelixConfiguration: felixConfiguration,
  BGPConfiguration: bgpConfiguration,
  IPAMConfiguration: ipamConfiguration,
  IPReservation: ipReservation,
  IPPool: ipPool,
  Node: node,
  BGPFilter: bgpFilter,
  BGPPeer: bgpPeer,
  WorkloadEndpoint: workloadEndpoint,
  ClusterConfiguration: clusterConfiguration,
};
export const kindNames = Object.keys(kinds) as readonly Kind[];

export const groupOf = (kind: Kind): ApiGroup => (kinds[kind] as KindDefinition<Kind, unknown>).group ?? calicoGroup;

export const isKind = (text: string): text is Kind => Object.hasOwn(kinds, text);

/** `IPPool`, `ippool`, `ippools`, `pool` …, whatever the case. */
export function kindByName(name: string): Kind | undefined {
  const wanted = name.toLowerCase();
  return kindNames.find((kind) => {
    const { plural, shortNames } = kinds[kind];
    return wanted === kind.toLowerCase() || wanted === plural || shortNames.includes(wanted);
  });
}
