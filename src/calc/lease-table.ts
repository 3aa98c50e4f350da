/**
 * The routes of `leaseRoutes`, kept true while leases come and go one by one: a lease that changes is judged alone, together
 * with those that claim the same subnet. Whatever changes about this node itself judges all of them anew. Problems are
 * asked for by people, so they are worked out when they are read.
 */
import type { Route, VxlanPeer } from '../desired/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { ClaimCheck, inTableOrder, keepRoute, leaseRoutes } from './leases.ts';
import type { LeaseFact, LeaseProblem, LeaseView } from './leases.ts';

/** What a change of one lease did to the routes. */
export interface RouteChanges {
  /** New, or other than before. */
  readonly wanted: readonly Route[];
  readonly unwanted: readonly Route[];
  /** Whether the other ends of the VXLAN are others than before. */
  readonly peers: boolean;
}

const NO_CHANGES: RouteChanges = { wanted: [], unwanted: [], peers: false };

export class LeaseTable {
  private readonly facts = new Map<string, LeaseFact>();
  /** Names of the leases that claim a subnet. */
  private readonly claims = new Map<Prefix, Set<string>>();
  private readonly current = new Map<Prefix, Route>();
  private readonly peers_ = new Map<Prefix, VxlanPeer>();
  private view: LeaseView | undefined;
  private check: ClaimCheck | undefined;
  private problems_: readonly LeaseProblem[] | undefined;

  /** In no particular order. Where nothing changed it holds the very objects it held before. */
  get routes(): Iterable<Route> {
    return this.current.values();
  }

  /** The nodes that routes go to through a VXLAN. */
  get peers(): readonly VxlanPeer[] {
    return [...this.peers_.values()];
  }

  /** For people: in the order of a route table. */
  get ordered(): readonly Route[] {
    return inTableOrder([...this.current.values()], ({ destination }) => destination);
  }

  /** What is wrong with leases, as `leaseRoutes` tells it; nothing before there is a view. */
  get problems(): readonly LeaseProblem[] {
    if (!this.view) return [];
    return (this.problems_ ??= leaseRoutes([...this.facts.values()], this.view).problems);
  }

  /** This node, as it is now. */
  setView(view: LeaseView): void {
    if (Bun.deepEquals(this.view, view)) return;
    this.view = view;
    this.check = new ClaimCheck(view);
    this.problems_ = undefined;
    for (const subnet of this.claims.keys()) this.settle(subnet);
  }

  set(fact: LeaseFact): RouteChanges {
    const before = this.facts.get(fact.name);
    this.facts.set(fact.name, fact);
    const subnets = new Set(fact.subnets.map(({ subnet }) => subnet));
    for (const subnet of subnets) this.claimants(subnet).add(fact.name);
    for (const { subnet } of before?.subnets ?? []) {
      if (subnets.has(subnet)) continue;
      this.claims.get(subnet)?.delete(fact.name);
      subnets.add(subnet);
    }
    return this.settleAll(subnets);
  }

  delete(name: string): RouteChanges {
    const before = this.facts.get(name);
    if (!before) return NO_CHANGES;
    this.facts.delete(name);
    const subnets = new Set(before.subnets.map(({ subnet }) => subnet));
    for (const subnet of subnets) this.claims.get(subnet)?.delete(name);
    return this.settleAll(subnets);
  }

  private claimants(subnet: Prefix): Set<string> {
    let names = this.claims.get(subnet);
    if (!names) this.claims.set(subnet, (names = new Set()));
    return names;
  }

  private settleAll(subnets: Iterable<Prefix>): RouteChanges {
    this.problems_ = undefined;
    const wanted: Route[] = [];
    const unwanted: Route[] = [];
    let peers = false;
    for (const subnet of subnets) {
      const [before, peer] = [this.current.get(subnet), this.peers_.get(subnet)];
      const after = this.settle(subnet);
      peers ||= !Bun.deepEquals(peer, this.peers_.get(subnet));
      if (after === before) continue;
      if (after) wanted.push(after);
      else if (before) unwanted.push(before);
    }
    return { wanted, unwanted, peers };
  }

  /** Finds the lease that has the subnet: the first by name whose claim is good. */
  private settle(subnet: Prefix): Route | undefined {
    const { check, view } = this;
    if (!check || !view) return undefined;
    const names = this.claims.get(subnet) ?? new Set();
    if (names.size === 0) this.claims.delete(subnet);
    const before = this.current.get(subnet);
    for (const name of names.size > 1 ? [...names].sort() : names) {
      if (name === view.ownLease) continue;
      const fact = this.facts.get(name)?.subnets.find((s) => s.subnet === subnet);
      const outcome = fact && check.settle(fact);
      if (!outcome || 'kind' in outcome) continue;
      if (outcome.peer) this.peers_.set(subnet, outcome.peer);
      else this.peers_.delete(subnet);
      const route = keepRoute(before, outcome.route);
      this.current.set(subnet, route);
      return route;
    }
    this.current.delete(subnet);
    this.peers_.delete(subnet);
    return undefined;
  }
}
