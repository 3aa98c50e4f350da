/**
 * The tables of one address family: its prefixes, the paths of each (Adj-RIB-In of all neighbours in one), and the best
 * path of each (Loc-RIB). Input only edits the lists and marks the prefix; `decide` works the marks off in batches and
 * tells the consumers (update groups, feeds) which prefixes have another best path.
 */
import type { Family } from '../../net/mod.ts';
import type { PrefixBuffer } from '../wire/mod.ts';
import { firstCapacity, longer32 } from './columns.ts';
import type { Decision } from './decide.ts';
import { DirtySet } from './dirty.ts';
import { PathPool } from './paths.ts';
import { PrefixTable } from './prefixes.ts';
import type { AttributeSets } from './sets.ts';

/** Something that remembers prefixes by their index. */
export interface IndexHolder {
  /**
   * Of the first `count` indexes, whose prefixes have no path left, moves those it does not need to the front and gives
   * their number; the others go into `needed`.
   */
  sift(indexes: Uint32Array, count: number, needed: DirtySet): number;
  /** These are about to be used for other prefixes. */
  forget(indexes: Uint32Array, count: number): void;
}

/** Something that follows the best paths. */
export interface BestConsumer {
  /** Prefixes whose best path changed since the consumer looked. */
  readonly dirty: DirtySet;
  /** Also wants prefixes whose other paths changed (multipath). */
  readonly allPaths: boolean;
}

const batchSize = 65536;

export class FamilyTable {
  readonly family: Family;
  readonly prefixes: PrefixTable;
  readonly paths: PathPool;
  /** By prefix index: the first path; and the accepted set of the best one, 0 for none. */
  head: Uint32Array;
  best: Uint32Array;
  /** Prefixes whose paths changed and that were not decided since. */
  readonly dirty = new DirtySet();
  readonly consumers = new Set<BestConsumer>();
  readonly holders = new Set<IndexHolder>();
  /** By peer id: prefixes received, accepted, stale. */
  received = new Uint32Array(16);
  accepted = new Uint32Array(16);
  stale = new Uint32Array(16);
  private readonly sets: AttributeSets;
  private readonly decision: Decision;
  /** Prefixes without paths, whose index can be given up once nobody needs it. */
  private readonly emptied = new DirtySet();
  private reclaimAt = 0;
  private readonly batch = new Uint32Array(batchSize);

  constructor(family: Family, seed: number, sets: AttributeSets, decision: Decision) {
    this.family = family;
    this.prefixes = new PrefixTable(family, seed);
    this.paths = new PathPool(firstCapacity[family]);
    this.head = new Uint32Array(this.prefixes.capacity);
    this.best = new Uint32Array(this.prefixes.capacity);
    this.sets = sets;
    this.decision = decision;
  }

  get bytes(): number {
    return this.prefixes.bytes + this.paths.bytes + this.head.byteLength + this.best.byteLength + this.dirty.bytes;
  }

  ensurePeer(peer: number): void {
    while (peer >= this.received.length) {
      const length = this.received.length * 2;
      this.received = longer32(this.received, length);
      this.accepted = longer32(this.accepted, length);
      this.stale = longer32(this.stale, length);
    }
  }

  /** The index of the prefix at `i` of the buffer, made if need be, with room in all tables. */
  private index(buffer: PrefixBuffer, i: number): number {
    const { words } = buffer;
    const index =
      this.prefixes.words === 1
        ? this.prefixes.insert(words[i]!, 0, 0, 0, buffer.lengths[i]!)
        : this.prefixes.insert(
            words[4 * i]!,
            words[4 * i + 1]!,
            words[4 * i + 2]!,
            words[4 * i + 3]!,
            buffer.lengths[i]!,
          );
    if (index >= this.head.length) this.grow();
    return index;
  }

  /** As `PrefixTable.insertText`, with room in all tables. */
  insertIndex(insert: (prefixes: PrefixTable) => number): number {
    const index = insert(this.prefixes);
    if (index >= this.head.length) this.grow();
    if (this.head[index] === 0) this.emptied.add(index);
    return index;
  }

  /** The peer announces these prefixes with one attribute set, of which the policy made `accepted` (0: nothing). */
  announce(peer: number, received: number, accepted: number, buffer: PrefixBuffer): void {
    this.prefixes.touch(buffer);
    for (let i = 0; i < buffer.count; i++) this.setPath(this.index(buffer, i), peer, received, accepted);
  }

  /** The same where the policy looks at prefixes. */
  announceEach(peer: number, received: number, buffer: PrefixBuffer, accept: (index: number) => number): void {
    for (let i = 0; i < buffer.count; i++) {
      const index = this.index(buffer, i);
      this.setPath(index, peer, received, accept(index));
    }
  }

  /** The peer's path of this prefix has these attributes from now on. */
  setPath(index: number, peer: number, received: number, accepted: number): void {
    const { paths, sets } = this;
    const { refs } = sets.pool;
    let path = this.head[index]!;
    while (path !== 0 && paths.peer[path] !== peer) path = paths.next[path]!;
    if (path === 0) {
      path = paths.alloc();
      paths.peer[path] = peer;
      paths.stale[path] = 0;
      paths.next[path] = this.head[index]!;
      this.head[index] = path;
      this.received[peer]!++;
      refs[received]!++;
      if (accepted !== 0) refs[accepted]!++;
    } else {
      if (paths.stale[path] !== 0) {
        paths.stale[path] = 0;
        this.stale[peer]!--;
      }
      const oldReceived = paths.received[path]!;
      const oldAccepted = paths.accepted[path]!;
      if (oldReceived === received && oldAccepted === accepted) return;
      // the new references come first: the old and the new may be the same set
      refs[received]!++;
      if (accepted !== 0) refs[accepted]!++;
      sets.release(oldReceived);
      if (oldAccepted !== 0) {
        sets.release(oldAccepted);
        this.accepted[peer]!--;
      }
    }
    if (accepted !== 0) this.accepted[peer]!++;
    paths.received[path] = received;
    paths.accepted[path] = accepted;
    this.dirty.add(index);
  }

  /** The peer withdraws these prefixes. */
  withdraw(peer: number, buffer: PrefixBuffer): void {
    const { words, lengths } = buffer;
    const { prefixes } = this;
    prefixes.touch(buffer);
    for (let i = 0; i < buffer.count; i++) {
      const index =
        prefixes.words === 1
          ? prefixes.find(words[i]!, 0, 0, 0, lengths[i]!)
          : prefixes.find(words[4 * i]!, words[4 * i + 1]!, words[4 * i + 2]!, words[4 * i + 3]!, lengths[i]!);
      if (index !== 0) this.dropPath(index, peer);
    }
  }

  dropPath(index: number, peer: number): boolean {
    const { paths } = this;
    let before = 0;
    for (let path = this.head[index]!; path !== 0; path = paths.next[path]!) {
      if (paths.peer[path] === peer) {
        this.unlink(index, before, path);
        return true;
      }
      before = path;
    }
    return false;
  }

  private unlink(index: number, before: number, path: number): void {
    const { paths, sets } = this;
    const peer = paths.peer[path]!;
    const next = paths.next[path]!;
    if (before === 0) this.head[index] = next;
    else paths.next[before] = next;
    sets.release(paths.received[path]!);
    const accepted = paths.accepted[path]!;
    if (accepted !== 0) {
      sets.release(accepted);
      this.accepted[peer]!--;
    }
    if (paths.stale[path] !== 0) this.stale[peer]!--;
    this.received[peer]!--;
    paths.release(path);
    this.dirty.add(index);
  }

  /** Drops the peer's paths, or only its stale ones; returns how many. */
  dropAll(peer: number, staleOnly: boolean): number {
    const count = staleOnly ? this.stale[peer]! : this.received[peer]!;
    if (count > 0) this.dropBetween(peer, staleOnly, 1, this.prefixes.top);
    return count;
  }

  /** The same for prefixes with an index in `[from, to)`. */
  dropBetween(peer: number, staleOnly: boolean, from: number, to: number): void {
    const { paths } = this;
    let left = staleOnly ? this.stale[peer]! : this.received[peer]!;
    for (let index = from; index < to && left > 0; index++) {
      let before = 0;
      // a freed index has no paths
      for (let path = this.head[index]!; path !== 0; path = paths.next[path]!) {
        if (paths.peer[path] === peer) {
          if (!staleOnly || paths.stale[path] !== 0) {
            this.unlink(index, before, path);
            left--;
          }
          break;
        }
        before = path;
      }
    }
  }

  markStale(peer: number): void {
    const { paths } = this;
    let left = this.received[peer]!;
    for (let index = 1; index < this.prefixes.top && left > 0; index++) {
      const path = this.pathOf(index, peer);
      if (path === 0) continue;
      left--;
      if (paths.stale[path] === 0) {
        paths.stale[path] = 1;
        this.stale[peer]!++;
      }
    }
  }

  pathOf(index: number, peer: number): number {
    let path = this.head[index]!;
    while (path !== 0 && this.paths.peer[path] !== peer) path = this.paths.next[path]!;
    return path;
  }

  /** Sets the outcome of the import policy of the peer's paths anew, for prefixes with an index in `[from, to)`. */
  reaccept(peer: number, from: number, to: number, accept: (received: number, index: number) => number): void {
    const { paths, sets } = this;
    for (let index = from; index < to; index++) {
      const path = this.pathOf(index, peer);
      if (path === 0) continue;
      const before = paths.accepted[path]!;
      const now = accept(paths.received[path]!, index);
      // also where the set is the same: what the decision compares may have changed
      this.dirty.add(index);
      if (now === before) continue;
      if (now !== 0) {
        sets.retain(now);
        this.accepted[peer]!++;
      }
      if (before !== 0) {
        sets.release(before);
        this.accepted[peer]!--;
      }
      paths.accepted[path] = now;
    }
  }

  /** Decides again every prefix with a path for which `concerned` holds. */
  markWhere(concerned: (path: number) => boolean): void {
    for (let index = 1; index < this.prefixes.top; index++) {
      for (let path = this.head[index]!; path !== 0; path = this.paths.next[path]!) {
        if (!concerned(path)) continue;
        this.dirty.add(index);
        break;
      }
    }
  }

  /** Works off one batch of marks. */
  decide(): void {
    const { batch, head, best } = this;
    const n = this.dirty.take(batch);
    for (const { allPaths, dirty } of this.consumers) {
      if (allPaths) for (let i = 0; i < n; i++) dirty.add(batch[i]!);
    }
    let changed = 0;
    for (let i = 0; i < n; i++) {
      const index = batch[i]!;
      const first = head[index]!;
      const now = this.decision.best(this.paths, first, best[index]!);
      if (first === 0) this.emptied.add(index);
      if (now === best[index]) continue;
      best[index] = now;
      batch[changed++] = index;
    }
    for (const { allPaths, dirty } of this.consumers) {
      if (!allPaths) for (let i = 0; i < changed; i++) dirty.add(batch[i]!);
    }
  }

  /**
   * Gives up the indexes of prefixes that nobody holds, announces or has to hear of any more. To be called when the
   * consumers have done what they can; looking at each costs something, so those that are still needed wait until as many
   * again have come.
   */
  reclaim(): void {
    const { emptied } = this;
    if (emptied.size === 0 || emptied.size < this.reclaimAt || this.dirty.size > 0) return;
    const candidates = new Uint32Array(emptied.size);
    let n = 0;
    for (let count = emptied.take(this.batch); count > 0; count = emptied.take(this.batch)) {
      candidates.set(this.batch.subarray(0, count), n);
      n += count;
    }
    let freed = 0;
    for (let i = 0; i < n; i++) if (this.head[candidates[i]!] === 0) candidates[freed++] = candidates[i]!;
    for (const holder of this.holders) freed = holder.sift(candidates, freed, emptied);
    this.reclaimAt = emptied.size * 2;
    for (const holder of this.holders) holder.forget(candidates, freed);
    this.prefixes.removeMany(candidates, freed);
  }

  /** Marks everything that has a best path, for a consumer that starts. */
  markAll(dirty: DirtySet): void {
    for (let index = 1; index < this.prefixes.top; index++) if (this.best[index] !== 0) dirty.add(index);
  }

  private grow(): void {
    this.head = longer32(this.head, this.prefixes.capacity);
    this.best = longer32(this.best, this.prefixes.capacity);
  }
}
