import { expect, test } from 'bun:test';
import { ManualClock, Wakeup } from './mod.ts';

test('a notification before the wait counts, once', async () => {
  const wakeup = new Wakeup();
  const clock = new ManualClock();
  wakeup.notify();
  wakeup.notify();
  await wakeup.wait(new AbortController().signal, 1000, clock);
  let woken = false;
  const second = wakeup.wait(new AbortController().signal, 1000, clock).then(() => (woken = true));
  await Promise.resolve();
  expect(woken).toBe(false);
  clock.advance(1000);
  await second;
  expect(woken).toBe(true);
});

test('an abort ends the wait, also one that came before it', async () => {
  const wakeup = new Wakeup();
  const stop = new AbortController();
  const waiting = wakeup.wait(stop.signal, 3_600_000, new ManualClock());
  stop.abort();
  await waiting;
  await wakeup.wait(stop.signal, 3_600_000, new ManualClock());
});
