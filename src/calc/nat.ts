/**
 * Whose packets leave with this node's address: those of pools with `natOutgoing`, to what is in no pool at all. A pool
 * that is disabled still counts: as a source its pods live on, as a destination it is how an administrator exempts a
 * network that is reached with pods' own addresses. Pure.
 */
import type { NatRules } from '../desired/mod.ts';
import type { IpPoolSpec, Resource } from '../model/mod.ts';
import { comparePrefixes } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { TunnelSettings } from './tunnels/settings.ts';

export interface NatView {
  readonly pools: Iterable<IpPoolSpec>;
  readonly nodes: Iterable<Resource<'Node'>>;
  readonly settings: Pick<TunnelSettings, 'keepSourceToHosts'>;
}

export function natRules({ pools, nodes, settings }: NatView): NatRules {
  const all = [...pools];
  const masqueraded = all.filter((pool) => pool.natOutgoing).map((pool) => pool.cidr);
  const hosts: IpAddress[] = [];
  if (settings.keepSourceToHosts) {
    for (const { spec } of nodes) {
      for (const address of [spec.bgp?.ipv4Address, spec.bgp?.ipv6Address]) if (address) hosts.push(address.address);
    }
  }
  const sorted = (prefixes: readonly Prefix[]) => [...new Set(prefixes)].sort(comparePrefixes);
  return {
    sources: sorted(masqueraded),
    inside: sorted(all.map((pool) => pool.cidr)),
    hosts: [...new Set(hosts)].sort(),
  };
}
