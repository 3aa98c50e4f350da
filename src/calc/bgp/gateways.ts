/**
 * A node's default gateways, from the routes its kernel has: what `peerIP: gateway` stands for. Pure; the caller leaves
 * out the routes that BGP itself put there, or a default route learned from a gateway would choose the gateway.
 */
import { familyOf, isLinkLocal, prefixLength } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';

/** By family; several where the default route has several next hops (a host on two top-of-rack switches). */
export type Gateways = Readonly<Record<Family, readonly IpAddress[]>>;
export const noGateways: Gateways = { 4: [], 6: [] };

/** As much of a route of the main table as is needed here. */
export interface KernelRoute {
  readonly destination: Prefix;
  /** Lower wins. */
  readonly metric: number;
  readonly hops: readonly { readonly via?: IpAddress | undefined }[];
}

/**
 * The next hops of the best default routes. A family that has none at the moment keeps those of `before`: where the
 * gateway is gone, the session ends by itself, and a renewed address lease must not end it.
 *
 * Link-local gateways (IPv6 from router advertisements) are left out: they are the same everywhere, and no session's name.
 */
export function gatewaysOf(routes: Iterable<KernelRoute>, before: Gateways = noGateways): Gateways {
  const found: Record<Family, { metric: number; gateways: Set<IpAddress> }> = {
    4: { metric: Infinity, gateways: new Set() },
    6: { metric: Infinity, gateways: new Set() },
  };
  for (const { destination, metric, hops } of routes) {
    if (prefixLength(destination) !== 0) continue;
    const best = found[familyOf(destination)];
    const gateways = hops.flatMap(({ via }) =>
      via !== undefined && familyOf(via) === familyOf(destination) && !isLinkLocal(via) ? [via] : [],
    );
    if (gateways.length === 0 || metric > best.metric) continue;
    if (metric < best.metric) best.gateways.clear();
    best.metric = metric;
    for (const gateway of gateways) best.gateways.add(gateway);
  }
  const of = (family: Family) => {
    const { gateways } = found[family];
    return gateways.size > 0 ? [...gateways].sort() : before[family];
  };
  return { 4: of(4), 6: of(6) };
}
