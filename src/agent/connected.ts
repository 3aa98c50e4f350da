/** What this node reaches without a gateway. */
import type { Connected } from '../calc/mod.ts';
import { addressBits, familyOf, isLinkLocal, prefixOf } from '../net/mod.ts';
import { isUp } from '../netlink/mod.ts';
import type { HostSnapshot } from './detect.ts';

/** Prefixes on this node's interfaces, without those of `pods` (their bridge) and host-only addresses. */
export function connectedPrefixes(host: HostSnapshot, pods: string): Connected[] {
  const links = new Map(host.links.map((link) => [link.index, link]));
  return host.addresses.flatMap(({ index, address, prefixLength }) => {
    const link = links.get(index);
    if (!link || link.name === pods || link.name === 'lo' || !isUp(link)) return [];
    if (prefixLength === addressBits(familyOf(address)) || isLinkLocal(address)) return [];
    return [{ prefix: prefixOf(address, prefixLength), device: link.name }];
  });
}
