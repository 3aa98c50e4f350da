/**
 * The other nodes as ends of tunnels, from their Node resources.
 *
 * A node may be sent encapsulated packets only once it takes them. A VXLAN end says so by publishing its address, as
 * Calico's do. For IPIP Calico has no such word: its nodes take it always. Ours say it in an annotation, so that a pool
 * can change its mode under traffic: nobody uses a tunnel before its other end is there, and no end goes while it is used.
 */
import { createHash } from 'node:crypto';
import type { Resource } from '../../model/mod.ts';
import { addressBits, familyOf, macFromBytes, prefixOf } from '../../net/mod.ts';
import type { Family, InterfaceAddress, IpAddress, MacAddress, Prefix } from '../../net/mod.ts';

/** A node's tunnels: IPIP, VXLAN over IPv4, VXLAN over IPv6. */
export const tunnelKinds = ['ipip', 'vxlan', 'vxlan6'] as const;
export type TunnelKind = (typeof tunnelKinds)[number];
export const vxlanKind = (family: Family): TunnelKind => (family === 4 ? 'vxlan' : 'vxlan6');

/** On a Node resource: the tunnels this node takes packets from, `ipip,vxlan` or `none`. */
export const TAKES_ANNOTATION = 'godwit/takes';

export interface VxlanEnd {
  readonly address: IpAddress;
  readonly mac: MacAddress;
}

export interface TunnelPeer {
  readonly name: string;
  /** The node's own addresses, with the length of their subnets. */
  readonly addresses: Readonly<Partial<Record<Family, InterfaceAddress>>>;
  /** Whether it takes IPIP. */
  readonly ipip: boolean;
  /** Its VXLAN ends that take packets. */
  readonly vxlan: Readonly<Partial<Record<Family, VxlanEnd>>>;
}

/** The MAC of a node's VXLAN device where none is configured: Calico's, the letter f and a hash of the node's name. */
export function vxlanMac(node: string, family: Family): MacAddress {
  const hash = createHash('sha1').update(family === 4 ? node : `${node}-v6`);
  return macFromBytes(Uint8Array.of(0x66, ...hash.digest().subarray(0, 5)));
}

export function tunnelPeer({ name, metadata, spec }: Resource<'Node'>): TunnelPeer {
  const { ipv4Address, ipv6Address } = spec.bgp ?? {};
  const takes = metadata.annotations[TAKES_ANNOTATION]?.split(',');
  const end = (family: Family, address: IpAddress | undefined, mac: MacAddress | undefined) =>
    address === undefined ? {} : { [family]: { address, mac: mac ?? vxlanMac(name, family) } };
  return {
    name,
    addresses: { ...(ipv4Address && { 4: ipv4Address }), ...(ipv6Address && { 6: ipv6Address }) },
    ipip: takes === undefined || takes.includes('ipip'),
    vxlan: {
      ...end(4, spec.ipv4VXLANTunnelAddr, spec.vxlanTunnelMACAddr),
      ...end(6, spec.ipv6VXLANTunnelAddr, spec.vxlanTunnelMACAddrV6),
    },
  };
}

/** The subnet an address is in; undefined for a host's own (/32, /128), which no neighbour shares. */
export function subnetOf({ address, prefixLength }: InterfaceAddress): Prefix | undefined {
  return prefixLength < addressBits(familyOf(address)) ? prefixOf(address, prefixLength) : undefined;
}
