import { expect, test } from 'bun:test';
import { TextMap } from './text-map.ts';

test('does what a Map does, through growth and deletion', () => {
  const [map, model] = [new TextMap<string, number>(), new Map<string, number>()];
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let step = 0; step < 60_000; step++) {
    // grows to some thousand keys, shrinks to few, grows again
    const key = `key-${random(4000)}`;
    const growing = Math.floor(step / 15_000) % 2 === 0;
    if (random(10) < (growing ? 7 : 2)) {
      map.set(key, step);
      model.set(key, step);
    } else expect(map.delete(key)).toBe(model.delete(key));
    expect(map.size).toBe(model.size);
    const other = `key-${random(4000)}`;
    expect(map.get(other)).toBe(model.get(other));
    expect(map.has(other)).toBe(model.has(other));
  }
  expect(new Map(map)).toEqual(model);
  expect([...map.keys()].sort()).toEqual([...model.keys()].sort());
  expect([...map.values()].sort()).toEqual([...model.values()].sort());
});

test('the order is that of insertion, and a value may be undefined', () => {
  const map = new TextMap<string, number | undefined>();
  for (const key of ['b', 'a', 'c']) map.set(key, undefined);
  map.set('a', 1);
  expect([...map]).toEqual([
    ['b', undefined],
    ['a', 1],
    ['c', undefined],
  ]);
  expect([map.has('b'), map.has('d')]).toEqual([true, false]);
});

test('it may be changed while it is walked', () => {
  const map = new TextMap<string, number>();
  for (let i = 0; i < 100; i++) map.set(`k${i}`, i);
  const met: number[] = [];
  for (const [key, value] of map) {
    met.push(value);
    map.delete(key);
    if (value % 2 === 1) map.delete(`k${value + 1}`);
  }
  expect(met).toEqual([0, ...Array.from({ length: 50 }, (_, i) => 2 * i + 1)]);
  expect(map.size).toBe(0);
});
