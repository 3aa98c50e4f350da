/**
 * The store's side of one watch stream, with any number of watches. Nothing is queued for a slow reader: each watch
 * knows the next revision it has to tell, and events are taken from history when the stream can take them. A watch that
 * falls behind the compaction is cancelled with the revision it may start from, as etcd does.
 */
import type { Revision } from '../datastore.ts';
import { watchFilter } from '../wire/messages.ts';
import * as m from '../wire/messages.ts';
import type { Decoded, Outgoing } from '../wire/protobuf.ts';
import type { Engine } from './engine.ts';
import { inRange, isDeletion } from './mvcc.ts';
import type { KeyRange, Version } from './mvcc.ts';
import { toKeyValue, toRange } from './values.ts';

type WatchResponse = Outgoing<typeof m.watchResponse>;

interface Watcher {
  readonly id: number;
  readonly range: KeyRange;
  readonly prevKv: boolean;
  readonly fragment: boolean;
  readonly puts: boolean;
  readonly deletes: boolean;
  readonly progress: boolean;
  /** All changes before this revision have been told. */
  next: Revision;
}

export interface WatchSink {
  /** False when the reader is behind: nothing more is sent until `pump` is called again. */
  send(response: WatchResponse): boolean;
}

/** A response is ended at this size (at a revision's end, or within one for watches that take fragments). */
const MAX_RESPONSE = 1024 * 1024;
const PROGRESS_WATCH_ID = -1;
const PROGRESS_EVERY_MS = 600_000;

export class WatchStream implements Disposable {
  private readonly engine: Engine;
  private readonly sink: WatchSink;
  private readonly watchers = new Map<number, Watcher>();
  private readonly subscription: Disposable;
  private readonly progressTimer: Timer;
  private blocked = false;
  private progressWanted = 0;
  private nextId = 0;

  constructor(engine: Engine, sink: WatchSink) {
    this.engine = engine;
    this.sink = sink;
    this.subscription = engine.subscribe(() => this.pump());
    this.progressTimer = setInterval(() => this.tellProgress(), PROGRESS_EVERY_MS);
    this.progressTimer.unref();
  }

  take({ create, cancel, progress }: Decoded<typeof m.watchRequest>): void {
    if (create) this.create(create);
    else if (cancel && this.watchers.delete(cancel.watchId)) this.send({ watchId: cancel.watchId, canceled: true });
    else if (progress) this.progressWanted++;
    this.pump();
  }

  /** The reader can take more. */
  drained(): void {
    this.blocked = false;
    this.pump();
  }

  [Symbol.dispose](): void {
    this.subscription[Symbol.dispose]();
    clearInterval(this.progressTimer);
    this.watchers.clear();
  }

  private create(request: m.WatchCreateRequest): void {
    // no key means the first key there can be
    const range = toRange(request.key.length === 0 ? new Uint8Array(1) : request.key, request.rangeEnd);
    const refused = (reason: string) =>
      void this.send({ watchId: PROGRESS_WATCH_ID, created: true, canceled: true, cancelReason: reason });
    if (range.end !== undefined && range.end !== null && range.key >= range.end) {
      return refused('mvcc: watcher range is empty');
    }
    if (request.watchId !== 0 && this.watchers.has(request.watchId)) {
      return refused('mvcc: duplicate watch ID provided on the WatchStream');
    }
    while (request.watchId === 0 && this.watchers.has(this.nextId)) this.nextId++;
    const id = request.watchId === 0 ? this.nextId++ : request.watchId;
    const { filters, startRevision } = request;
    this.watchers.set(id, {
      id,
      range,
      prevKv: request.prevKv,
      fragment: request.fragment,
      puts: !filters.includes(watchFilter.noPut),
      deletes: !filters.includes(watchFilter.noDelete),
      progress: request.progressNotify,
      next: startRevision > 0 ? startRevision : this.engine.header.revision + 1,
    });
    this.send({ watchId: id, created: true });
  }

  private send(response: WatchResponse): boolean {
    this.blocked = !this.sink.send({ header: this.engine.header, ...response }) || this.blocked;
    return !this.blocked;
  }

  private pump(): void {
    for (const watcher of this.watchers.values()) {
      if (this.blocked) return;
      this.tell(watcher);
    }
    // only now: the answer says that everything up to its revision has been told
    for (; this.progressWanted > 0 && !this.blocked; this.progressWanted--) this.send({ watchId: PROGRESS_WATCH_ID });
  }

  private tellProgress(): void {
    if (this.blocked) return;
    for (const { id, progress } of this.watchers.values()) if (progress) this.send({ watchId: id });
  }

  private tell(watcher: Watcher): void {
    const { mvcc } = this.engine.state;
    if (watcher.next < mvcc.compacted) {
      this.watchers.delete(watcher.id);
      this.send({ watchId: watcher.id, canceled: true, compactRevision: mvcc.compacted });
      return;
    }
    if (watcher.next > mvcc.revision) return;
    const { revision } = mvcc;
    let events: Outgoing<typeof m.event>[] = [];
    let size = 0;
    let last: Revision = 0;
    for (const version of mvcc.changesFrom(watcher.next)) {
      if (!this.concerns(watcher, version)) continue;
      const full = size >= MAX_RESPONSE;
      const within = version.revision === last;
      if (full && (!within || watcher.fragment)) {
        // with more to come the header must not claim the revision of what was not told yet
        const header = { ...this.engine.header, revision: last };
        const ready = this.send({ header, watchId: watcher.id, events, fragment: within });
        if (!within) watcher.next = last + 1;
        // the rest of a fragmented revision follows even to a slow reader: it cannot be resumed in the middle
        if (!ready && !within) return;
        [events, size] = [[], 0];
      }
      const event = this.toEvent(watcher, version);
      events.push(event);
      size += version.key.length + version.value.length + (event.prevKv?.value?.length ?? 0) + 64;
      last = version.revision;
    }
    watcher.next = revision + 1;
    if (events.length > 0) this.send({ watchId: watcher.id, events });
  }

  private concerns(watcher: Watcher, version: Version): boolean {
    if (!(isDeletion(version) ? watcher.deletes : watcher.puts)) return false;
    return inRange(watcher.range, version.key);
  }

  private toEvent(watcher: Watcher, version: Version): Outgoing<typeof m.event> {
    const before = watcher.prevKv ? this.engine.state.mvcc.before(version) : undefined;
    const prevKv = before && toKeyValue(before);
    if (!isDeletion(version)) return { type: m.eventType.put, kv: toKeyValue(version), prevKv };
    // a deletion carries the key and the revision, nothing else
    const { key, modRevision } = toKeyValue(version, false);
    return { type: m.eventType.delete, kv: { key, modRevision }, prevKv };
  }
}
