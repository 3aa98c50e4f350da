/**
 * What each object of a source claims for its node, so that what it says now can be put in place of what it said before.
 * Two objects may claim one prefix for one node, as Flannel's leases do when a node's changes its key.
 */
import { TextMap } from '../../base/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import type { FactTable } from '../facts.ts';

interface Said {
  readonly node: string;
  readonly prefixes: readonly Prefix[];
}
const nothing: Said = { node: '', prefixes: [] };

export class Claims {
  private readonly said = new TextMap<string, Said>();
  /** How many objects say the same, by prefix and node; most are alone and not in here. */
  private readonly more = new Map<string, number>();

  /** `node` undefined: the object is gone, or is nobody's. */
  set(facts: FactTable, key: string, node: string | undefined, prefixes: readonly Prefix[]): void {
    const before = this.said.get(key) ?? nothing;
    const now = node === undefined ? nothing : { node, prefixes: [...new Set(prefixes)] };
    const kept = before.node === now.node ? now.prefixes.filter((prefix) => before.prefixes.includes(prefix)) : [];
    for (const prefix of before.prefixes) if (!kept.includes(prefix)) this.less(facts, prefix, before.node);
    for (const prefix of now.prefixes) if (!kept.includes(prefix)) this.claim(facts, prefix, now.node);
    if (now.prefixes.length > 0) this.said.set(key, now);
    else this.said.delete(key);
  }

  private claim(facts: FactTable, prefix: Prefix, node: string): void {
    if (!facts.ownersOf(prefix).includes(node)) facts.claim(prefix, node);
    else this.count(prefix, node, 1);
  }

  private less(facts: FactTable, prefix: Prefix, node: string): void {
    if (!this.more.has(pair(prefix, node))) facts.unclaim(prefix, node);
    else this.count(prefix, node, -1);
  }

  private count(prefix: Prefix, node: string, by: 1 | -1): void {
    const count = (this.more.get(pair(prefix, node)) ?? 0) + by;
    if (count > 0) this.more.set(pair(prefix, node), count);
    else this.more.delete(pair(prefix, node));
  }
}

const pair = (prefix: Prefix, node: string): string => `${prefix} ${node}`;
