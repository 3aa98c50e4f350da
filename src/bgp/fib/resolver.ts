/**
 * Next-hop resolution (RFC 4271 §9.1.2.1) through a view of the routes the node has from elsewhere: connected subnets,
 * static routes, an IGP. A next hop on a connected subnet is reached directly; one behind a gateway is reached through
 * that gateway, which must itself be connected. BGP's own routes do not belong into the view: a next hop must not be
 * resolved through a route that exists because of it.
 */
import { familyOf, isLinkLocal, PrefixMap } from '../../net/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import type { NextHopResolver, Resolution } from '../rib/mod.ts';

/** A route of the view. */
export interface ViewRoute {
  readonly destination: Prefix;
  /** The IGP's cost; lower wins between routes to the same destination, and in the decision. */
  readonly metric: number;
  /** Empty: the destination is unreachable (blackhole and the like). */
  readonly hops: readonly { readonly via?: IpAddress; readonly device: string; readonly onlink?: boolean }[];
}

/** How deep gateways may be nested before a loop is assumed. */
const maxDepth = 8;
const unreachable: Resolution = { reachable: false };

export class RouteViewResolver implements NextHopResolver {
  private routes = new PrefixMap<ViewRoute>();
  /** Devices that some route leads to. */
  private devices = new Set<string>();
  private readonly watchers = new Set<(nextHops: readonly IpAddress[] | 'all') => void>();

  /** The whole view anew. Next hops whose resolution differs are found by those who watch. */
  replace(routes: Iterable<ViewRoute>): void {
    const view = new PrefixMap<ViewRoute>();
    const devices = new Set<string>();
    for (const route of routes) {
      for (const { device } of route.hops) devices.add(device);
      const known = view.get(route.destination);
      if (!known || route.metric < known.metric) view.set(route.destination, route);
    }
    this.routes = view;
    this.devices = devices;
    for (const watcher of this.watchers) watcher('all');
  }

  resolve(nextHop: IpAddress): Resolution {
    const [address, device] = nextHop.split('%') as [IpAddress, string?];
    if (device !== undefined) {
      return this.devices.has(device) ? { reachable: true, metric: 0, hops: [{ via: address, device }] } : unreachable;
    }
    // every link has these addresses, and which of them is meant nobody said
    if (familyOf(address) === 6 && isLinkLocal(address)) return unreachable;
    return this.follow(address, 0);
  }

  private follow(address: IpAddress, depth: number): Resolution {
    const route = this.routes.lookup(address)?.[1];
    if (!route || depth > maxDepth) return unreachable;
    const hops: { via: IpAddress; device: string; onlink?: boolean }[] = [];
    for (const hop of route.hops) {
      if (hop.via === undefined) {
        // connected: the address itself is the gateway
        hops.push({ via: address, device: hop.device });
        continue;
      }
      if (hop.onlink) {
        hops.push({ via: hop.via, device: hop.device, onlink: true });
        continue;
      }
      const gateway = hop.via === address ? unreachable : this.follow(hop.via, depth + 1);
      // a gateway nobody has a route to was put there by who knows: its device is told
      if (gateway.reachable && familyOf(hop.via) === familyOf(address)) {
        for (const end of gateway.hops) {
          hops.push({ via: end.via ?? hop.via, device: end.device, ...(end.onlink && { onlink: true }) });
        }
      } else hops.push({ via: hop.via, device: hop.device });
    }
    return hops.length > 0 ? { reachable: true, metric: route.metric, hops } : unreachable;
  }

  watch(changed: (nextHops: readonly IpAddress[] | 'all') => void): Disposable {
    this.watchers.add(changed);
    return { [Symbol.dispose]: () => void this.watchers.delete(changed) };
  }
}
