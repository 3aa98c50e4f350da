import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock, silentLogger } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import type { Datastore, KeyValue, LeaseId, Update } from '../datastore.ts';
import { Handover } from './handover.ts';
import type { CopiedUpdate } from './handover.ts';
import { LastKnown } from './last-known.ts';

const kv = (key: string, modRevision: number, value = `${key} ${modRevision}`): KeyValue => ({
  ...{ key, value, modRevision, createRevision: modRevision, version: 1, lease: '0' as LeaseId },
});
const put = (key: string, modRevision: number, value?: string): Update => ({
  ...{ type: 'put', kv: kv(key, modRevision, value) },
});
const inSync = (revision: number): Update => ({ type: 'inSync', revision });
const stale: Update = { type: 'stale', reason: 'away' };
const show = (update: CopiedUpdate): string => {
  if (update.type === 'put') return `${update.kv.key}=${update.kv.value}`;
  return update.type === 'delete' ? `-${update.key}` : update.type;
};

describe('from the copy to the store', () => {
  const told = (handover: Handover, ...updates: Update[]) =>
    updates.flatMap((update) => [...handover.take(update)]).map(show);

  test('only what differs is told when the store answers', () => {
    const handover = new Handover();
    const copy = [kv('a', 1), kv('b', 2), kv('c', 3), kv('d', 4)];
    expect([...handover.fallBack(copy, 7)].map(show)).toEqual(['a=a 1', 'b=b 2', 'c=c 3', 'd=d 4', 'copy']);
    const list = [put('a', 1), put('b', 5), put('d', 2, 'd 4'), put('e', 6)];
    expect(told(handover, stale, ...list)).toEqual(['stale', 'b=b 5', 'd=d 4', 'e=e 6']);
    expect(told(handover, inSync(9))).toEqual(['-c', 'inSync']);
    expect(told(handover, put('a', 1), inSync(9))).toEqual(['a=a 1', 'inSync']);
  });

  test('what the store has spoken of before it went away is newer than the copy', () => {
    const handover = new Handover();
    const before = [put('a', 5), put('b', 6), { type: 'delete', key: 'b' } as const];
    expect(told(handover, ...before)).toEqual(['a=a 5', 'b=b 6', '-b']);
    expect([...handover.fallBack([kv('a', 1), kv('b', 1), kv('c', 1)], 7)].map(show)).toEqual(['c=c 1', 'copy']);
    expect(told(handover, put('c', 1), inSync(9))).toEqual(['inSync']);
  });
});

describe('the copy in a file', () => {
  let directory: string;
  let clock: ManualClock;
  let warnings: string[];
  let stop: AbortController;
  const file = () => join(directory, 'state', 'last-known.json');
  const log: Logger = { ...silentLogger, warn: (fields) => void warnings.push(JSON.stringify(fields)) };

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'godwit-copy-'));
    clock = new ManualClock();
    warnings = [];
    stop = new AbortController();
  });
  afterEach(() => {
    stop.abort();
    rmSync(directory, { recursive: true });
  });

  /** A store that tells each prefix what the script says, and then nothing. */
  function known(script: Record<string, Update[]>, options: { node?: string; store?: string } = {}) {
    const follow = async function* (prefix: string, signal: AbortSignal): AsyncGenerator<Update> {
      for (const update of script[prefix] ?? []) yield update;
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    };
    const store = { name: options.store ?? 'etcd://a', follow } as unknown as Datastore;
    const prefixes = Object.keys(script);
    return new LastKnown(store, { file: file(), node: options.node ?? 'n1', prefixes, clock, log });
  }

  /** Everything that is told until there is nothing more to come. */
  async function tell(from: LastKnown, prefix: string): Promise<string[]> {
    const told: string[] = [];
    void (async () => {
      for await (const update of from.follow(prefix, stop.signal)) told.push(show(update));
    })();
    for (let i = 0; i < 50; i++) await Promise.resolve();
    return told;
  }

  /** A life in which the store told everything. */
  async function remember(script: Record<string, Update[]>) {
    const first = known(script);
    const end = new AbortController();
    const running = first.run(end.signal);
    for (const prefix of Object.keys(script)) await tell(first, prefix);
    end.abort();
    await running;
  }
  const script = { '/a/': [put('/a/x', 1), put('/a/y', 2), inSync(3)], '/b/': [put('/b/z', 3), inSync(3)] };

  test('written when everything was told, readable by its owner alone, and told at a start without the store', async () => {
    await remember(script);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(existsSync(`${file()}.new`)).toBe(false);
    const second = known({ '/a/': [stale], '/b/': [stale] });
    expect(await tell(second, '/a/')).toEqual(['stale', '/a/x=/a/x 1', '/a/y=/a/y 2', 'copy']);
    expect(await tell(second, '/b/')).toEqual(['stale', '/b/z=/b/z 3', 'copy']);
  });

  test('a store that keeps silent is waited for, but not for long', async () => {
    await remember(script);
    const second = known({ '/a/': [put('/a/x', 9)], '/b/': [] });
    const told = await tell(second, '/a/');
    expect(told).toEqual(['/a/x=/a/x 9']);
    clock.advance(3_000);
    for (let i = 0; i < 50; i++) await Promise.resolve();
    expect(told).toEqual(['/a/x=/a/x 9', 'stale', '/a/y=/a/y 2', 'copy']);
  });

  test('the copy is not replaced by a picture that is not complete', async () => {
    await remember(script);
    const before = readFileSync(file(), 'utf8');
    await remember({ '/a/': [put('/a/x', 9), inSync(9)], '/b/': [put('/b/z', 9), stale] });
    expect(readFileSync(file(), 'utf8')).toBe(before);
  });

  test('the store is told what was seen before: an older answer is none; unless it has taken the store back itself', async () => {
    await remember(script);
    expect(known({ '/a/': [] }).since).toBe(3);
    await remember({ '/a/': [put('/a/x', 7), inSync(8), put('/a/x', 9), inSync(2)], '/b/': [inSync(2)] });
    expect(known({ '/a/': [] }).since).toBe(2);
    writeFileSync(file(), readFileSync(file(), 'utf8').replace(/"revision":\d+,/, ''));
    expect(known({ '/a/': [] }).since).toBe(0);
  });

  test.each<[string, (text: string) => string, { node?: string; store?: string }]>([
    ['torn', (text) => text.slice(0, -5), {}],
    ['empty', () => '', {}],
    ['not a copy', () => '[1,2]', {}],
    ['of another format', (text) => text.replace('"format":1', '"format":2'), {}],
    ['hostile', (text) => text.replace('"modRevision":1', '"modRevision":"1"'), {}],
    ['another node’s', (text) => text, { node: 'n2' }],
    ['of another store', (text) => text, { store: 'etcd://b' }],
    ['too old', (text) => text.replace(/"at":\d+/, '"at":1000'), {}],
  ])('one that is %s is set aside', async (_what, spoil, options) => {
    await remember(script);
    writeFileSync(file(), spoil(readFileSync(file(), 'utf8')));
    const second = known({ '/a/': [stale], '/b/': [stale] }, options);
    expect(await tell(second, '/a/')).toEqual(['stale']);
    expect(await tell(second, '/b/')).toEqual(['stale']);
    expect(warnings).toHaveLength(1);
    expect(existsSync(file())).toBe(false);
    expect(existsSync(`${file()}.broken`)).toBe(true);
  });

  test('without one the store is waited for; a prefix it does not cover as well', async () => {
    expect(await tell(known({ '/a/': [stale] }), '/a/')).toEqual(['stale']);
    expect(warnings).toEqual([]);
    await remember(script);
    expect(await tell(known({ '/new/': [stale] }), '/new/')).toEqual(['stale']);
  });

  test('a directory that cannot be written is told once, and stops nothing', async () => {
    writeFileSync(join(directory, 'state'), 'in the way');
    await remember(script);
    expect(warnings).toHaveLength(1);
  });
});
