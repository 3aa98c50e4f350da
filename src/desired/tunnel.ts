import type { IpAddress, MacAddress } from '../net/mod.ts';

/** IP in IP (RFC 2003) to the other nodes; routes through it name the node as gateway, onlink. */
export interface IpipTunnel {
  /** `tunl0`. */
  readonly device: string;
  /** This node's address: the outer source. */
  readonly local: IpAddress;
  /** The interface outer packets leave by and come in by. */
  readonly uplink: string;
  /** The tunnel's own address, a pool's; packets the node itself sends into the network carry it. */
  readonly address: IpAddress | undefined;
  /** Bytes; the uplink's less 20. */
  readonly mtu: number;
  /** Addresses of the nodes from which packets of protocol 4 are taken. */
  readonly peers: ReadonlySet<IpAddress>;
}

/** Another node behind a VXLAN: what the kernel must know to send to it without asking. */
export interface VxlanPeer {
  /** The node's own address: the outer destination. */
  readonly node: IpAddress;
  /** The address of its tunnel device: the gateway that routes name. */
  readonly gateway: IpAddress;
  readonly mac: MacAddress;
}

/** VXLAN (RFC 7348) without learning or flooding: every peer is written down. */
export interface VxlanTunnel {
  /** `vxlan.calico` or `flannel.1`. */
  readonly device: string;
  readonly vni: number;
  /** UDP port: Calico's 4789, Flannel's 8472. */
  readonly port: number;
  readonly local: IpAddress;
  readonly uplink: string;
  readonly address: IpAddress;
  readonly mac: MacAddress;
  /** Bytes; the uplink's less 50 over IPv4, 70 over IPv6. */
  readonly mtu: number;
  readonly peers: readonly VxlanPeer[];
  /** Addresses of the nodes from which its packets are taken: those that have no end yet, too. */
  readonly from: ReadonlySet<IpAddress>;
}
