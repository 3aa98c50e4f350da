/**
 * A cluster of nodes that speak BGP to each other, as little of it as it takes to see whether plans lose anything: sessions
 * that come up when both ends want them, routes that spread session by session, nodes that see an old plan or an old
 * report, crash, come and go. Everything happens one event at a time, in an order the test chooses. For tests.
 */
import type { IpAddress, Prefix } from '../../net/mod.ts';
import type { Asn } from '../../net/mod.ts';
import { defaultRouteReflectors } from '../../model/mod.ts';
import type { RouteReflectorSettings } from '../../model/mod.ts';
import type { Speaker } from '../bgp/cluster.ts';
import { nextPlan } from './step.ts';
import { syncOf } from './sync.ts';
import { adjacent, inForce, meshTopology } from './topology.ts';
import type { ReflectorPlan, TopologyReport } from './topology.ts';

/** A small generator of numbers that a seed repeats. */
export function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

class SimulatedNode {
  speaker: Speaker;
  alive = true;
  /** The plan as this node saw it last. */
  plan: ReflectorPlan | undefined;
  /** By neighbour with a session that is up: what it told, undefined before its first exchange. */
  readonly heard = new Map<string, Set<string> | undefined>();

  constructor(speaker: Speaker) {
    this.speaker = speaker;
  }

  knows(other: string): boolean {
    for (const told of this.heard.values()) if (told?.has(other)) return true;
    return false;
  }
}

export class Simulation {
  readonly nodes = new Map<string, SimulatedNode>();
  readonly reports = new Map<string, TopologyReport>();
  settings: RouteReflectorSettings | undefined;
  plan: ReflectorPlan | undefined;
  now = 0;
  /** Pairs that no session comes up between. */
  readonly blocked = new Set<string>();
  /** Changes of the plan so far. */
  steps = 0;
  /** Sessions that ended although both ends were alive, and that came up. */
  readonly sessions = { up: 0, down: 0 };
  private planSince = 0;
  private readonly absentSince = new Map<string, number>();
  private readonly unreadySince = new Map<string, number>();
  private added = 0;

  constructor(settings: Partial<RouteReflectorSettings>) {
    this.settings = { ...defaultRouteReflectors, mode: 'auto', failureDomain: 'zone', ...settings };
  }

  add(zone: string): string {
    const number = ++this.added;
    const name = `node-${number}`;
    const address = `10.0.${number >> 8}.${number & 255}` as IpAddress;
    const speaker = { name, labels: { zone }, addresses: { 4: address }, as: 64512 as Asn };
    this.nodes.set(
      name,
      new SimulatedNode({ ...speaker, clusterId: undefined, gatewayAs: undefined, port: undefined }),
    );
    return name;
  }

  remove(name: string): void {
    this.crash(name);
    this.nodes.delete(name);
    this.reports.delete(name);
  }

  /** Somebody changes the node's labels. */
  label(name: string, zone: string, leaving: boolean): void {
    const node = this.nodes.get(name)!;
    node.speaker = { ...node.speaker, labels: { zone }, leaving };
  }

  crash(name: string): void {
    const node = this.nodes.get(name)!;
    node.alive = false;
    node.heard.clear();
    for (const other of this.nodes.values()) other.heard.delete(name);
  }

  restart(name: string): void {
    const node = this.nodes.get(name)!;
    node.alive = true;
    node.plan = undefined;
  }

  /** The node sees the plan as it is now; sessions that it does not want any more end. */
  deliver(name: string): void {
    const node = this.nodes.get(name)!;
    if (!node.alive) return;
    node.plan = this.plan;
    for (const other of [...node.heard.keys()]) {
      if (this.wants(node, other)) continue;
      node.heard.delete(other);
      this.nodes.get(other)?.heard.delete(name);
      this.sessions.down++;
    }
  }

  /** A session comes up if both ends want it. */
  connect(a: string, b: string): void {
    const [left, right] = [this.nodes.get(a)!, this.nodes.get(b)!];
    if (a === b || !left.alive || !right.alive || left.heard.has(b) || this.blocked.has(pairOf(a, b))) return;
    if (!this.wants(left, b) || !this.wants(right, a)) return;
    left.heard.set(b, undefined);
    right.heard.set(a, undefined);
    this.sessions.up++;
  }

  /** What `from` has to tell reaches `to`, additions and withdrawals. */
  exchange(from: string, to: string): void {
    const [sender, receiver] = [this.nodes.get(from)!, this.nodes.get(to)!];
    if (!sender.heard.has(to) || !receiver.heard.has(from)) return;
    const told = new Set([from]);
    const reflects = sender.plan !== undefined && inForce(sender.plan).reflectors.includes(from);
    if (reflects) {
      for (const [client, routes] of sender.heard) if (client !== to) for (const name of routes ?? []) told.add(name);
    }
    told.delete(to);
    receiver.heard.set(from, told);
  }

  sync(name: string, plan = this.nodes.get(name)!.plan) {
    const { heard } = this.nodes.get(name)!;
    const speakers = new Map([...this.nodes].map(([key, { speaker }]) => [key, speaker]));
    const addresses = new Map([...speakers.values()].map((speaker) => [speaker.addresses[4]!, speaker.name]));
    const known = new Map<string, IpAddress[]>();
    for (const [neighbor, routes] of heard) {
      const from = speakers.get(neighbor)!.addresses[4]!;
      for (const route of routes ?? []) known.set(route, [...(known.get(route) ?? []), from]);
    }
    const destinations = [...known].flatMap(([owner, from]) => {
      const nextHop = speakers.get(owner)?.addresses[4];
      return nextHop === undefined || owner === name ? [] : [{ prefix: `${nextHop}/32` as Prefix, nextHop, from }];
    });
    const synced = (address: IpAddress) => heard.get(addresses.get(address) ?? '') !== undefined;
    return syncOf(name, speakers, plan, { synced, destinations, kernelPending: false });
  }

  report(name: string): void {
    const node = this.nodes.get(name)!;
    if (!node.alive) return;
    this.reports.set(name, { generation: node.plan?.generation ?? 0, ready: true, ...this.sync(name) });
  }

  /** The lease of a node that is dead runs out. */
  expire(name: string): void {
    if (this.nodes.get(name)?.alive !== true) this.reports.delete(name);
  }

  /** Somebody steps with what it knows; false when another was faster or nothing is to do. */
  coordinate(seen = this.plan, reports: ReadonlyMap<string, TopologyReport> = this.reports): boolean {
    for (const name of this.nodes.keys()) {
      const report = reports.get(name);
      if (report) this.absentSince.delete(name);
      else if (!this.absentSince.has(name)) this.absentSince.set(name, this.now);
      if (report?.ready === true) this.unreadySince.delete(name);
      else if (!this.unreadySince.has(name)) this.unreadySince.set(name, this.now);
    }
    const since = (times: Map<string, number>) => (name: string) => this.now - (times.get(name) ?? this.now);
    const next = nextPlan(seen, {
      settings: this.settings,
      speakers: [...this.nodes.values()].map(({ speaker }) => speaker),
      ...{ as: 64512, meshEnabled: true, reports },
      absentFor: since(this.absentSince),
      unreadyFor: since(this.unreadySince),
      planAge: this.now - this.planSince,
    });
    if (next === seen || seen !== this.plan) return false;
    if (next?.generation !== this.plan?.generation) this.planSince = this.now;
    this.plan = next;
    this.steps++;
    return true;
  }

  /** Everything that can happen without a fault happens, until nothing more does. */
  settle(): void {
    for (let round = 0; round < 40; round++) {
      const names = [...this.nodes.keys()];
      const before = `${this.steps} ${this.sessions.up} ${this.sessions.down}`;
      for (const name of names) this.deliver(name);
      for (const a of names) for (const b of names) if (a < b) this.connect(a, b);
      for (let spread = 0; spread < 3; spread++) {
        for (const a of names) for (const b of this.nodes.get(a)!.heard.keys()) this.exchange(a, b);
      }
      for (const name of names) this.expire(name);
      for (const name of names) this.report(name);
      const stepped = this.coordinate();
      if (!stepped && before === `${this.steps} ${this.sessions.up} ${this.sessions.down}`) return;
    }
    throw new Error('the plan does not settle');
  }

  get alive(): string[] {
    return [...this.nodes].filter(([, { alive }]) => alive).map(([name]) => name);
  }

  /** Whether the plan is at rest and every live node knows every other by all its sessions. */
  get atRest(): boolean {
    const { plan } = this;
    if (plan?.keep || plan?.target.reflectors.some((name) => this.nodes.get(name)?.alive !== true)) return false;
    return this.alive.every((name) => {
      const node = this.nodes.get(name)!;
      if (node.plan !== plan || this.sync(name).state !== 'synced') return false;
      return this.alive.every((other) => other === name || node.knows(other));
    });
  }

  private wants({ plan, speaker }: SimulatedNode, other: string): boolean {
    return this.nodes.has(other) && adjacent(plan ? inForce(plan) : meshTopology, speaker.name, other);
  }
}

export const pairOf = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`);
