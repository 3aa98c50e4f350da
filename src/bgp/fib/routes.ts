/**
 * Best paths to desired routes. Whatever the RIB says of a prefix replaces what it said before; a prefix of our own, or one
 * whose next hop leads nowhere, has no route.
 */
import type { Prefix } from '../../net/mod.ts';
import type { NextHop, Route } from '../../desired/mod.ts';
import { localPeer } from '../rib/mod.ts';
import type { BestChange } from '../rib/mod.ts';

/** Where desired routes go: the route reconciler, as one producer of it. */
export interface RouteTarget {
  addDesired(route: Route): void;
  removeDesired(destination: Prefix): void;
  /** Everything is known: what an earlier life left and nobody wants may be swept. */
  markInSync(): void;
}

/** The route for the best paths of a prefix; undefined when there should be none. */
export function routeOf(change: BestChange): Route | undefined {
  const hops = new Map<string, NextHop>();
  for (const path of change.paths) {
    // a prefix we announce ourselves is here already
    if (path.peer === localPeer) return undefined;
    if (!path.resolution.reachable) continue;
    for (const hop of path.resolution.hops) hops.set(`${hop.via} ${hop.device}`, hop);
  }
  if (hops.size === 0) return undefined;
  return { destination: change.prefix, class: 'bgp', type: 'unicast', nextHops: [...hops.values()] };
}

/**
 * Keeps a `RouteTarget` in step with the best paths. After a restart of this process routes of its last life are still in
 * the kernel: those that come again are adopted by the reconciler, the rest stays until `inSync`, which is told when all
 * neighbours have finished their tables or the restart timer has run out (RFC 4724 §4.1).
 */
export class BgpRoutes {
  private readonly target: RouteTarget;
  private readonly installed = new Set<Prefix>();

  constructor(target: RouteTarget) {
    this.target = target;
  }

  get size(): number {
    return this.installed.size;
  }

  apply(changes: readonly BestChange[]): void {
    for (const change of changes) {
      const route = routeOf(change);
      if (route) {
        this.installed.add(change.prefix);
        this.target.addDesired(route);
      } else if (this.installed.delete(change.prefix)) this.target.removeDesired(change.prefix);
    }
  }

  inSync(): void {
    this.target.markInSync();
  }
}
