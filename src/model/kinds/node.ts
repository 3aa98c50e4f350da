/** A host of the network: its addresses, its AS number, whether it reflects routes, and its tunnels' addresses. */
import { z } from 'zod';
import { formatInterfaceAddress } from '../../net/mod.ts';
import * as f from '../fields.ts';
import { defineKind } from '../kind.ts';

const bgp = f.section({
  asNumber: f.optional(f.explicit(f.asn())),
  ipv4Address: f.optional(f.interfaceAddress(4)),
  ipv6Address: f.optional(f.interfaceAddress(6)),
  ipv4IPIPTunnelAddr: f.optional(f.address(4)),
  routeReflectorClusterID: f.optional(f.address(4)),
});

const spec = f.section({
  bgp: f.optional(bgp),
  ipv4VXLANTunnelAddr: f.optional(f.address(4)),
  vxlanTunnelMACAddr: f.optional(f.mac),
  ipv6VXLANTunnelAddr: f.optional(f.address(6)),
  vxlanTunnelMACAddrV6: f.optional(f.mac),
  orchRefs: f.withDefault(
    f.list(f.section({ nodeName: f.optional(f.text(253)), orchestrator: f.text(63) }), 'orchestrators'),
    [],
  ),
  wireguard: f.optional(
    f.section({ interfaceIPv4Address: f.optional(f.address(4)), interfaceIPv6Address: f.optional(f.address(6)) }),
  ),
  addresses: f.withDefault(
    f.list(
      f.section({
        address: f.interfaceAddress(),
        type: f.optional(f.choice('CalicoNodeIP', 'InternalIP', 'ExternalIP')),
      }),
      'addresses as {address, type}',
    ),
    [],
  ),
  interfaces: f.withDefault(
    f.list(
      f.section({ name: f.text(15), addresses: f.withDefault(f.list(f.interfaceAddress(), 'addresses'), []) }),
      'interfaces as {name, addresses}',
    ),
    [],
  ),
});
export type NodeSpec = z.output<typeof spec>;

const show = (address: Parameters<typeof formatInterfaceAddress>[0] | undefined): string =>
  address ? formatInterfaceAddress(address) : '';

export const node = defineKind<'Node', NodeSpec>({
  kind: 'Node',
  plural: 'nodes',
  shortNames: ['no', 'nos'],
  namespaced: false,
  spec,
  columns: [{ heading: 'NAME', cell: (node) => node.name }],
  wide: [
    { heading: 'NAME', cell: (node) => node.name },
    { heading: 'ASN', cell: ({ spec }) => (spec.bgp ? String(spec.bgp.asNumber ?? '(default)') : '') },
    { heading: 'IPV4', cell: ({ spec }) => show(spec.bgp?.ipv4Address) },
    { heading: 'IPV6', cell: ({ spec }) => show(spec.bgp?.ipv6Address) },
  ],
});
