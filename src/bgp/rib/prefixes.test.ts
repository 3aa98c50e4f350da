import { describe, expect, test } from 'bun:test';
import { prefix } from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import { PrefixTable } from './prefixes.ts';

function random(seed: number): (below: number) => number {
  let x = seed;
  return (below) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
}

describe('the prefix table does as a Map does', () => {
  for (const family of [4, 6] as const) {
    for (const seed of [1, 2, 3]) {
      test(`IPv${family}, seed ${seed}`, () => churn(family, seed));
    }
  }

  function churn(family: Family, seed: number): void {
    const pick = random(seed);
    const table = new PrefixTable(family, seed);
    const model = new Map<Prefix, number>();
    const some = (): Prefix =>
      family === 4
        ? prefix(`10.${pick(256)}.${pick(8) * 32}.0/${19 + pick(2)}`)
        : prefix(`2001:db8:${pick(4000).toString(16)}::/48`);
    for (let i = 0; i < 20_000; i++) {
      const p = some();
      const known = model.get(p);
      if (pick(5) < 3) {
        const index = table.insertText(p);
        if (known !== undefined) expect(index).toBe(known);
        model.set(p, index);
      } else if (known !== undefined) {
        table.remove(known);
        model.delete(p);
      } else expect(table.findText(p)).toBe(0);
      if (i % 4999 === 0) {
        // many at once, as when a session ends
        const gone = [...model].filter(() => pick(2) === 0);
        table.removeMany(
          Uint32Array.from(gone, ([, index]) => index),
          gone.length,
        );
        for (const [q] of gone) model.delete(q);
      }
    }
    expect(table.size).toBe(model.size);
    expect(new Set(model.values()).size).toBe(model.size);
    for (const [p, index] of model) {
      expect(table.findText(p)).toBe(index);
      expect(table.text(index)).toBe(p);
    }
    table.removeMany(Uint32Array.from(model.values()), model.size);
    expect(table.size).toBe(0);
    for (const p of model.keys()) expect(table.findText(p)).toBe(0);
  }

  test('lengths and addresses are told apart: /0, /32, the same address with several lengths', () => {
    const table = new PrefixTable(4, 7);
    const all = [
      '0.0.0.0/0',
      '0.0.0.0/1',
      '0.0.0.0/32',
      '128.0.0.0/1',
      '255.255.255.255/32',
      '10.0.0.0/8',
      '10.0.0.0/9',
    ];
    const indexes = all.map((text) => table.insertText(prefix(text)));
    expect(new Set(indexes).size).toBe(all.length);
    expect(indexes.map((index) => table.text(index))).toEqual(all.map((text) => prefix(text)));
  });

  test('the same, inside, around', () => {
    const texts = ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.3.0/24', '11.0.0.0/8', '10.1.2.3/32'];
    const table = new PrefixTable(4, 7);
    for (const text of texts) table.insertText(prefix(text));
    const found = (text: string, match: 'exact' | 'within' | 'covering') =>
      [...table.matching(prefix(text), match)].map((index) => table.text(index) as string);
    expect(found('10.1.0.0/16', 'exact')).toEqual(['10.1.0.0/16']);
    expect(found('10.9.0.0/16', 'exact')).toEqual([]);
    expect(found('10.1.0.0/16', 'within')).toEqual(['10.1.0.0/16', '10.1.2.0/24', '10.1.3.0/24', '10.1.2.3/32']);
    expect(found('0.0.0.0/0', 'within')).toEqual(texts);
    expect(found('10.1.2.0/24', 'covering')).toEqual(['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24']);
    const six = new PrefixTable(6, 7);
    const texts6 = ['::/0', '2001:db8::/32', '2001:db8:0:1::/64', '2001:db8:1::/48', '2001:db8::1/128'];
    for (const text of texts6) six.insertText(prefix(text));
    const found6 = (text: string, match: 'exact' | 'within' | 'covering') =>
      [...six.matching(prefix(text), match)].map((index) => six.text(index) as string);
    expect(found6('2001:db8::/48', 'within')).toEqual(['2001:db8:0:1::/64', '2001:db8::1/128']);
    expect(found6('2001:db8::1/128', 'covering')).toEqual(['::/0', '2001:db8::/32', '2001:db8::1/128']);
  });

  test('many removed at once, with most of the table gone', () => {
    const table = new PrefixTable(4, 7);
    const text = (i: number): Prefix => prefix(`${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/24`);
    const indexes = Array.from({ length: 5000 }, (_, i) => table.insertText(text(i)));
    table.removeMany(Uint32Array.from(indexes.slice(0, 4900)), 4900);
    expect(table.size).toBe(100);
    expect(table.findText(text(0))).toBe(0);
    expect(table.findText(text(4950))).toBe(indexes[4950]!);
    expect(table.insertText(text(0))).toBeLessThan(5001);
  });
});
