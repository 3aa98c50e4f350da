import { expect, spyOn, test } from 'bun:test';
import { ManualClock } from '../base/mod.ts';
import { Tidy } from './tidy.ts';

test('garbage is collected after so much work and while sessions start, and not for ever', () => {
  using collect = spyOn(Bun, 'gc').mockImplementation(() => 0);
  const clock = new ManualClock();
  using tidy = new Tidy(clock);
  for (let i = 0; i < 2499; i++) tidy.worked();
  expect(collect).toHaveBeenCalledTimes(0);
  tidy.worked();
  expect(collect).toHaveBeenCalledTimes(1);
  tidy.sessionsStart();
  clock.advance(1000);
  expect(collect).toHaveBeenCalledTimes(6);
  clock.advance(600_000);
  expect(collect).toHaveBeenCalledTimes(11);
});

test('nothing is left to do once it is disposed of', () => {
  using collect = spyOn(Bun, 'gc').mockImplementation(() => 0);
  const clock = new ManualClock();
  const tidy = new Tidy(clock);
  tidy.sessionsStart();
  tidy[Symbol.dispose]();
  clock.advance(600_000);
  expect(collect).toHaveBeenCalledTimes(0);
});
