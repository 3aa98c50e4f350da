import { expect, test } from 'bun:test';
import { ManualClock } from '../base/mod.ts';
import { Tidy } from './tidy.ts';

class FakeMemory {
  mib = 100;
  collections = 0;
  releases = 0;
  size(): number {
    return this.mib * 2 ** 20;
  }
  collect(): void {
    this.collections++;
    this.mib -= 20;
  }
  releaseCode(): void {
    this.releases++;
    this.mib -= 10;
  }
}

test('garbage is collected when the process has grown by work, and not for ever', () => {
  const [clock, memory] = [new ManualClock(), new FakeMemory()];
  using tidy = new Tidy(clock, memory);
  const work = (mib: number) => {
    memory.mib += mib;
    for (let i = 0; i < 50; i++) tidy.worked();
  };
  for (let i = 0; i < 16; i++) work(1);
  expect(memory.collections).toBe(0);
  work(1);
  expect(memory.collections).toBe(1);
  for (let i = 0; i < 16; i++) work(1);
  expect(memory.collections).toBe(1);
  work(1);
  expect(memory.collections).toBe(2);
  // while sessions start as well, and once more in the end
  tidy.sessionsStart();
  clock.advance(1000);
  expect(memory.collections).toBe(2);
  memory.mib += 30;
  clock.advance(900);
  expect(memory).toMatchObject({ collections: 3, releases: 3 });
  clock.advance(600_000);
  expect(memory).toMatchObject({ collections: 4, releases: 13 });
});

test('nothing is left to do once it is disposed of', () => {
  const [clock, memory] = [new ManualClock(), new FakeMemory()];
  const tidy = new Tidy(clock, memory);
  tidy.sessionsStart();
  tidy[Symbol.dispose]();
  clock.advance(600_000);
  expect(memory).toMatchObject({ collections: 0, releases: 0 });
});
