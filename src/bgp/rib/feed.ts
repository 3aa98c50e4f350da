/** A consumer of best paths outside the RIB: the FIB, a monitor. One bit per prefix that changed since it looked. */
import type { Family } from '../../net/mod.ts';
import type { Decision } from './decide.ts';
import { DirtySet } from './dirty.ts';
import type { NextHops } from './nexthops.ts';
import type { AttributeSets } from './sets.ts';
import type { BestConsumer, IndexHolder, FamilyTable } from './table.ts';
import type { BestChange, BestFeed, PeerId } from './types.ts';

class FamilyFeed implements BestConsumer, IndexHolder {
  readonly dirty = new DirtySet();
  readonly allPaths: boolean;
  /** Prefixes the consumer was given with paths: the disappearance of others is no news. */
  readonly given = new DirtySet();
  readonly table: FamilyTable;

  constructor(table: FamilyTable, allPaths: boolean) {
    this.table = table;
    this.allPaths = allPaths;
    table.markAll(this.dirty);
    table.consumers.add(this);
    table.holders.add(this);
  }

  sift(indexes: Uint32Array, count: number, needed: DirtySet): number {
    if (this.dirty.size === 0) return count;
    let free = 0;
    for (let i = 0; i < count; i++) {
      if (this.dirty.has(indexes[i]!)) needed.add(indexes[i]!);
      else indexes[free++] = indexes[i]!;
    }
    return free;
  }

  forget(indexes: Uint32Array, count: number): void {
    for (let i = 0; i < count; i++) this.given.delete(indexes[i]!);
  }
}

export class BestPathFeed implements BestFeed {
  private readonly families: readonly FamilyFeed[];
  private readonly sets: AttributeSets;
  private readonly nextHops: NextHops;
  private readonly decision: Decision;
  private readonly pending: () => void;
  private readonly closed: () => void;
  private readonly one = new Uint32Array(1);
  private told = false;

  constructor(
    tables: { readonly [F in Family]: FamilyTable },
    sets: AttributeSets,
    nextHops: NextHops,
    decision: Decision,
    pending: () => void,
    closed: () => void,
  ) {
    const { multipathEbgp, multipathIbgp } = decision.options;
    const allPaths = multipathEbgp > 1 || multipathIbgp > 1;
    this.families = [new FamilyFeed(tables[4], allPaths), new FamilyFeed(tables[6], allPaths)];
    this.sets = sets;
    this.nextHops = nextHops;
    this.decision = decision;
    this.pending = pending;
    this.closed = closed;
  }

  /** Tells the consumer once that there is something to take. */
  tell(): void {
    if (this.told || this.families.every((f) => f.dirty.size === 0)) return;
    this.told = true;
    this.pending();
  }

  resolutionsChanged(ids: ReadonlySet<number>): void {
    for (const { table, dirty } of this.families) {
      for (let index = 1; index < table.prefixes.top; index++) {
        const best = table.best[index]!;
        if (best !== 0 && ids.has(this.sets.nextHop[best]!)) dirty.add(index);
      }
    }
    this.tell();
  }

  take(limit: number): BestChange[] {
    const out: BestChange[] = [];
    for (const family of this.families) {
      while (out.length < limit && family.dirty.take(this.one) > 0) {
        const change = this.change(family, this.one[0]!);
        if (change) out.push(change);
      }
    }
    if (this.families.every((f) => f.dirty.size === 0)) this.told = false;
    return out;
  }

  private change(family: FamilyFeed, index: number): BestChange | undefined {
    const { table, given } = family;
    const best = table.best[index]!;
    const prefix = table.prefixes.text(index);
    if (best === 0) {
      return given.delete(index) ? { family: table.family, prefix, paths: [], stale: false } : undefined;
    }
    given.add(index);
    const chosen = this.decision.multipath(table.paths, table.head[index]!, best);
    const path = table.pathOf(index, this.sets.peer[best]!);
    return {
      family: table.family,
      prefix,
      paths: chosen.map((set) => {
        const hop = this.sets.nextHop[set]!;
        return {
          peer: this.sets.peer[set]! as PeerId,
          nextHop: this.nextHops.address(hop),
          resolution: this.nextHops.resolution(hop),
        };
      }),
      stale: path !== 0 && table.paths.stale[path] !== 0,
    };
  }

  close(): void {
    for (const family of this.families) {
      family.table.consumers.delete(family);
      family.table.holders.delete(family);
    }
    this.closed();
  }
}
