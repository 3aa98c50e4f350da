import { expect, test } from 'bun:test';
import { ManualClock } from '../../base/mod.ts';
import { Scheduler } from './scheduler.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('input without end, faster than it can be decided, does not keep the FIB from what is decided', async () => {
  const clock = new ManualClock();
  const handedOn: { at: number; done: boolean }[] = [];
  let endless = true;
  const scheduler = new Scheduler(clock, {
    work: () => {
      clock.advance(5);
      return endless;
    },
    handOn: (done) => void handedOn.push({ at: clock.now(), done }),
  });
  while (clock.now() < 2000) {
    scheduler.input();
    clock.advance(10);
    await turn();
  }
  expect(handedOn.length).toBeGreaterThan(10);
  expect(handedOn.length).toBeLessThan(25);
  expect(handedOn.every(({ done }) => !done)).toBe(true);
  endless = false;
  for (let i = 0; i < 5; i++) await turn();
  expect(handedOn.at(-1)!.done).toBe(true);
});
