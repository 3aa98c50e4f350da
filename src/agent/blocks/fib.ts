/**
 * Best paths to desired routes. What the speaker says of a prefix replaces what it said before; a prefix of our own, or
 * one whose next hop leads nowhere, has no route. It outlives the speaker: after one was started anew, what it has not
 * said again goes only when it has said everything.
 */
import { localPeer } from '../../bgp/rib/mod.ts';
import type { BestChange } from '../../bgp/rib/mod.ts';
import type { FibSink } from '../../bgp/speaker/mod.ts';
import type { RouteReconciler } from '../../dataplane/mod.ts';
import type { NextHop, Route } from '../../desired/mod.ts';
import type { Prefix } from '../../net/mod.ts';

/** The producer of BGP's routes, as the route reconciler knows it. */
export const BGP = 'bgp';

export class BgpFib {
  /** What the node wants of each prefix, from its best paths. */
  private readonly routes_ = new Map<Prefix, Route>();
  private readonly paths = new Map<Prefix, BestChange>();
  private readonly target: RouteReconciler;

  constructor(target: RouteReconciler) {
    this.target = target;
    target.expect(BGP);
  }

  get routes(): Iterable<Route> {
    return this.routes_.values();
  }

  /** For one life of a speaker. `complete` is called when it has said everything. */
  life(complete: () => void): FibSink {
    const said = new Set<Prefix>();
    let whole = false;
    return {
      apply: (changes) => {
        for (const change of changes) {
          if (!whole) said.add(change.prefix);
          this.take(change);
        }
      },
      inSync: () => {
        whole = true;
        for (const prefix of this.paths.keys()) if (!said.has(prefix)) this.drop(prefix);
        said.clear();
        this.target.markInSync(BGP);
        complete();
      },
    };
  }

  private take(change: BestChange): void {
    const own = change.paths.some((path) => path.peer === localPeer);
    if (own || change.paths.length === 0) {
      this.drop(change.prefix);
      return;
    }
    this.paths.set(change.prefix, change);
    this.settle(change);
  }

  private drop(prefix: Prefix): void {
    this.paths.delete(prefix);
    if (this.routes_.delete(prefix)) this.target.removeDesired(BGP, { destination: prefix });
  }

  private settle(change: BestChange): void {
    const route = routeOf(change);
    const before = this.routes_.get(change.prefix);
    if (!route) {
      if (this.routes_.delete(change.prefix)) this.target.removeDesired(BGP, { destination: change.prefix });
    } else if (!before || !Bun.deepEquals(before, route)) {
      this.routes_.set(change.prefix, route);
      this.target.addDesired(BGP, route);
    }
  }
}

/** The route for the best paths of a prefix; undefined when none of them leads anywhere. */
export function routeOf(change: BestChange): Route | undefined {
  const hops = new Map<string, NextHop>();
  for (const { resolution } of change.paths) {
    if (!resolution.reachable) continue;
    for (const hop of resolution.hops) hops.set(`${hop.via} ${hop.device}`, hop);
  }
  if (hops.size === 0) return undefined;
  return { destination: change.prefix, class: 'bgp', type: 'unicast', nextHops: [...hops.values()] };
}
