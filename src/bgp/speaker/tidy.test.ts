import { expect, test } from 'bun:test';
import { ManualClock } from '../../base/mod.ts';
import { Tidy } from './tidy.ts';

test('memory is given back once after much work, when it is quiet', () => {
  const clock = new ManualClock();
  let times = 0;
  let collections = 0;
  const tidy = new Tidy(clock, { collect: () => collections++, giveBack: () => times++ });
  for (let i = 0; i < 99; i++) tidy.worked(1);
  clock.advance(60_000);
  expect(times).toBe(0); // not worth it
  for (let i = 0; i < 20; i++) {
    tidy.worked(10);
    clock.advance(500);
  }
  expect(times).toBe(0); // not quiet
  clock.advance(1000);
  expect(times).toBe(1);
  clock.advance(60_000);
  expect(times).toBe(1);
  expect(collections).toBe(0);
  for (let session = 0; session < 1000; session++) tidy.worked(10);
  expect(collections).toBe(20); // a burst is collected on the way
  tidy.cancel();
  clock.advance(60_000);
  expect(times).toBe(1);
});
