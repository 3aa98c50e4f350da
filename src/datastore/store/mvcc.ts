/**
 * Keys, values and their history: the multi-version map at the heart of the store. Every change of any key gets the next
 * revision; all changes of one transaction share it and are told apart by `sub`. Nothing here knows of disks, sockets or
 * clocks. Changes can be undone until they are committed, because writing them to disk may fail.
 *
 * A key is held as a string with one character (0 to 255) a byte: strings compare bytewise then, and hash as they are.
 */
import type { Revision } from '../datastore.ts';

export type Key = string & { readonly __brand: 'Key' };

/** One state of one key: a value, or (with `version` 0) its deletion. */
export interface Version {
  readonly key: Key;
  readonly revision: Revision;
  readonly sub: number;
  readonly createRevision: Revision;
  /** 1 for a key just created, counting up; 0 for a deletion. */
  readonly version: number;
  readonly value: Uint8Array;
  /** '0' for none. */
  readonly lease: string;
}

/** Keys from `key` to before `end`; just `key` when `end` is absent; all from `key` on when `end` is `null`. */
export interface KeyRange {
  readonly key: Key;
  readonly end: Key | null | undefined;
}

export const isDeletion = (version: Version): boolean => version.version === 0;
export const inRange = ({ key, end }: KeyRange, candidate: Key): boolean =>
  end === undefined ? candidate === key : candidate >= key && (end === null || candidate < end);

const NOTHING = new Uint8Array(0);

export class Mvcc {
  private readonly histories = new Map<Key, Version[]>();
  /** All keys of `histories`, in order. */
  private keys: Key[] = [];
  /** All versions of the revisions from `compacted` on, in order. */
  private log: Version[] = [];
  private current: Revision = 1;
  private oldest: Revision = -1;
  private uncommitted: Version[] = [];

  get revision(): Revision {
    return this.current;
  }

  /** History before this revision is gone; -1 when nothing was compacted yet. */
  get compacted(): Revision {
    return this.oldest;
  }

  /** Number of revisions that can be watched from. */
  get historyLength(): number {
    return this.log.length;
  }

  /** Takes what was on disk: all versions, in order. Returns what a compaction left behind there. */
  load(versions: Iterable<Version>, revision: Revision, compacted: Revision): Version[] {
    for (const version of versions) {
      const history = this.histories.get(version.key);
      if (history) history.push(version);
      else this.histories.set(version.key, [version]);
      this.log.push(version);
      this.current = version.revision;
    }
    this.keys = [...this.histories.keys()].sort();
    this.current = Math.max(this.current, revision, 1);
    return compacted >= 0 ? this.compact(compacted) : [];
  }

  /** The live versions in a range, in key order, as of a revision (of now, with what is uncommitted, by default). */
  *range(range: KeyRange, revision: Revision = Infinity): Generator<Version> {
    if (range.end === undefined) {
      const version = this.at(range.key, revision);
      if (version) yield version;
      return;
    }
    for (let i = this.position(range.key); i < this.keys.length; i++) {
      const key = this.keys[i]!;
      if (range.end !== null && key >= range.end) return;
      const version = this.at(key, revision);
      if (version) yield version;
    }
  }

  /** The live version of a key as of a revision. */
  at(key: Key, revision: Revision = Infinity): Version | undefined {
    const history = this.histories.get(key);
    if (!history) return undefined;
    let [low, high] = [0, history.length];
    if (history[high - 1]!.revision <= revision) low = high; // the usual question: what is it now
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (history[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    const version = history[low - 1];
    return version && !isDeletion(version) ? version : undefined;
  }

  /** What the key was before the revision of this version; undefined when it was not, or when that is compacted away. */
  before(version: Version): Version | undefined {
    return version.revision > this.oldest ? this.at(version.key, version.revision - 1) : undefined;
  }

  put(key: Key, value: Uint8Array, lease: string): Version {
    const before = this.at(key);
    const revision = this.current + 1;
    return this.append({
      key,
      value,
      lease,
      revision,
      sub: this.uncommitted.length,
      createRevision: before?.createRevision ?? revision,
      version: (before?.version ?? 0) + 1,
    });
  }

  /** Deletes a key that is live. */
  delete(key: Key): Version {
    const sub = this.uncommitted.length;
    const revision = this.current + 1;
    return this.append({ key, value: NOTHING, lease: '0', revision, sub, createRevision: 0, version: 0 });
  }

  /** Ends one transaction: its changes, if any, become the next revision. */
  commit(): readonly Version[] {
    const changes = this.uncommitted;
    if (changes.length > 0) this.current++;
    this.uncommitted = [];
    return changes;
  }

  /** Takes back what is uncommitted. */
  rollback(): readonly Version[] {
    const changes = this.uncommitted;
    this.uncommitted = [];
    this.remove(changes);
    return changes;
  }

  /** Takes back committed transactions, the newest first: they never reached the disk. */
  uncommit(changes: readonly Version[]): void {
    if (changes.length === 0) return;
    this.remove(changes);
    this.current--;
  }

  /** The revision of the `count`-th newest change. */
  revisionOfNewest(count: number): Revision {
    return this.log.at(-count)?.revision ?? this.oldest;
  }

  /** The changes of the revisions from `from` on, oldest first; `from` must not be before `compacted`. */
  *changesFrom(from: Revision): Generator<Version> {
    for (let i = this.logPosition(from); i < this.log.length; i++) yield this.log[i]!;
  }

  /**
   * Forgets history before `revision`, but not what is live then. Changes at `revision` itself, deletions too, stay
   * watchable. Returns the versions that are gone.
   */
  compact(revision: Revision): Version[] {
    const gone: Version[] = [];
    let emptied = false;
    // a key can only have lost something if it changed since the last compaction, or was deleted just then
    const touched = new Set(this.log.slice(0, this.logPosition(revision + 1)).map((version) => version.key));
    for (const key of touched) {
      const history = this.histories.get(key);
      if (!history) continue;
      let keep = history.length - 1;
      while (keep > 0 && history[keep]!.revision > revision) keep--;
      const first = history[keep]!;
      if (isDeletion(first) && first.revision < revision) keep++;
      for (const version of history.splice(0, keep)) gone.push(version);
      if (history.length === 0) {
        this.histories.delete(key);
        emptied = true;
      }
    }
    if (emptied) this.keys = this.keys.filter((key) => this.histories.has(key));
    this.log = this.log.slice(this.logPosition(revision));
    this.oldest = revision;
    return gone;
  }

  private append(version: Version): Version {
    const history = this.histories.get(version.key);
    if (history) history.push(version);
    else {
      this.histories.set(version.key, [version]);
      this.keys.splice(this.position(version.key), 0, version.key);
    }
    this.log.push(version);
    this.uncommitted.push(version);
    return version;
  }

  private remove(changes: readonly Version[]): void {
    for (let i = changes.length - 1; i >= 0; i--) {
      const version = changes[i]!;
      const history = this.histories.get(version.key);
      if (this.log.pop() !== version || history?.pop() !== version) throw new Error('changes undone out of order');
      if (history.length > 0) continue;
      this.histories.delete(version.key);
      this.keys.splice(this.position(version.key), 1);
    }
  }

  /** Index of the first key that is not before `key`. */
  private position(key: Key): number {
    let [low, high] = [0, this.keys.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Index of the first change that is not before `revision`. */
  private logPosition(revision: Revision): number {
    let [low, high] = [0, this.log.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.log[middle]!.revision < revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
