import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock, silentLogger } from '../../base/mod.ts';
import { putRequest } from '../wire/messages.ts';
import { DiskFull } from './disk.ts';
import { Engine } from './engine.ts';
import { Mvcc } from './mvcc.ts';
import type { Key } from './mvcc.ts';
import { Retention } from './retention.ts';

/** A clock that can also jump, as it does for a process that was stopped: nothing runs until the jump is over. */
class JumpingClock extends ManualClock {
  skew = 0;
  override now(): number {
    return super.now() + this.skew;
  }
}

let directory: string;
let clock: JumpingClock;
let engine: Engine;
const open = () => new Engine({ directory, clock, log: silentLogger, retentionMs: 0 });

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'godwit-engine-'));
  clock = new JumpingClock();
  engine = open();
});
afterEach(() => {
  engine[Symbol.dispose]();
  rmSync(directory, { recursive: true });
});

const bytes = (text: string) => new TextEncoder().encode(text);
const put = (key: string, value = '', lease = '0') => {
  const request = putRequest.decode(putRequest.encode({ key: bytes(key), value: bytes(value), lease }))!;
  return engine.write(() => engine.state.put(request));
};
const grant = async (ttl: number) => {
  const { response } = await engine.write(() =>
    engine.state.grant({ id: '0', ttl }, clock.now(), () => engine.newId()),
  );
  return response.id!;
};
const has = (key: string) => engine.state.mvcc.at(key as Key) !== undefined;
/** Lets queued writes happen. */
const settle = async () => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};

test('a lease takes its keys along when its time is over, and not before', async () => {
  const id = await grant(10);
  await put('a', '1', id);
  clock.advance(9_900);
  await settle();
  expect([has('a'), engine.remainingSeconds(id)]).toEqual([true, 0]);
  clock.advance(200);
  await settle();
  expect([has('a'), engine.state.leases.get(id)]).toEqual([false, undefined]);
});

test('renewed while its end waits in the queue: it lives, and its next end is kept', async () => {
  const id = await grant(10);
  await put('a', '1', id);
  clock.advance(10_000);
  expect(engine.keepAlive(id)).toBe(10);
  await settle();
  expect(has('a')).toBe(true);
  clock.advance(10_100);
  await settle();
  expect(has('a')).toBe(false);
});

test('the time for which the process was stopped does not count', async () => {
  const id = await grant(10);
  await put('a', '1', id);
  clock.skew = 100_000;
  clock.advance(10_000);
  await settle();
  expect(has('a')).toBe(true);
  clock.advance(10_100);
  await settle();
  expect(has('a')).toBe(false);
});

test('a batch that does not fit on the disk is refused as a whole, and the store goes on', async () => {
  await put('before');
  const { revision } = engine.header;
  const save = engine.disk.save.bind(engine.disk);
  engine.disk.save = () => {
    throw new DiskFull('database or disk is full');
  };
  let notified = 0;
  using _subscription = engine.subscribe(() => notified++);
  const outcomes = await Promise.allSettled([put('a'), put('b'), grant(10)]);
  expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect([engine.noSpace, has('a'), engine.header.revision, notified]).toEqual([true, false, revision, 0]);
  expect([...engine.state.leases.all()]).toEqual([]);
  engine.disk.save = save;
  expect((await put('a')).revision).toBe(revision + 1);
  expect([engine.noSpace, notified]).toEqual([false, 1]);
});

test('what was answered is there after opening again, leases with their full time', async () => {
  const id = await grant(10);
  await put('a', '1', id);
  await put('b');
  const { header } = engine;
  engine.compact(header.revision);
  clock.advance(8_000);
  engine[Symbol.dispose]();
  engine = open();
  expect(engine.header).toEqual(header);
  expect([has('a'), engine.remainingSeconds(id), engine.state.mvcc.compacted]).toEqual([true, 10, header.revision]);
  clock.advance(10_100);
  await settle();
  expect([has('a'), has('b')]).toEqual([false, true]);
});

test('history is kept for its time, and never grows beyond its size', () => {
  const mvcc = new Mvcc();
  const change = (times: number) => {
    for (let i = 0; i < times; i++) {
      mvcc.put('k' as Key, new Uint8Array(0), '0');
      mvcc.commit();
    }
  };
  const retention = new Retention(60_000, 100);
  expect([retention.byAge(mvcc, 0), retention.bySize(mvcc)]).toEqual([undefined, undefined]);
  change(50);
  expect(retention.byAge(mvcc, 30_000)).toBeUndefined();
  expect(retention.byAge(mvcc, 90_000)).toBe(51);
  mvcc.compact(51);
  change(100);
  const target = retention.bySize(mvcc)!;
  mvcc.compact(target);
  expect(mvcc.historyLength).toBe(50);
  expect(retention.bySize(mvcc)).toBeUndefined();
});
