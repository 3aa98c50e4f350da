/**
 * A transaction in the making: changes on top of what the cache says, and the conditions under which they are right.
 * Everything that was looked at becomes a condition. Planning asks `block` and `handle`; what is not known is noted in
 * `needs`, to be read before planning again.
 */
import type { Compare, Operation, Transaction, TransactionResult } from '../../datastore/mod.ts';
import { resourceKey } from '../../model/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import { encodeBlock } from './block.ts';
import type { Block } from './block.ts';
import type { Cache } from './cache.ts';
import { affinityKey, blockKey, CONFIG_KEY, handleKey } from './keys.ts';
import type { Owner } from './keys.ts';
import { collectCooled, isEmpty, written } from './operations.ts';
import { encodeAffinity, encodeHandle } from './records.ts';
import type { HandleCounts } from './records.ts';
import type { IpamSettings, Pool } from './settings.ts';

interface Changes {
  readonly blocks: Map<Prefix, Block | undefined>;
  /** Own affinities: confirmed, or gone. */
  readonly affinities: Map<Prefix, 'confirmed' | undefined>;
  readonly handles: Map<string, HandleCounts>;
  readonly pools: Set<Pool>;
  /** Affinities of others that go with the block taken from them. */
  readonly taken: Map<string, number>;
}

export class Draft {
  readonly needs = new Set<string>();
  readonly settings: IpamSettings;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly owner: Owner;
  private readonly cache: Cache;
  private changes: Changes = {
    blocks: new Map(),
    affinities: new Map(),
    handles: new Map(),
    pools: new Set(),
    taken: new Map(),
  };
  /** Looked at, changed or not. */
  private readonly seenBlocks = new Set<Prefix>();
  private readonly seenHandles = new Set<string>();
  private readonly absent = new Set<string>();

  constructor(cache: Cache, settings: IpamSettings, now: number) {
    this.cache = cache;
    this.owner = cache.owner;
    this.settings = settings;
    this.now = now;
  }

  get cooldownSeconds(): number {
    return this.settings.config.ipCooldownSeconds;
  }

  /** 'unknown' is noted as a need; 'broken' stays as it is. */
  block(cidr: Prefix): Block | 'unknown' | 'absent' | 'broken' {
    if (this.changes.blocks.has(cidr)) return this.changes.blocks.get(cidr) ?? 'absent';
    const seen = this.cache.blocks.get(cidr);
    if (!seen) {
      this.needs.add(blockKey(cidr));
      return 'unknown';
    }
    this.seenBlocks.add(cidr);
    if (seen.fault !== undefined) return 'broken';
    return seen.block ? collectCooled(seen.block, this.cooldownSeconds, this.now) : 'absent';
  }

  setBlock(cidr: Prefix, block: Block): void {
    this.changes.blocks.set(cidr, block);
  }

  /** Writes the block after addresses were taken back; a block that is empty and nobody's goes. */
  setReleased(cidr: Prefix, block: Block): void {
    this.changes.blocks.set(cidr, isEmpty(block) && block.affinity === undefined ? undefined : block);
  }

  /** The handle as it will be. With `assumeAbsent`, one that was never seen counts as new: true but for repeated requests. */
  handle(handle: string, assumeAbsent: boolean): HandleCounts | 'unknown' {
    const changed = this.changes.handles.get(handle);
    if (changed) return changed;
    const seen = this.cache.handles.get(handle);
    if (!seen && (!assumeAbsent || this.cache.unsure.has(handle))) {
      this.needs.add(handleKey(handle));
      return 'unknown';
    }
    this.seenHandles.add(handle);
    return seen?.counts ?? new Map<Prefix, number>();
  }

  setHandle(handle: string, counts: HandleCounts): void {
    this.changes.handles.set(handle, counts);
  }

  confirmAffinity(cidr: Prefix): void {
    this.changes.affinities.set(cidr, 'confirmed');
  }

  dropAffinity(cidr: Prefix): void {
    this.changes.affinities.set(cidr, undefined);
  }

  isDropped(cidr: Prefix): boolean {
    return this.changes.affinities.has(cidr) && this.changes.affinities.get(cidr) === undefined;
  }

  /** Another's affinity that goes, if it still has this revision. */
  takeFrom(key: string, revision: number): void {
    this.changes.taken.set(key, revision);
  }

  /** A condition on a key that is none of IPAM's. */
  requireAbsent(key: string): void {
    this.absent.add(key);
  }

  /** Whether a key that had to be absent turned out not to be. */
  isPresent(key: string): boolean {
    return this.cache.present.has(key);
  }

  usePool(pool: Pool): void {
    this.changes.pools.add(pool);
  }

  /** Where to come back to when a request turns out not to fit. */
  mark(): Changes {
    const { blocks, affinities, handles, pools, taken } = this.changes;
    return {
      blocks: new Map(blocks),
      affinities: new Map(affinities),
      handles: new Map(handles),
      pools: new Set(pools),
      taken: new Map(taken),
    };
  }

  restore(changes: Changes): void {
    this.changes = changes;
  }

  /** Whether the transaction would write anything. Without changes it proves that what was seen is still so. */
  get changesNothing(): boolean {
    const { blocks, affinities, handles } = this.changes;
    return blocks.size + affinities.size + handles.size === 0;
  }

  /** Whether more would near etcd's limit on the operations of one transaction. */
  get isFull(): boolean {
    const { blocks, affinities, handles } = this.changes;
    return 2 * (blocks.size + this.seenBlocks.size) + affinities.size + handles.size + this.seenHandles.size > 90;
  }

  /** All keys the transaction is about, with the revisions they were seen at. */
  seen(): ReadonlyMap<string, number> {
    const { blocks, affinities, handles } = this.changes;
    const revisions = new Map<string, number>();
    for (const cidr of new Set([...blocks.keys(), ...this.seenBlocks])) {
      revisions.set(blockKey(cidr), this.cache.blocks.get(cidr)?.revision ?? 0);
      const own = this.cache.affinities.get(cidr);
      if (own && blocks.has(cidr)) revisions.set(affinityKey(this.owner, cidr), own.revision);
    }
    for (const cidr of affinities.keys())
      revisions.set(affinityKey(this.owner, cidr), this.cache.affinities.get(cidr)?.revision ?? 0);
    for (const handle of new Set([...handles.keys(), ...this.seenHandles]))
      revisions.set(handleKey(handle), this.cache.handles.get(handle)?.revision ?? 0);
    return revisions;
  }

  transaction(): Transaction {
    const { blocks, affinities, handles, pools, taken } = this.changes;
    const conditions: Compare[] = [...this.seen()].map(([key, modRevision]) => ({ key, modRevision }));
    for (const [key, modRevision] of taken) conditions.push({ key, modRevision });
    for (const key of this.absent) conditions.push({ key, modRevision: 0 });
    const operations: Operation[] = [];
    const change = (key: string, value: string | undefined) =>
      operations.push(value === undefined ? { op: 'delete', key } : { op: 'put', key, value });
    for (const [cidr, block] of blocks) change(blockKey(cidr), block && encodeBlock(written(block)));
    for (const [cidr, state] of affinities) change(affinityKey(this.owner, cidr), state && encodeAffinity(state));
    for (const [handle, counts] of handles)
      change(handleKey(handle), counts.size === 0 ? undefined : encodeHandle(counts));
    for (const key of taken.keys()) change(key, undefined);
    if (pools.size > 0) {
      // a pool that was disabled, or a rule that was changed, while we were planning counts
      conditions.push({ key: CONFIG_KEY, modRevision: this.settings.configRevision });
      for (const pool of pools) conditions.push({ key: resourceKey('IPPool', pool.name), modRevision: pool.revision });
    }
    return { if: conditions, do: operations, else: this.reread().map((key) => ({ op: 'get', key })) };
  }

  /** What to look at again when a condition did not hold: the keys, then the settings'. */
  private reread(): string[] {
    const { pools } = this.changes;
    return [
      ...this.seen().keys(),
      ...this.absent,
      ...(pools.size > 0 ? [CONFIG_KEY, ...[...pools].map((p) => resourceKey('IPPool', p.name))] : []),
    ];
  }

  /** Takes the answer into the cache; true when the settings turned out to be old. */
  settle(result: TransactionResult): boolean {
    if (result.succeeded) {
      this.remember(result.revision);
      return false;
    }
    let settingsOld = false;
    const own = this.seen();
    const keys = this.reread();
    for (const [i, key] of keys.entries()) {
      const kv = result.gets[i]?.[0];
      if (own.has(key)) this.cache.absorb(key, kv);
      else if (this.absent.has(key)) {
        if (kv) this.cache.present.add(key);
      } else if ((kv?.modRevision ?? 0) !== this.settingRevision(key)) settingsOld = true;
    }
    return settingsOld;
  }

  private remember(revision: number): void {
    const { blocks, affinities, handles } = this.changes;
    for (const [cidr, block] of blocks) {
      if (block) this.cache.blocks.set(cidr, { block: written(block), revision });
      else this.cache.blocks.set(cidr, { block: undefined, revision: 0 });
    }
    for (const [cidr, state] of affinities) {
      if (state) this.cache.affinities.set(cidr, { state, revision });
      else this.cache.affinities.delete(cidr);
    }
    for (const [handle, counts] of handles) {
      if (counts.size > 0) this.cache.handles.set(handle, { counts, revision });
      else this.cache.handles.delete(handle);
    }
  }

  private settingRevision(key: string): number {
    if (key === CONFIG_KEY) return this.settings.configRevision;
    for (const pool of this.changes.pools) if (resourceKey('IPPool', pool.name) === key) return pool.revision;
    return 0;
  }
}
