/**
 * Which nodes speak BGP with whom: an address outside, other nodes by selector, pods of the node itself, or, an extension
 * of ours, `peerIP: gateway`: each node with its own default gateway, whatever that is where the node stands.
 */
import { z } from 'zod';
import { familyOf, parseAddress } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import * as f from '../fields.ts';
import { defineKind } from '../kind.ts';
import type { Problem } from '../kind.ts';
import { password } from './bgp-configuration.ts';

export interface PeerAddress {
  /** `gateway` stands for the default gateway of each node, of every family the node has an address of. */
  readonly address: IpAddress | 'gateway';
  readonly port: number | undefined;
}

/** `10.0.0.1`, `10.0.0.1:1790`, `fc00::1`, `[fc00::1]:1790`, `gateway`, `gateway:1790`. */
function parsePeerAddress(text: string): PeerAddress | undefined {
  const gateway = /^gateway(?::([1-9]\d{0,4}))?$/.exec(text);
  if (gateway) {
    const number = gateway[1] === undefined ? undefined : Number(gateway[1]);
    return number !== undefined && number > 65_535 ? undefined : { address: 'gateway', port: number };
  }
  const alone = parseAddress(text);
  if (alone !== undefined) return { address: alone, port: undefined };
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):([1-9]\d{0,4})$/.exec(text);
  const address = parseAddress(match?.[1] ?? match?.[2] ?? '');
  const port = Number(match?.[3]);
  if (address === undefined || port > 65_535 || (match?.[1] !== undefined && familyOf(address) === 4)) return undefined;
  return { address, port };
}

const peerAddress = f.field<PeerAddress>(
  "an address, with a port as 10.0.0.1:1790 or [fc00::1]:1790, or gateway for each node's own",
  (value) => (typeof value === 'string' ? parsePeerAddress(value) : undefined),
);

const spec = f.section({
  node: f.optional(f.name),
  nodeSelector: f.optional(f.selector()),
  peerIP: f.optional(peerAddress),
  asNumber: f.optional(f.asn()),
  localASNumber: f.optional(f.explicit(f.asn())),
  peerSelector: f.optional(f.selector()),
  keepOriginalNextHop: f.withDefault(f.flag, false),
  nextHopMode: f.optional(f.choice('Auto', 'Self', 'Keep')),
  password: f.optional(password),
  sourceAddress: f.withDefault(f.choice('UseNodeIP', 'None'), 'UseNodeIP'),
  maxRestartTime: f.optional(f.duration(0, 4095)),
  keepaliveTime: f.optional(f.duration(0, 21_845)),
  numAllowedLocalASNumbers: f.optional(f.explicit(f.integer(0, 255))),
  ttlSecurity: f.optional(f.explicit(f.integer(0, 255))),
  reachableBy: f.optional(f.address()),
  filters: f.withDefault(f.list(f.name, 'names of BGPFilters'), []),
  localWorkloadSelector: f.optional(f.selector()),
  reversePeering: f.withDefault(f.choice('Auto', 'Manual'), 'Auto'),
});
export type BgpPeerSpec = z.output<typeof spec>;

function check(peer: BgpPeerSpec): Problem[] {
  const problems: Problem[] = [];
  const add = (path: string, message: string) => problems.push({ path: `spec.${path}`, message });
  if (peer.node !== undefined && peer.nodeSelector) add('node', 'stands beside nodeSelector; allowed: one of the two');
  if (peer.peerIP && peer.peerSelector) add('peerIP', 'stands beside peerSelector; allowed: one of the two');
  if (peer.localWorkloadSelector && (peer.peerIP || peer.peerSelector))
    add('localWorkloadSelector', 'stands beside peerIP or peerSelector; allowed: one of the three');
  if (peer.peerSelector && peer.asNumber !== undefined)
    add('asNumber', 'is known from the nodes that peerSelector selects; allowed: only with peerIP');
  if (peer.localWorkloadSelector && peer.asNumber === undefined)
    add('asNumber', 'is missing; needed with localWorkloadSelector');
  if (peer.peerIP?.address === 'gateway') {
    if (peer.reachableBy !== undefined) add('reachableBy', 'stands beside peerIP gateway, which is on the link');
  } else if (peer.reachableBy && peer.peerIP && familyOf(peer.reachableBy) !== familyOf(peer.peerIP.address))
    add('reachableBy', `${peer.reachableBy} is not; allowed: an address of the family of peerIP`);
  if (peer.keepOriginalNextHop && peer.nextHopMode !== undefined)
    add('keepOriginalNextHop', 'stands beside nextHopMode, which replaces it; allowed: one of the two');
  return problems;
}

export const bgpPeer = defineKind<'BGPPeer', BgpPeerSpec>({
  kind: 'BGPPeer',
  plural: 'bgppeers',
  shortNames: ['bgpp', 'bgpps', 'bp', 'bps'],
  namespaced: false,
  spec,
  columns: [
    { heading: 'NAME', cell: (peer) => peer.name },
    { heading: 'PEERIP', cell: ({ spec }) => (spec.peerIP ? show(spec.peerIP) : '') },
    { heading: 'NODE', cell: ({ spec }) => spec.node ?? spec.nodeSelector?.text ?? '(global)' },
    { heading: 'ASN', cell: ({ spec }) => String(spec.asNumber ?? 0) },
  ],
  check,
});

const show = ({ address, port }: PeerAddress): string =>
  port === undefined
    ? address
    : `${address !== 'gateway' && familyOf(address) === 6 ? `[${address}]` : address}:${port}`;
