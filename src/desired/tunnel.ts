import type { IpAddress } from '../net/mod.ts';

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
