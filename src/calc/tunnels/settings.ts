/**
 * What tunnels look like in this cluster: Felix's settings of the whole cluster and of one node, merged field by field,
 * and the sizes that follow from the uplink.
 */
import type { FelixConfigurationSpec, Resource } from '../../model/mod.ts';
import type { Family, IpAddress } from '../../net/mod.ts';

/** Bytes of outer headers: IPv4; IPv4 or IPv6 with UDP, VXLAN and the inner Ethernet header. */
export const IPIP_OVERHEAD = 20;
export const VXLAN_OVERHEAD: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

export interface TunnelSettings {
  /** Undefined: as the pools ask for. */
  readonly ipipEnabled: boolean | undefined;
  readonly vxlanEnabled: boolean | undefined;
  /** 0 or undefined: the uplink's less the overhead. */
  readonly ipipMtu: number | undefined;
  readonly vxlanMtu: Readonly<Record<Family, number | undefined>>;
  readonly vni: number;
  /** UDP port of VXLAN. */
  readonly port: number;
  /** Hosts that are no nodes and send IPIP all the same. */
  readonly externalNodes: readonly IpAddress[];
  /** Whether traffic to nodes themselves is left unmasqueraded too. */
  readonly keepSourceToHosts: boolean;
}

/** Felix's settings for one node: `node.NAME` over `default` over Felix's own defaults. */
export function tunnelSettings(node: string, configurations: Iterable<Resource<'FelixConfiguration'>>): TunnelSettings {
  const named = new Map([...configurations].map((configuration) => [configuration.name, configuration]));
  const layers = [named.get(`node.${node}`), named.get('default')].filter((layer) => layer !== undefined);
  // the typed value has the defaults filled in: whether a layer says something itself is seen in what was written
  const read = <K extends keyof FelixConfigurationSpec>(field: K): FelixConfigurationSpec[K] | undefined => {
    const layer = layers.find(({ raw }) => (raw['spec'] as Record<string, unknown> | undefined)?.[field] !== undefined);
    return layer?.spec[field];
  };
  return {
    ipipEnabled: read('ipipEnabled'),
    vxlanEnabled: read('vxlanEnabled'),
    ipipMtu: read('ipipMTU'),
    vxlanMtu: { 4: read('vxlanMTU'), 6: read('vxlanMTUV6') },
    vni: read('vxlanVNI') ?? 4096,
    port: read('vxlanPort') ?? 4789,
    // a range of addresses cannot be written down one by one; only hosts count
    externalNodes: (read('externalNodesList') ?? []).flatMap(({ address, prefixLength }) =>
      prefixLength === (address.includes(':') ? 128 : 32) ? [address] : [],
    ),
    keepSourceToHosts: read('natOutgoingExclusions') === 'IPPoolsAndHostIPs',
  };
}

/** A configured size, or the uplink's less the tunnel's overhead. */
export const tunnelMtu = (configured: number | undefined, uplinkMtu: number, overhead: number): number =>
  configured !== undefined && configured > 0 ? configured : uplinkMtu - overhead;
