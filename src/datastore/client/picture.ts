/**
 * What a follower has told so far, and what a new list or event adds to it: the pure half of `follow`.
 *
 * Each key has the revision it was last told at. Nothing older than that is ever told, whatever order events and lists
 * come in; a deleted key keeps its revision until the next list, which settles it. An event that is out of order, or
 * that skips a version of its key, is applied if it is new, and reported as `suspect`: the watch lost or shuffled
 * something, so the caller lists again.
 */
import { TextMap } from '../../base/mod.ts';
import type { KeyValue, Revision, Update, WatchEvent } from '../datastore.ts';

interface Told {
  readonly modRevision: Revision;
  /** 0 for a deleted key. */
  readonly version: number;
  /** The last list that it was in. */
  listing: number;
}

export class Picture {
  private readonly told = new TextMap<string, Told>();
  private listing = 0;
  private deleted = new Map<string, Revision>();
  private listed: Revision = 0;
  private newest: Revision;

  /** `since`: what was seen before this picture was begun. */
  constructor(since: Revision = 0) {
    this.newest = since;
  }

  /** The newest revision of anything seen. A list from before it comes from a stale replica, or a restored store. */
  get revision(): Revision {
    return this.newest;
  }

  /** Takes a complete list; gives the differences. The list may have been made while events went on coming. */
  list(kvs: readonly KeyValue[], revision: Revision): Update[] {
    this.beginList();
    return [...this.page(kvs), ...this.endOfList(revision)];
  }

  /** A list comes in pages; one that was begun before and did not come to its end counts for nothing. */
  beginList(): void {
    this.listing++;
  }

  /** Takes a part of a list; gives what is new. */
  page(kvs: readonly KeyValue[]): Update[] {
    const updates: Update[] = [];
    for (const kv of kvs) {
      const before = this.told.get(kv.key);
      if (before) before.listing = this.listing;
      if (kv.modRevision > this.revisionOf(kv.key)) updates.push(this.put(kv));
    }
    return updates;
  }

  /** The list is complete: what was not in it is gone. */
  endOfList(revision: Revision): Update[] {
    const updates: Update[] = [];
    for (const [key, { modRevision, listing }] of this.told) {
      if (listing !== this.listing && modRevision <= revision) {
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
    for (const key of this.told.keys()) this.told.set(key, { modRevision: 0, version: 0, listing: 0 });
    this.deleted.clear();
    this.listed = 0;
    this.newest = 0;
  }

  private revisionOf(key: string): Revision {
    return this.told.get(key)?.modRevision ?? this.deleted.get(key) ?? 0;
  }

  private put(kv: KeyValue): Update {
    const { modRevision, version } = kv;
    this.told.set(kv.key, { modRevision, version, listing: this.listing });
    this.deleted.delete(kv.key);
    this.newest = Math.max(this.newest, kv.modRevision);
    return { type: 'put', kv };
  }
}
