/**
 * Best paths to desired routes. What the speaker says of a prefix replaces what it said before; a prefix of our own, or
 * one whose next hop leads nowhere, has no route. How packets get to a next hop (plainly or by a tunnel) is decided by
 * `routeOf`, and decided anew for all of them when that changes. It outlives the speaker: after one was started anew, what
 * it has not said again goes only when it has said everything.
 */
import type { Clock } from '../../base/mod.ts';
import { localPeer } from '../../bgp/rib/mod.ts';
import type { BestChange } from '../../bgp/rib/mod.ts';
import type { FibSink } from '../../bgp/speaker/mod.ts';
import type { BgpPath } from '../../calc/mod.ts';
import type { RouteReconciler } from '../../dataplane/mod.ts';
import type { Route } from '../../desired/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';

/** The producer of BGP's routes, as the route reconciler knows it. */
export const BGP = 'bgp';

/** The route for a prefix with these paths; undefined when none of them leads anywhere. */
export type RouteMaker = (destination: Prefix, paths: readonly BgpPath[]) => Route | undefined;

export interface BgpFibOptions {
  readonly clock: Clock;
  /** Whether this address is a neighbour's whose session is not up. */
  readonly isAway: (neighbor: IpAddress) => boolean;
  /** A life has said what it knows. */
  readonly onComplete: () => void;
}

/** How long the route to a neighbour that is away stays after nothing else keeps it, milliseconds. */
const HOLD_MS = 10_000;

export class BgpFib {
  private readonly routes_ = new Map<Prefix, Route>();
  private readonly paths = new Map<Prefix, readonly BgpPath[]>();
  private readonly target: RouteReconciler;
  /** Whose word counts: the life that began last. */
  private current: object = {};
  private routeOf: RouteMaker | undefined;
  /** Prefixes this life has spoken of; undefined once what it had not spoken of is gone. */
  private spoken: Set<Prefix> | undefined;
  private complete = false;
  /** Prefixes whose route stays although nobody has a way there. */
  private readonly held = new Map<Prefix, object>();
  private readonly options: BgpFibOptions;

  constructor(target: RouteReconciler, options: BgpFibOptions) {
    this.target = target;
    this.options = options;
    target.expect(BGP);
  }

  /** Whether the speaker has said all it knows, and how packets get there is known. */
  get said(): boolean {
    return this.complete && this.routeOf !== undefined;
  }

  /** Forgets what this life has not spoken of: nobody is waited for any more. */
  sweep(): void {
    const { spoken } = this;
    this.spoken = undefined;
    if (spoken) for (const prefix of this.paths.keys()) if (!spoken.has(prefix)) this.drop(prefix);
    this.target.markInSync(BGP);
  }

  get routes(): Iterable<Route> {
    return this.routes_.values();
  }

  /** By next hop: the prefixes whose route is in the kernel. */
  installed(): Map<IpAddress, Prefix[]> {
    const found = new Map<IpAddress, Prefix[]>();
    for (const [prefix, paths] of this.paths) {
      if (!this.target.isInstalled({ destination: prefix })) continue;
      for (const { nextHop } of paths) {
        const there = found.get(nextHop);
        if (there) there.push(prefix);
        else found.set(nextHop, [prefix]);
      }
    }
    return found;
  }

  /** From now on routes are made like this, those that are there too. */
  setRouteMaker(routeOf: RouteMaker): void {
    this.routeOf = routeOf;
    for (const [prefix, paths] of this.paths) this.settle(prefix, paths);
    if (this.complete) this.options.onComplete();
  }

  /** For one life of a speaker. */
  life(): FibSink {
    const me = {};
    this.current = me;
    this.spoken = new Set();
    this.complete = false;
    return {
      apply: (changes) => {
        for (const change of changes) {
          this.spoken?.add(change.prefix);
          this.take(change);
        }
      },
      inSync: () => {
        if (this.current !== me) return;
        this.complete = true;
        this.options.onComplete();
      },
    };
  }

  private take({ prefix, paths }: BestChange): void {
    if (paths.some((path) => path.peer === localPeer)) {
      this.drop(prefix);
      return;
    }
    if (paths.length === 0) {
      this.lose(prefix);
      return;
    }
    this.held.delete(prefix);
    const reached = paths.map(({ nextHop, resolution }) => ({
      nextHop,
      hops: resolution.reachable ? resolution.hops : [],
    }));
    this.paths.set(prefix, reached);
    this.settle(prefix, reached);
  }

  /**
   * Nobody has a way there any more. If that is because the neighbour itself is away, and not because it said so, its route
   * stays for a moment: one that restarts twice in a row loses what was kept for it (RFC 4724 §4.2), not its pods.
   */
  private lose(prefix: Prefix): void {
    const away = this.paths.get(prefix)?.some(({ nextHop }) => this.options.isAway(nextHop));
    if (away !== true) {
      this.drop(prefix);
      return;
    }
    const mark = {};
    this.held.set(prefix, mark);
    this.options.clock.after(HOLD_MS, () => {
      if (this.held.get(prefix) === mark) this.drop(prefix);
    });
  }

  private drop(prefix: Prefix): void {
    this.held.delete(prefix);
    this.paths.delete(prefix);
    if (this.routes_.delete(prefix)) this.target.removeDesired(BGP, { destination: prefix });
  }

  private settle(prefix: Prefix, paths: readonly BgpPath[]): void {
    if (!this.routeOf) return;
    const route = this.routeOf(prefix, paths);
    const before = this.routes_.get(prefix);
    if (!route) {
      if (this.routes_.delete(prefix)) this.target.removeDesired(BGP, { destination: prefix });
    } else if (!before || !Bun.deepEquals(before, route)) {
      this.routes_.set(prefix, route);
      this.target.addDesired(BGP, route);
    }
  }
}
