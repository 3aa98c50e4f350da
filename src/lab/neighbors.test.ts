import { expect, test } from 'bun:test';
import { bundledScenarios } from './bundled.ts';
import { neighborsOf } from './neighbors.ts';
import { readScenario } from './read.ts';

test('every machine of a segment knows all others of it, in each family it has', () => {
  const topology = (name: string) => {
    const read = readScenario(name, bundledScenarios[name]!);
    if (!read.ok) throw read.error;
    return read.value;
  };
  expect(neighborsOf(topology('mesh-100'), 4)).toBe(9_900);
  expect(neighborsOf(topology('mesh-100'), 6)).toBe(0);
  // two racks of two and three machines, and the two routers between them
  expect(neighborsOf(topology('calico-ipip'), 4)).toBe(3 * 2 + 2 * 1 + 2 * 1);
  const dual = topology('calico-dual-stack');
  expect(neighborsOf(dual, 6)).toBe(neighborsOf(dual, 4));
});
