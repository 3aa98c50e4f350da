import { expect, test } from 'bun:test';
import { ManualClock } from '../base/mod.ts';
import type { Datastore, LeaseId } from '../datastore/mod.ts';
import { ip } from '../net/mod.ts';
import type { PublishedStatus } from '../status/mod.ts';
import { Publisher } from './publisher.ts';

const status = (routes: number, ready = true): PublishedStatus => ({
  ...{ node: 'n1', ready, reasons: [], warnings: [], networks: ['subnets'], inUse: [] },
  addresses: [{ family: 4, address: ip('10.0.0.1') }],
  routes: { wanted: routes, installed: routes },
});

test('what others act on is told at once, numbers now and then', async () => {
  const clock = new ManualClock();
  const puts: PublishedStatus[] = [];
  const store = { put: async (_: string, text: string) => void puts.push(JSON.parse(text)) } as unknown as Datastore;
  let now = status(1);
  const publisher = new Publisher(() => now, clock);
  const stop = new AbortController();
  const running = publisher.run(store, '1' as LeaseId, stop.signal);
  /** Told of every 100 ms, as in a storm of routes. */
  const pass = async (ms: number) => {
    for (let at = 0; at < ms; at += 100) {
      publisher.notify();
      clock.advance(100);
      for (let i = 0; i < 10; i++) await Promise.resolve();
    }
  };
  await pass(1000);
  expect(puts.length).toBe(1);
  for (let n = 2; n < 22; n++) {
    now = status(n);
    await pass(1000);
  }
  expect(puts.length).toBe(1);
  now = status(22, false);
  await pass(1000);
  expect(puts.map((put) => [put.ready, put.routes.installed])).toEqual([
    [true, 1],
    [false, 22],
  ]);
  now = status(23, false);
  await pass(61_000);
  expect(puts.at(-1)?.routes.installed).toBe(23);
  expect(puts.length).toBe(3);
  stop.abort();
  await running;
});

test('what others wait for is told soon at first, and calmly while it goes on', async () => {
  const clock = new ManualClock();
  const times: number[] = [];
  const store = { put: async () => void times.push(clock.now()) } as unknown as Datastore;
  let down = 0;
  const publisher = new Publisher(() => ({ ...status(1), warnings: [`${down} sessions are down`] }), clock);
  const stop = new AbortController();
  const running = publisher.run(store, '1' as LeaseId, stop.signal);
  const pass = async (ms: number, news: boolean) => {
    for (let at = 0; at < ms; at += 50) {
      if (news) down++;
      publisher.notify();
      clock.advance(50);
      for (let i = 0; i < 10; i++) await Promise.resolve();
    }
  };
  await pass(20_000, true);
  const pauses = times.slice(1).map((time, i) => time - times[i]!);
  const due = [500, 1_000, 2_000, 3_000];
  for (const [i, pause] of pauses.entries()) {
    // half as long to half as long again, and a look comes at most 250 ms after what is due
    const about = due[Math.min(i, due.length - 1)]!;
    expect(pause).toBeGreaterThanOrEqual(about / 2);
    expect(pause).toBeLessThanOrEqual(1.5 * about + 300);
  }
  expect(times.length).toBeGreaterThanOrEqual(6);
  await pass(20_000, false);
  times.length = 0;
  await pass(2_000, true);
  expect(times.length).toBeGreaterThanOrEqual(2);
  stop.abort();
  await running;
});
