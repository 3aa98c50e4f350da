/**
 * List, then watch, for ever. Whatever goes wrong (a lost connection, compaction, a watch that skips or shuffles
 * events), the answer is the same: list again, tell the difference, watch from the list's revision. So there is no gap
 * to close and nothing flaps; and since a list is made every few minutes anyway, what a faulty watch lost in silence is
 * found as well.
 */
import { messageOf, sleep, systemClock } from '../../base/mod.ts';
import type { Backoff, Clock } from '../../base/mod.ts';
import { DatastoreError } from '../datastore.ts';
import type { Datastore, KeyValue, Revision, Update } from '../datastore.ts';
import { Picture } from './picture.ts';

export interface FollowOptions {
  readonly backoff: Backoff;
  readonly reconcileMs: number;
  readonly distrustMs: number;
  /** The newest revision that is known from before; 0 when not given. */
  readonly since?: Revision;
  readonly clock?: Clock;
}

/** A store with `pages` is not asked for a whole list at once. */
type Followed = Pick<Datastore, 'list' | 'watch' | 'name'> & {
  pages?(prefix: string): AsyncIterable<{ readonly kvs: readonly KeyValue[]; readonly revision: number }>;
};

export async function* follow(
  store: Followed,
  prefix: string,
  signal: AbortSignal,
  options: FollowOptions,
): AsyncGenerator<Update> {
  const { backoff, reconcileMs, distrustMs, since, clock = systemClock } = options;
  const picture = new Picture(since);
  let stale = false;
  const distrust = new Distrust(distrustMs, clock);
  while (!signal.aborted) {
    let failure: string | undefined;
    try {
      const revision = yield* listPhase(store, prefix, signal, picture, distrust);
      if (revision === undefined) return;
      yield { type: 'inSync', revision };
      stale = false;
      const started = clock.now();
      using phase = new Phase(signal, reconcileMs, clock);
      try {
        yield* watchPhase(store, prefix, picture, revision + 1, phase);
      } finally {
        if (clock.now() - started > LIVED_WELL_MS) backoff.reset();
      }
      if (phase.over) continue;
    } catch (error) {
      if (signal.aborted) return;
      // compaction is no trouble with the store: what was told is as good as before, until the list that comes now
      if (!(error instanceof DatastoreError && error.kind === 'compacted')) failure = messageOf(error);
    }
    if (failure !== undefined && !stale) {
      stale = true;
      yield { type: 'stale', reason: failure };
    }
    await sleep(backoff.next(), signal, clock);
  }
}

/** A watch that lived longer shows that the store works; the next failure is a new one. */
const LIVED_WELL_MS = 5_000;

/** Gives the list's revision; undefined when `signal` aborted. */
async function* listPhase(
  store: Followed,
  prefix: string,
  signal: AbortSignal,
  picture: Picture,
  distrust: Distrust,
): AsyncGenerator<Update, number | undefined> {
  let revision: number | undefined;
  picture.beginList();
  for await (const page of store.pages?.(prefix) ?? [await store.list(prefix)]) {
    if (signal.aborted) return undefined;
    if (revision === undefined) {
      ({ revision } = page);
      if (distrust.isStale(revision, picture)) {
        const text = `it is at revision ${revision}, ${picture.revision} was seen before`;
        throw new DatastoreError('unavailable', `datastore ${store.name}: list ${prefix}: a stale answer: ${text}`);
      }
    }
    yield* picture.page(page.kvs);
  }
  revision ??= 0;
  yield* picture.endOfList(revision);
  return revision;
}

/** Lists that are older than what was seen: from a replica that will catch up, or from a store that was restored or made anew. */
class Distrust {
  private readonly ms: number;
  private readonly clock: Clock;
  private since: number | undefined;

  constructor(ms: number, clock: Clock) {
    this.ms = ms;
    this.clock = clock;
  }

  /** Whether the list is to be refused. One that is older for so long is the truth. */
  isStale(revision: number, picture: Picture): boolean {
    const older = revision < picture.revision;
    if (older) this.since ??= this.clock.now();
    else this.since = undefined;
    if (this.since !== undefined && this.clock.now() - this.since < this.ms) return true;
    if (older) picture.distrustRevisions();
    this.since = undefined;
    return false;
  }
}

/** Ends with the phase, or early when the watch turns out to be unreliable. */
async function* watchPhase(
  store: Pick<Datastore, 'watch'>,
  prefix: string,
  picture: Picture,
  startRevision: number,
  phase: Phase,
): AsyncGenerator<Update> {
  for await (const batch of store.watch(prefix, startRevision, phase.signal)) {
    let unreliable = false;
    for (const event of batch.events) {
      // of another watch: here the next list would not have it, and take it away from where it belongs
      if (!(event.type === 'put' ? event.kv.key : event.key).startsWith(prefix)) {
        unreliable = true;
        continue;
      }
      const { update, suspect } = picture.event(event);
      if (update) yield update;
      unreliable ||= suspect;
    }
    if (unreliable) return;
  }
}

/** The time between two lists: a signal that aborts with `outer` or after `ms`. */
class Phase implements Disposable {
  private readonly controller = new AbortController();
  private readonly outer: AbortSignal;
  private readonly timer: Disposable;
  private readonly stop = (): void => this.controller.abort();

  constructor(outer: AbortSignal, ms: number, clock: Clock) {
    this.outer = outer;
    this.timer = clock.after(ms, this.stop);
    outer.addEventListener('abort', this.stop);
    // the consumer may have stopped everything between two updates
    if (outer.aborted) this.stop();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  get over(): boolean {
    return this.controller.signal.aborted;
  }

  [Symbol.dispose](): void {
    this.timer[Symbol.dispose]();
    this.outer.removeEventListener('abort', this.stop);
  }
}
