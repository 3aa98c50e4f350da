/**
 * What this node was last told, kept in a file: a program that starts while the store is away goes on from it. The copy is
 * read only when the store does not answer, and written only from a picture the store itself made complete, shortly after
 * each change. Whoever follows by it is told by `copy` instead of `inSync` that the picture is from there. A store that
 * answers with less than the copy knows of has not answered: a cache that lags behind must not take away what is true.
 */
import { messageOf, sleep, Wakeup } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import type { Datastore, Revision, Update } from '../datastore.ts';
import { readCopy, toKeyValue, writeCopy } from './file.ts';
import type { Copy, CopiedKeyValue } from './file.ts';
import { Handover } from './handover.ts';
import type { CopiedUpdate } from './handover.ts';

/** A store that has not told everything by then does not answer. */
const PATIENCE_MS = 3_000;
/** Changes come in bunches; and a bunch is written once, and not more often than that. */
const SOON_MS = 500;
const WRITE_EVERY_MS = 2_000;
/** Without a change the copy's time is brought up to date this often. */
const CONFIRM_MS = 3_600_000;
/** After a write that failed. */
const RETRY_MS = 60_000;

export interface LastKnownOptions {
  readonly file: string;
  readonly node: string;
  /** Everything that is followed by it. */
  readonly prefixes: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly patienceMs?: number;
}

/** A prefix as the store itself has told it. */
interface Part {
  readonly kvs: Map<string, CopiedKeyValue>;
  complete: boolean;
  /** The newest revision it has spoken of. */
  newest: Revision;
}

export class LastKnown {
  private readonly options: LastKnownOptions;
  private readonly store: Datastore;
  private readonly parts: ReadonlyMap<string, Part>;
  private readonly wakeup = new Wakeup();
  private changed = false;
  /** Why it could not be written the last time. */
  private refused: string | undefined;
  private writtenAt = -Infinity;
  private readonly away = new Set<string>();
  /** null: there is none that can be used. */
  private copy: Copy | null | undefined;

  constructor(store: Datastore, options: LastKnownOptions) {
    this.store = store;
    this.options = options;
    this.parts = new Map(options.prefixes.map((prefix) => [prefix, { kvs: new Map(), complete: false, newest: 0 }]));
  }

  /** As the store's own `follow`, but for a start without it. */
  async *follow(prefix: string, signal: AbortSignal): AsyncGenerator<CopiedUpdate> {
    const { clock, patienceMs = PATIENCE_MS } = this.options;
    const handover = new Handover();
    let asked = false;
    for await (const update of withPatience(this.store.follow(prefix, signal, this.since), patienceMs, clock)) {
      this.note(prefix, update);
      yield* handover.take(update);
      if (update.type !== 'stale' || handover.done || asked) continue;
      asked = true;
      const copy = this.read();
      if (copy?.prefixes.includes(prefix) !== true) continue;
      yield* handover.fallBack(copy.kvs.filter(({ key }) => key.startsWith(prefix)).map(toKeyValue), copy.at);
    }
  }

  /** The newest revision that this or an earlier life has seen: an older answer is not the store's last word. */
  get since(): Revision {
    return Math.max(this.newest, this.read()?.revision ?? 0);
  }

  private get newest(): Revision {
    return Math.max(0, ...[...this.parts.values()].map((part) => part.newest));
  }

  /** Writes the copy whenever the picture has changed, until aborted, and a last time then. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.options;
    while (!signal.aborted) {
      await this.wakeup.wait(signal, this.refused === undefined ? CONFIRM_MS : RETRY_MS, clock);
      await sleep(SOON_MS, signal, clock);
      if (!this.due) continue;
      await this.write();
      await sleep(WRITE_EVERY_MS, signal, clock);
    }
    if (this.due) await this.write();
  }

  /** Whether there is news, or the copy has not been confirmed for long. */
  private get due(): boolean {
    const { clock } = this.options;
    if (!this.complete) return false;
    return this.changed || (this.away.size === 0 && clock.now() - this.writtenAt >= CONFIRM_MS);
  }

  private get complete(): boolean {
    return [...this.parts.values()].every((part) => part.complete);
  }

  private note(prefix: string, update: Update): void {
    const part = this.parts.get(prefix);
    if (!part) throw new Error(`prefix ${prefix} is not among those that are kept`);
    if (update.type === 'stale') this.away.add(prefix);
    else if (update.type === 'inSync') {
      this.away.delete(prefix);
      // lower than before: it is believed by now that the store was restored
      part.newest = update.revision;
      if (part.complete) return;
      part.complete = true;
      if (!this.complete) return;
      this.copy = null;
      this.tellChanged();
    } else {
      if (update.type === 'delete') part.kvs.delete(update.key);
      else {
        const { key, value, modRevision } = update.kv;
        part.newest = Math.max(part.newest, modRevision);
        part.kvs.set(key, { key, value, modRevision });
      }
      if (this.complete) this.tellChanged();
    }
  }

  private tellChanged(): void {
    this.changed = true;
    this.wakeup.notify();
  }

  private read(): Copy | null {
    if (this.copy !== undefined) return this.copy;
    const { file, node, clock, log } = this.options;
    const read = readCopy(file, { node, store: this.store.name, now: clock.wallNow() });
    if (!read.ok) {
      const fields = { file, reason: read.error };
      log.warn(fields, 'the copy of what the datastore said last cannot be used; waiting for the datastore');
    }
    this.copy = read.ok ? (read.value ?? null) : null;
    return this.copy;
  }

  private async write(): Promise<void> {
    const { file, node, prefixes, clock, log } = this.options;
    this.changed = false;
    const kvs = [...this.parts.values()].flatMap((part) => [...part.kvs.values()]);
    try {
      const of = { node, store: this.store.name, at: clock.wallNow(), revision: this.newest };
      await writeCopy(file, { ...of, prefixes, kvs });
      this.refused = undefined;
      this.writtenAt = clock.now();
    } catch (error) {
      this.changed = true;
      const before = this.refused;
      this.refused = messageOf(error);
      if (this.refused === before) return;
      log.warn({ file, error: this.refused }, 'what the datastore says cannot be kept for a start without it');
    }
  }
}

/** As told, and `stale` once when the whole picture was not told in time. */
async function* withPatience(updates: AsyncIterable<Update>, ms: number, clock: Clock): AsyncGenerator<Update> {
  const iterator = updates[Symbol.asyncIterator]();
  const stop = new AbortController();
  let late: Promise<'late'> | undefined = sleep(ms, stop.signal, clock).then(() => 'late');
  try {
    for (let next = iterator.next(); ;) {
      const result = await (late ? Promise.race([next, late]) : next);
      if (result === 'late') {
        late = undefined;
        yield { type: 'stale', reason: `no answer within ${ms / 1000} s` };
        continue;
      }
      if (result.done === true) return;
      if (result.value.type === 'inSync') {
        late = undefined;
        stop.abort();
      }
      yield result.value;
      next = iterator.next();
    }
  } finally {
    stop.abort();
    // what it waits for ends with the signal it was given
    void iterator.return?.();
  }
}
