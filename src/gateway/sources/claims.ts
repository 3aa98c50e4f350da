/** What each object of a source claims for its node, so that what it says now can be put in place of what it said before. */
import type { Prefix } from '../../net/mod.ts';
import type { FactTable } from '../facts.ts';

interface Said {
  readonly node: string;
  readonly prefixes: readonly Prefix[];
}
const nothing: Said = { node: '', prefixes: [] };

export class Claims {
  private readonly said = new Map<string, Said>();

  /** `node` undefined: the object is gone, or is nobody's. */
  set(facts: FactTable, key: string, node: string | undefined, prefixes: readonly Prefix[]): void {
    const before = this.said.get(key) ?? nothing;
    const now = node === undefined ? nothing : { node, prefixes };
    for (const prefix of before.prefixes) {
      if (before.node !== now.node || !now.prefixes.includes(prefix)) facts.unclaim(prefix, before.node);
    }
    for (const prefix of now.prefixes) facts.claim(prefix, now.node);
    if (now.prefixes.length > 0) this.said.set(key, now);
    else this.said.delete(key);
  }
}
