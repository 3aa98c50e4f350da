/**
 * What a follower has told so far, and what a new list or event adds to it: the pure half of `follow`.
 *
 * Each key has the revision it was last told at. Nothing older than that is ever told, whatever order events and lists
 * come in; a deleted key keeps its revision until the next list, which settles it. An event that is out of order, or
 * that skips a version of its key, is applied if it is new, and reported as `suspect`: the watch lost or shuffled
 * something, so the caller lists again.
 */
import type { KeyValue, Revision, Update, WatchEvent } from '../datastore.ts';

interface Told {
  readonly modRevision: Revision;
  /** 0 for a deleted key. */
  readonly version: number;
}

export class Picture {
  private told = new Map<string, Told>();
  private deleted = new Map<string, Revision>();
  private listed: Revision = 0;
  private newest: Revision = 0;

  /** The newest revision of anything seen. A list from before it comes from a stale replica, or a restored store. */
  get revision(): Revision {
    return this.newest;
  }

  /** Takes a complete list; gives the differences. The list may have been made while events went on coming. */
  list(kvs: readonly KeyValue[], revision: Revision): Update[] {
    const present = new Set<string>();
    return [...this.page(kvs, present), ...this.endOfList(present, revision)];
  }

  /** Takes a part of a list, and adds its keys to `present`; gives what is new. */
  page(kvs: readonly KeyValue[], present: Set<string>): Update[] {
    const updates: Update[] = [];
    for (const kv of kvs) {
      present.add(kv.key);
      if (kv.modRevision > this.revisionOf(kv.key)) updates.push(this.put(kv));
    }
    return updates;
  }

  /** The list is complete: what was not in it is gone. */
  endOfList(present: ReadonlySet<string>, revision: Revision): Update[] {
    const updates: Update[] = [];
    for (const [key, { modRevision }] of this.told) {
      if (!present.has(key) && modRevision <= revision) {
        this.told.delete(key);
        updates.push({ type: 'delete', key });
      }
    }
    for (const [key, deletedAt] of this.deleted) if (deletedAt <= revision) this.deleted.delete(key);
    this.listed = Math.max(this.listed, revision);
    this.newest = Math.max(this.newest, revision);
    return updates;
  }

  event(event: WatchEvent): { readonly update: Update | undefined; readonly suspect: boolean } {
    const key = event.type === 'put' ? event.kv.key : event.key;
    const modRevision = event.type === 'put' ? event.kv.modRevision : event.modRevision;
    const suspect = modRevision < this.newest && modRevision > this.listed;
    this.newest = Math.max(this.newest, modRevision);
    if (modRevision <= Math.max(this.listed, this.revisionOf(key))) return { update: undefined, suspect };
    const before = this.told.get(key);
    if (event.type === 'put') {
      const skipped = event.kv.version > 1 && event.kv.version !== (before?.version ?? 0) + 1;
      return { update: this.put(event.kv), suspect: suspect || skipped };
    }
    this.deleted.set(key, modRevision);
    const known = this.told.delete(key);
    return { update: known ? { type: 'delete', key } : undefined, suspect: suspect || !known };
  }

  /** Forgets all revisions but not the keys: the next list is the truth even though its revisions are lower. */
  distrustRevisions(): void {
    for (const key of this.told.keys()) this.told.set(key, { modRevision: 0, version: 0 });
    this.deleted.clear();
    this.listed = 0;
    this.newest = 0;
  }

  private revisionOf(key: string): Revision {
    return this.told.get(key)?.modRevision ?? this.deleted.get(key) ?? 0;
  }

  private put(kv: KeyValue): Update {
    this.told.set(kv.key, { modRevision: kv.modRevision, version: kv.version });
    this.deleted.delete(kv.key);
    this.newest = Math.max(this.newest, kv.modRevision);
    return { type: 'put', kv };
  }
}
