/**
 * What the datastore says, as facts: which node claims which prefix, and what is known of each node. Every change marks
 * the prefixes it may concern, so that one lease that changes costs one decision and not twenty thousand. Pure.
 */
import { TextMap } from '../base/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';
import { Several } from './several.ts';

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
  private readonly owners = new Several<Prefix>();
  /** Lists: a node has few prefixes, and a set takes a kilobyte. */
  private readonly prefixesByNode = new TextMap<string, Prefix[]>();
  private readonly nodes = new TextMap<string, NodeFacts>();
  /** More than one while a node changes its name. */
  private readonly nodesByAddress = new Several<string>();
  private readonly statuses = new TextMap<string, AgentStatus>();
  /** By each name and address of a node, the keys of the statuses that are about it. */
  private readonly sayings = new Several<string>();
  private withheld: readonly Prefix[] = [];
  private known: readonly Prefix[] = [];
  private dirty = new Set<Prefix>();

  claim(prefix: Prefix, node: string): void {
    if (!this.owners.add(prefix, node)) return;
    const prefixes = this.prefixesByNode.get(node);
    if (prefixes) prefixes.push(prefix);
    else this.prefixesByNode.set(node, [prefix]);
    this.dirty.add(prefix);
  }

  unclaim(prefix: Prefix, node: string): void {
    if (!this.owners.remove(prefix, node)) return;
    const prefixes = this.prefixesByNode.get(node)!;
    prefixes[prefixes.indexOf(prefix)] = prefixes.at(-1)!;
    prefixes.pop();
    if (prefixes.length === 0) this.prefixesByNode.delete(node);
    this.dirty.add(prefix);
  }

  node(name: string, facts: NodeFacts | undefined): void {
    const before = this.nodes.get(name);
    if (Bun.deepEquals(before, facts)) return;
    for (const address of Object.values(before?.addresses ?? {})) this.nodesByAddress.remove(address, name);
    if (facts) this.nodes.set(name, facts);
    else this.nodes.delete(name);
    for (const address of Object.values(facts?.addresses ?? {})) this.nodesByAddress.add(address, name);
    this.touchNode(name);
  }

  /** The agent's word, in place of what `key` said before. */
  status(key: string, status: AgentStatus | undefined): void {
    const before = this.statuses.get(key);
    if (Bun.deepEquals(before, status)) return;
    for (const name of before?.names ?? []) this.sayings.remove(name, key);
    if (status) this.statuses.set(key, status);
    else this.statuses.delete(key);
    for (const name of status?.names ?? []) this.sayings.add(name, key);
    for (const name of new Set([...(before?.names ?? []), ...(status?.names ?? [])])) {
      this.touchNode(name);
      for (const node of this.nodesByAddress.of(name)) this.touchNode(node);
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

  /** Who claims the prefix, sorted: every announcer settles a conflict in the same way. */
  ownersOf(prefix: Prefix): readonly string[] {
    return this.owners.of(prefix);
  }

  nodeOf(name: string): NodeFacts | undefined {
    return this.nodes.get(name);
  }

  /** The agent's word, else the source's; undefined when nobody says anything. */
  readyOf(name: string): boolean | undefined {
    const facts = this.nodes.get(name);
    const names = [name, ...Object.values(facts?.addresses ?? {})];
    for (const known of names) {
      const keys = this.sayings.of(known);
      // one more is that of an agent under an earlier name, which will not be heard of again
      if (keys.length > 0) return keys.some((key) => this.statuses.get(key)?.ready);
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
