/**
 * What the gateways are to be told, kept up to date from the facts: each node's prefixes and the aggregates made of them.
 * Only what a fact may have changed is decided again. Pure.
 */
import { TextMap } from '../base/mod.ts';
import { prefixCovers } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { Aggregator } from './aggregate.ts';
import { decide, sameAnnouncement } from './announce.ts';
import type { AnnounceOptions, Announcement, Announcements, LeftOut } from './announce.ts';
import type { FactTable } from './facts.ts';

type Changed = Map<Prefix, Announcement | undefined>;

export class Plan {
  private readonly facts: FactTable;
  private readonly announcements = new TextMap<Prefix, Announcement>();
  private readonly notAnnounced = new Map<Prefix, readonly LeftOut[]>();
  private options: AnnounceOptions;
  private pools: readonly Prefix[] = [];
  private aggregator: Aggregator;

  constructor(facts: FactTable, options: AnnounceOptions) {
    this.facts = facts;
    this.options = options;
    this.aggregator = new Aggregator(options.aggregate, []);
  }

  get wanted(): Announcements {
    return this.announcements;
  }

  get leftOut(): readonly LeftOut[] {
    return [...this.notAnnounced.values()].flat();
  }

  /** Other rules: everything is decided anew at the next refresh. */
  apply(options: AnnounceOptions): void {
    this.options = options;
    this.pools = [];
    this.facts.touchAll();
  }

  /** Takes in what the facts have become; gives the prefixes whose announcement is new, different or gone, with the one before. */
  refresh(): ReadonlyMap<Prefix, Announcement | undefined> {
    const { facts, options } = this;
    const changed: Changed = new Map();
    this.newPools(changed);
    for (const prefix of facts.takeDirty()) {
      const { announcement, leftOut } = decide(prefix, facts, options);
      if (leftOut.length > 0) this.notAnnounced.set(prefix, leftOut);
      else this.notAnnounced.delete(prefix);
      this.aggregator.set(prefix, announcement && facts.nodeOf(announcement.node)?.labels);
      this.put(prefix, announcement, changed);
    }
    const { aggregates, touched } = this.aggregator.take();
    for (const [prefix, announcement] of aggregates) {
      // what a node owns as a whole is announced as the node's
      if (this.announcements.get(prefix)?.aggregate !== false) this.put(prefix, announcement, changed);
    }
    for (const prefix of touched) this.put(prefix, this.announcements.get(prefix), changed);
    return changed;
  }

  /** Aggregates are made within pools: other pools, other aggregates. */
  private newPools(changed: Changed): void {
    const { within } = this.options;
    const inside = this.facts.pools.filter((pool) => within.some((outer) => prefixCovers(outer, pool)));
    const pools = [...new Set([...within, ...inside])];
    if (Bun.deepEquals(pools, this.pools)) return;
    for (const prefix of this.aggregator.all()) this.put(prefix, undefined, changed);
    this.pools = pools;
    this.aggregator = new Aggregator(this.options.aggregate, pools);
    this.facts.touchAll();
  }

  private put(prefix: Prefix, announcement: Announcement | undefined, changed: Changed): void {
    const before = this.announcements.get(prefix);
    const covered = announcement?.aggregate === false && this.aggregator.covers(prefix);
    const now = announcement && announcement.covered !== covered ? { ...announcement, covered } : announcement;
    if (sameAnnouncement(before, now)) {
      // a claim that moved between names of one address
      if (now && before?.node !== now.node) this.announcements.set(prefix, now);
      return;
    }
    if (now) this.announcements.set(prefix, now);
    else this.announcements.delete(prefix);
    // twice when pools change: the first is what was announced
    if (!changed.has(prefix)) changed.set(prefix, before);
  }
}
