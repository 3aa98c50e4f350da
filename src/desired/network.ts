import type { Family, IpAddress, Prefix } from '../net/mod.ts';

/** One family of the network pods are attached to on this node. */
export interface PodSubnet {
  /** This node's own part: `10.244.1.0/24`. */
  readonly subnet: Prefix;
  /** The bridge's address, the pods' gateway: `10.244.1.1`. */
  readonly gateway: IpAddress;
  /** The whole network: `10.244.0.0/16`. */
  readonly network: Prefix;
}

/** Bridge attachment (Flannel's way): what an endpoint needs to know of its node. */
export interface BridgeNetwork {
  /** Name of the bridge: `cni0`. */
  readonly bridge: string;
  /** MTU of bridge and pods, bytes: the uplink's, less the tunnel's overhead. */
  readonly mtu: number;
  /** IPv4, IPv6 or both. */
  readonly subnets: readonly PodSubnet[];
}

/** Routed attachment (Calico's way): no bridge; each pod is behind a veth pair and a route of its own. */
export interface RoutedNetwork {
  /** MTU of the pods, bytes: the uplink's, less the tunnel's overhead. */
  readonly mtu: number;
  /** The families a pod gets an address of. */
  readonly families: readonly Family[];
}

/** How new pods of this node are attached. */
export type PodNetwork = BridgeNetwork | RoutedNetwork;

export const isRouted = (network: PodNetwork): network is RoutedNetwork => !('bridge' in network);
