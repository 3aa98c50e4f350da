/**
 * What tunnels look like in this cluster: Felix's settings of the whole cluster and of one node, merged field by field,
 * and the sizes that follow from the uplink.
 */
import type { FelixConfigurationSpec, Resource } from '../../model/mod.ts';
import { nthAddress, prefixOf, prefixSize } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';

/** Bytes of outer headers: IPv4; IPv4 or IPv6 with UDP, VXLAN and the inner Ethernet header. */
export const IPIP_OVERHEAD = 20;
export const VXLAN_OVERHEAD: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

/** Addresses in one entry of `externalNodesList`. */
const MAX_RANGE = 1024n;

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
  /** Ranges of such hosts that are too large to be written down one by one: nobody in them is believed. */
  readonly refusedRanges: readonly Prefix[];
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
  const ranges = (read('externalNodesList') ?? []).map((range) => prefixOf(range.address, range.prefixLength));
  const small = (range: Prefix) => prefixSize(range) <= MAX_RANGE;
  return {
    ipipEnabled: read('ipipEnabled'),
    vxlanEnabled: read('vxlanEnabled'),
    ipipMtu: read('ipipMTU'),
    vxlanMtu: { 4: read('vxlanMTU'), 6: read('vxlanMTUV6') },
    vni: read('vxlanVNI') ?? 4096,
    port: read('vxlanPort') ?? 4789,
    externalNodes: [...new Set(ranges.filter(small).flatMap(hostsOf))],
    refusedRanges: ranges.filter((range) => !small(range)),
    keepSourceToHosts: read('natOutgoingExclusions') === 'IPPoolsAndHostIPs',
  };
}

const hostsOf = (range: Prefix): IpAddress[] =>
  Array.from({ length: Number(prefixSize(range)) }, (_, i) => nthAddress(range, i));

/** A configured size, or the uplink's less the tunnel's overhead. */
export const tunnelMtu = (configured: number | undefined, uplinkMtu: number, overhead: number): number =>
  configured !== undefined && configured > 0 ? configured : uplinkMtu - overhead;
