/**
 * The routes of `leaseRoutes`, kept true while leases come and go one by one: a lease that changes is judged alone, together
 * with those that claim the same subnet. Whatever changes about this node itself judges all of them anew. Problems are rare:
 * they are worked out, from nothing, when somebody reads them and there can be any.
 */
import type { Route, VxlanPeer } from '../desired/mod.ts';
import { familyOf, prefixLength } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import { ClaimCheck, inTableOrder, keepRoute, leaseRoutes } from './leases.ts';
import type { LeaseFact, LeaseProblem, LeaseView } from './leases.ts';

/** What a change of one lease did to the routes. */
export interface RouteChanges {
  /** New, or other than before. */
  readonly wanted: readonly Route[];
  readonly unwanted: readonly Route[];
  /** Whether the other ends of the VXLAN are others than before. */
  readonly peers: boolean;
  /** Whether the addresses of nodes may be others than before. */
  readonly nodes: boolean;
}

const NO_PROBLEMS: readonly LeaseProblem[] = [];
const NO_CHANGES: RouteChanges = { wanted: [], unwanted: [], peers: false, nodes: false };

export class LeaseTable {
  private readonly facts = new Map<string, LeaseFact>();
  /** Names of the leases that claim a subnet. */
  private readonly claims = new Map<Prefix, Set<string>>();
  private readonly current = new Map<Prefix, Route>();
  private readonly peers_ = new Map<Prefix, VxlanPeer>();
  /** Subnets whose claims are not as they should be. */
  private readonly odd = new Set<Prefix>();
  /** How many routes there are of a family and prefix length: overlaps take two lengths. */
  private readonly lengths = new Map<string, number>();
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

  /** The addresses of all nodes that have a lease, whatever it says. */
  get nodes(): readonly IpAddress[] {
    return [...new Set([...this.facts.values()].flatMap((fact) => addressesOf(fact)))];
  }

  /** For people: in the order of a route table. */
  get ordered(): readonly Route[] {
    return inTableOrder([...this.current.values()], ({ destination }) => destination);
  }

  /** What is wrong with leases, as `leaseRoutes` tells it; nothing before there is a view. */
  get problems(): readonly LeaseProblem[] {
    const families = new Set([...this.lengths.keys()].map(familyIn));
    if (!this.view || (this.odd.size === 0 && this.lengths.size === families.size)) return NO_PROBLEMS;
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
    return this.settleAll(subnets, !Bun.deepEquals(addressesOf(before), addressesOf(fact)));
  }

  delete(name: string): RouteChanges {
    const before = this.facts.get(name);
    if (!before) return NO_CHANGES;
    this.facts.delete(name);
    const subnets = new Set(before.subnets.map(({ subnet }) => subnet));
    for (const subnet of subnets) this.claims.get(subnet)?.delete(name);
    return this.settleAll(subnets, true);
  }

  private claimants(subnet: Prefix): Set<string> {
    let names = this.claims.get(subnet);
    if (!names) this.claims.set(subnet, (names = new Set()));
    return names;
  }

  private settleAll(subnets: Iterable<Prefix>, nodes: boolean): RouteChanges {
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
    return { wanted, unwanted, peers, nodes };
  }

  /** Finds the lease that has the subnet: the first by name whose claim is good. */
  private settle(subnet: Prefix): Route | undefined {
    const { check, view } = this;
    if (!check || !view) return undefined;
    const names = this.claims.get(subnet) ?? new Set();
    if (names.size === 0) this.claims.delete(subnet);
    this.odd.delete(subnet);
    let holder: { readonly route: Route; readonly peer: VxlanPeer | undefined } | undefined;
    for (const name of names.size > 1 ? [...names].sort() : names) {
      if (name === view.ownLease) continue;
      const lease = this.facts.get(name);
      const fact = lease?.subnets.find((s) => s.subnet === subnet);
      const outcome = fact && check.settle(fact);
      const good = outcome !== undefined && !('kind' in outcome);
      const isPlain = good && !holder && (outcome.peer !== undefined || lease?.backendType === view.backendType);
      const isElsewhere = !good && outcome?.kind === 'not-connected' && view.otherSegments === 'gateway';
      if (!isPlain && !isElsewhere) this.odd.add(subnet);
      if (good) holder ??= outcome;
    }
    const before = this.current.get(subnet);
    this.count(subnet, Number(holder !== undefined) - Number(before !== undefined));
    if (holder?.peer) this.peers_.set(subnet, holder.peer);
    else this.peers_.delete(subnet);
    const route = holder && keepRoute(before, holder.route);
    if (route) this.current.set(subnet, route);
    else this.current.delete(subnet);
    return route;
  }

  private count(subnet: Prefix, change: number): void {
    const key = `${familyOf(subnet)} ${prefixLength(subnet)}`;
    const count = (this.lengths.get(key) ?? 0) + change;
    if (count === 0) this.lengths.delete(key);
    else this.lengths.set(key, count);
  }
}

const addressesOf = (fact: LeaseFact | undefined): IpAddress[] =>
  fact?.subnets.flatMap(({ publicIp }) => publicIp ?? []) ?? [];
const familyIn = (key: string): string => key[0]!;
