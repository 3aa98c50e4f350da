/** The address of a node's end of a tunnel: an address of a pool like any other, held by a handle of its own. */
import type { Result } from '../../base/mod.ts';
import { ok } from '../../base/mod.ts';
import type { Family, IpAddress } from '../../net/mod.ts';
import type { BlockIpam } from './engine.ts';
import type { IpamError } from './requests.ts';

export type TunnelKind = 'ipip' | 'vxlan' | 'wireguard';

/** As Calico names them; the IPv6 form of IPIP does not exist. */
export const tunnelHandle = (kind: TunnelKind, family: Family, node: string): string =>
  `${kind}${family === 6 ? '-v6' : ''}-tunnel-addr-${node}`;

export const tunnelType = (kind: TunnelKind, family: Family): string =>
  `${kind}${family === 6 ? 'V6' : ''}TunnelAddress`;

export interface TunnelRequest {
  readonly kind: TunnelKind;
  readonly family: Family;
  /** Names or CIDRs of the pools that use this kind of tunnel. */
  readonly pools: readonly string[];
}

/** The node's tunnel address, the one it has if that is still in one of the pools. */
export async function ensureTunnelAddress(
  ipam: BlockIpam,
  { kind, family, pools }: TunnelRequest,
  signal?: AbortSignal,
): Promise<Result<IpAddress, IpamError>> {
  const handle = tunnelHandle(kind, family, ipam.node);
  const request = {
    handle,
    attributes: { node: ipam.node, type: tunnelType(kind, family) },
    use: 'Tunnel',
    want: [{ family, pools }],
  } as const;
  const result = await ipam.assign(request, signal);
  return result.ok ? ok(result.value[0]!.address) : result;
}

/** Gives the tunnel's address back, when no pool uses this kind of tunnel any more. */
export const releaseTunnelAddress = (
  ipam: BlockIpam,
  kind: TunnelKind,
  family: Family,
  signal?: AbortSignal,
): Promise<Result<readonly IpAddress[], IpamError>> => ipam.release(tunnelHandle(kind, family, ipam.node), signal);
