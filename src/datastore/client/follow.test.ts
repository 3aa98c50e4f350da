import { expect, test } from 'bun:test';
import { Backoff, ManualClock } from '../../base/mod.ts';
import { DatastoreError } from '../datastore.ts';
import type { Datastore, KeyValue, LeaseId, Update, WatchBatch, WatchEvent } from '../datastore.ts';
import { follow } from './follow.ts';

type Followed = Pick<Datastore, 'list' | 'watch' | 'name'>;

/** Keys are written without the prefix that is followed. */
const PREFIX = '/p/';
const kv = (key: string, modRevision: number, prefix = PREFIX): KeyValue => ({
  key: prefix + key,
  value: '',
  createRevision: modRevision,
  modRevision,
  version: 1,
  lease: '0' as LeaseId,
});
const put = (key: string, modRevision: number): WatchEvent => ({ type: 'put', kv: kv(key, modRevision) });

/** A store that plays a script: each list and each watch takes the next entry, and tells what it was asked for. */
class ScriptedStore implements Followed {
  readonly name = 'script';
  readonly asked: string[] = [];
  readonly lists: ({ kvs: KeyValue[]; revision: number } | Error)[];
  readonly watches: (WatchEvent[] | Error)[][];

  constructor(lists: ScriptedStore['lists'], watches: ScriptedStore['watches']) {
    this.lists = lists;
    this.watches = watches;
  }

  list(): ReturnType<Datastore['list']> {
    const next = this.lists.shift() ?? new DatastoreError('unavailable', 'end of script');
    this.asked.push('list');
    return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
  }

  async *watch(_prefix: string, start: number, signal: AbortSignal): AsyncGenerator<WatchBatch> {
    this.asked.push(`watch ${start}`);
    const script = this.watches.shift() ?? [];
    for (const step of script) {
      if (step instanceof Error) throw step;
      yield { revision: 0, events: step };
    }
    if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  }
}

async function record(store: Followed, clock: ManualClock, wanted: number, since = 0): Promise<string[]> {
  const out: string[] = [];
  const stop = new AbortController();
  const mover = setInterval(() => clock.advance(1000), 1);
  const options = { backoff: new Backoff(100, 100), reconcileMs: 60_000, distrustMs: 30_000, since, clock };
  for await (const update of follow(store, PREFIX, stop.signal, options)) {
    out.push(show(update));
    if (out.length >= wanted) stop.abort();
  }
  clearInterval(mover);
  return out;
}

function show(update: Update): string {
  const short = (key: string) => key.replace(PREFIX, '');
  if (update.type === 'put') return `put ${short(update.kv.key)}@${update.kv.modRevision}`;
  if (update.type === 'delete') return `delete ${short(update.key)}`;
  return update.type === 'inSync' ? `inSync@${update.revision}` : 'stale';
}

const compacted = new DatastoreError('compacted', 'compacted');
const lost = new DatastoreError('unavailable', 'lost');

test('compaction: a new list, only the difference, no word of trouble', async () => {
  const store = new ScriptedStore(
    [
      { kvs: [kv('a', 2), kv('b', 3)], revision: 3 },
      { kvs: [kv('b', 3), kv('c', 9)], revision: 9 },
    ],
    [[[put('d', 4)], compacted], []],
  );
  expect(await record(store, new ManualClock(), 8)).toEqual([
    'put a@2',
    'put b@3',
    'inSync@3',
    'put d@4',
    'put c@9',
    'delete a',
    'delete d',
    'inSync@9',
  ]);
  expect(store.asked).toEqual(['list', 'watch 4', 'list', 'watch 10']);
});

test('a lost connection is told once, however long it lasts, and sync is told again', async () => {
  const store = new ScriptedStore(
    [{ kvs: [kv('a', 2)], revision: 2 }, lost, lost, lost, { kvs: [kv('a', 2)], revision: 2 }],
    [[lost], []],
  );
  expect(await record(store, new ManualClock(), 4)).toEqual(['put a@2', 'inSync@2', 'stale', 'inSync@2']);
});

test('a stale list is refused, and taken for a restored store only after a while', async () => {
  const older = Array.from({ length: 100 }, () => ({ kvs: [] as KeyValue[], revision: 1 }));
  const store = new ScriptedStore([{ kvs: [kv('a', 5)], revision: 5 }, ...older], [[lost], []]);
  const clock = new ManualClock();
  expect(await record(store, clock, 5)).toEqual(['put a@5', 'inSync@5', 'stale', 'delete a', 'inSync@1']);
  expect(clock.now()).toBeGreaterThanOrEqual(30_000);
});

test('the first list is refused as well when a newer state is known from before', async () => {
  const older = Array.from({ length: 3 }, () => ({ kvs: [kv('a', 2)], revision: 4 }));
  const store = new ScriptedStore([...older, { kvs: [kv('b', 5)], revision: 5 }], [[]]);
  expect(await record(store, new ManualClock(), 3, 5)).toEqual(['stale', 'put b@5', 'inSync@5']);
});

test('events out of order lead to a new list', async () => {
  const store = new ScriptedStore(
    [
      { kvs: [], revision: 3 },
      { kvs: [kv('a', 8), kv('b', 7), kv('lost', 6)], revision: 8 },
    ],
    [[[put('a', 8)], [put('b', 7)]], []],
  );
  const expected = ['inSync@3', 'put a@8', 'put b@7', 'put lost@6', 'inSync@8'];
  expect(await record(store, new ManualClock(), 5)).toEqual(expected);
});

test('what is of another prefix is none of this one’s, and the watch is not believed any more', async () => {
  const store = new ScriptedStore(
    [
      { kvs: [kv('a', 2)], revision: 2 },
      { kvs: [kv('a', 2), kv('b', 4)], revision: 4 },
    ],
    [
      [
        [
          { type: 'put', kv: kv('x', 3, '/q/') },
          { type: 'delete', key: '/q/y', modRevision: 3 },
        ],
      ],
      [],
    ],
  );
  expect(await record(store, new ManualClock(), 4)).toEqual(['put a@2', 'inSync@2', 'put b@4', 'inSync@4']);
});

test('what a watch lost in silence is found by the periodic list', async () => {
  const store = new ScriptedStore(
    [
      { kvs: [kv('a', 2)], revision: 2 },
      { kvs: [kv('b', 4)], revision: 4 },
    ],
    [[], []],
  );
  const expected = ['put a@2', 'inSync@2', 'put b@4', 'delete a', 'inSync@4'];
  expect(await record(store, new ManualClock(), 5)).toEqual(expected);
});

test('an abort between two updates ends it at once, not at the next list', async () => {
  const stop = new AbortController();
  const store = new ScriptedStore([{ kvs: [], revision: 1 }], [[]]);
  const options = { backoff: new Backoff(100, 100), reconcileMs: 60_000, distrustMs: 30_000, clock: new ManualClock() };
  for await (const update of follow(store, PREFIX, stop.signal, options)) if (update.type === 'inSync') stop.abort();
  expect(stop.signal.aborted).toBe(true);
});
