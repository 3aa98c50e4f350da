/**
 * What the datastore says, as facts: which node claims which prefix, and what is known of each node. Every change marks
 * the prefixes it may concern, so that one lease that changes costs one decision and not twenty thousand. Pure.
 */
import { TextMap } from '../base/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';

/** Nodes are named as the source names them: Calico's or Kubernetes' node name, Flannel's public address. */
export interface NodeFacts {
  readonly addresses: Readonly<Partial<Record<Family, IpAddress>>>;
  readonly labels: Readonly<Record<string, string>>;
  /** No new pods are to go there. */
  readonly cordoned: boolean;
  /** It is about to go. */
  readonly draining: boolean;
  /** undefined where the source does not say. */
  readonly ready: boolean | undefined;
}

/** What a node's agent says of itself. */
export interface AgentStatus {
  /** The node by all its names and addresses: sources do not agree on which one is the node's name. */
  readonly names: readonly string[];
  readonly ready: boolean;
}

export class FactTable {
  /** A prefix with one owner, which is nearly every one, has no list of its own. */
  private readonly owners = new TextMap<Prefix, string | readonly string[]>();
  /** Lists: a node has few prefixes, and a set takes a kilobyte. */
  private readonly prefixesByNode = new TextMap<string, Prefix[]>();
  private readonly nodes = new TextMap<string, NodeFacts>();
  private readonly nodeByAddress = new TextMap<string, string>();
  private readonly statuses = new TextMap<string, AgentStatus>();
  private readonly readiness = new TextMap<string, boolean>();
  private withheld: readonly Prefix[] = [];
  private known: readonly Prefix[] = [];
  private dirty = new Set<Prefix>();

  claim(prefix: Prefix, node: string): void {
    const owners = this.ownersOf(prefix);
    if (owners.includes(node)) return;
    // by name: every announcer settles a conflict in the same way
    this.owners.set(prefix, owners.length === 0 ? node : [...owners, node].sort());
    const prefixes = this.prefixesByNode.get(node);
    if (prefixes) prefixes.push(prefix);
    else this.prefixesByNode.set(node, [prefix]);
    this.dirty.add(prefix);
  }

  unclaim(prefix: Prefix, node: string): void {
    const owners = this.ownersOf(prefix);
    if (!owners.includes(node)) return;
    const rest = owners.filter((other) => other !== node);
    if (rest.length > 0) this.owners.set(prefix, rest);
    else this.owners.delete(prefix);
    const prefixes = this.prefixesByNode.get(node)!;
    prefixes[prefixes.indexOf(prefix)] = prefixes.at(-1)!;
    prefixes.pop();
    if (prefixes.length === 0) this.prefixesByNode.delete(node);
    this.dirty.add(prefix);
  }

  node(name: string, facts: NodeFacts | undefined): void {
    const before = this.nodes.get(name);
    if (Bun.deepEquals(before, facts)) return;
    for (const address of Object.values(before?.addresses ?? {})) {
      if (this.nodeByAddress.get(address) === name) this.nodeByAddress.delete(address);
    }
    if (facts) this.nodes.set(name, facts);
    else this.nodes.delete(name);
    for (const address of Object.values(facts?.addresses ?? {})) this.nodeByAddress.set(address, name);
    this.touchNode(name);
  }

  /** The agent's word, in place of what `key` said before. */
  status(key: string, status: AgentStatus | undefined): void {
    const before = this.statuses.get(key);
    if (Bun.deepEquals(before, status)) return;
    for (const name of before?.names ?? []) this.readiness.delete(name);
    if (status) this.statuses.set(key, status);
    else this.statuses.delete(key);
    for (const name of status?.names ?? []) this.readiness.set(name, status!.ready);
    for (const name of new Set([...(before?.names ?? []), ...(status?.names ?? [])])) {
      this.touchNode(this.nodeByAddress.get(name) ?? name);
    }
  }

  /** The pools there are, and those whose prefixes are not for the outside. */
  setPools(pools: readonly Prefix[], withheld: readonly Prefix[]): void {
    this.known = pools;
    if (Bun.deepEquals(this.withheld, withheld)) return;
    this.withheld = withheld;
    this.touchAll();
  }

  /** Empty where the source has no pools. */
  get pools(): readonly Prefix[] {
    return this.known;
  }

  /** Everything is to be decided anew: the rules have changed. */
  touchAll(): void {
    for (const prefix of this.owners.keys()) this.dirty.add(prefix);
  }

  /** How many prefixes may have changed. */
  get pending(): number {
    return this.dirty.size;
  }

  /** The prefixes that may have changed since the last time. */
  takeDirty(): ReadonlySet<Prefix> {
    const { dirty } = this;
    this.dirty = new Set();
    return dirty;
  }

  /** Who claims the prefix, sorted. */
  ownersOf(prefix: Prefix): readonly string[] {
    const owners = this.owners.get(prefix);
    return owners === undefined ? [] : typeof owners === 'string' ? [owners] : owners;
  }

  nodeOf(name: string): NodeFacts | undefined {
    return this.nodes.get(name);
  }

  /** The agent's word, else the source's; undefined when nobody says anything. */
  readyOf(name: string): boolean | undefined {
    const facts = this.nodes.get(name);
    const names = [name, ...Object.values(facts?.addresses ?? {})];
    for (const known of names) {
      const ready = this.readiness.get(known);
      if (ready !== undefined) return ready;
    }
    return facts?.ready;
  }

  get withheldPools(): readonly Prefix[] {
    return this.withheld;
  }

  private touchNode(name: string): void {
    for (const prefix of this.prefixesByNode.get(name) ?? []) this.dirty.add(prefix);
  }
}
