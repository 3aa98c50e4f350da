/**
 * The book of desired routes: what each producer wants, and which one wins where two want the same destination.
 * Pure; the reconciler reads the winners.
 */
import { familyOf } from '../../net/mod.ts';
import { routeClasses } from '../../desired/mod.ts';
import type { Route } from '../../desired/mod.ts';

/** Destination and metric: the kernel holds one route of ours for each. */
export type RouteKey = string & { readonly __brand: 'RouteKey' };

/** An IPv6 route without a metric carries 1024 in the kernel: the two are one. */
export function routeKey(route: Pick<Route, 'destination' | 'metric'>): RouteKey {
  const implied = familyOf(route.destination) === 6 ? 1024 : 0;
  const metric = route.metric === undefined || route.metric === implied ? 0 : route.metric;
  return `${route.destination} ${metric}` as RouteKey;
}

const rank = (route: Route): number => routeClasses.indexOf(route.class);

export class RouteBook {
  private readonly producers = new Map<string, Map<RouteKey, Route>>();
  private readonly synced = new Set<string>();
  private readonly changed = new Set<RouteKey>();

  /** A producer that is expected: until each of them has said it is in sync, nothing is swept. */
  expect(producer: string): void {
    if (!this.producers.has(producer)) this.producers.set(producer, new Map());
  }

  /** Replaces all that a producer wants. */
  replace(producer: string, routes: Iterable<Route>): void {
    this.expect(producer);
    const before = this.producers.get(producer)!;
    const after = new Map<RouteKey, Route>();
    for (const route of routes) after.set(routeKey(route), route);
    for (const key of before.keys()) if (!after.has(key)) this.changed.add(key);
    for (const [key, route] of after) if (before.get(key) !== route) this.changed.add(key);
    this.producers.set(producer, after);
  }

  set(producer: string, route: Route): void {
    this.expect(producer);
    const key = routeKey(route);
    this.producers.get(producer)!.set(key, route);
    this.changed.add(key);
  }

  delete(producer: string, route: Pick<Route, 'destination' | 'metric'>): void {
    const key = routeKey(route);
    if (this.producers.get(producer)?.delete(key) === true) this.changed.add(key);
  }

  /** The producer's picture is complete. */
  markInSync(producer: string): void {
    this.expect(producer);
    this.synced.add(producer);
  }

  get inSync(): boolean {
    return this.producers.size > 0 && [...this.producers.keys()].every((producer) => this.synced.has(producer));
  }

  /** Producers that have not said they are in sync. */
  waitingFor(): string[] {
    return [...this.producers.keys()].filter((producer) => !this.synced.has(producer));
  }

  /** The route that wins for this key: the class that stands first, then the producer's name. */
  winner(key: RouteKey): Route | undefined {
    let best: Route | undefined;
    let from = '';
    for (const [producer, routes] of this.producers) {
      const route = routes.get(key);
      if (!route) continue;
      const better = best === undefined ? -1 : rank(route) - rank(best);
      if (better < 0 || (better === 0 && producer < from)) [best, from] = [route, producer];
    }
    return best;
  }

  keys(): Set<RouteKey> {
    const all = new Set<RouteKey>();
    for (const routes of this.producers.values()) for (const key of routes.keys()) all.add(key);
    return all;
  }

  /** Number of different keys. */
  get size(): number {
    const filled = [...this.producers.values()].filter((routes) => routes.size > 0);
    return filled.length > 1 ? this.keys().size : (filled[0]?.size ?? 0);
  }

  /** Keys changed since they were taken. */
  changedKeys(): Iterable<RouteKey> {
    return this.changed;
  }

  /** What is wanted of these is known: they are changed no more. */
  taken(keys: Iterable<RouteKey>): void {
    for (const key of keys) this.changed.delete(key);
  }

  /** Keys changed since the last call. */
  takeChanged(): RouteKey[] {
    const keys = [...this.changed];
    this.changed.clear();
    return keys;
  }
}
