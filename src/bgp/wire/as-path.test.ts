import { describe, expect, test } from 'bun:test';
import { Writer } from '../../base/mod.ts';
import {
  asPathLength,
  countAsn,
  decodeAs4Path,
  decodeAsPath,
  encodeAsPath,
  encodedAsPathLength,
  firstAsn,
  formatAsPath,
  mergeAs4Path,
  originAsn,
  prependAsn,
} from './as-path.ts';
import type { AsPath } from './types.ts';

const sequence = (...asns: number[]) => ({ type: 2, asns }) as const;
const set = (...asns: number[]) => ({ type: 1, asns }) as const;

test('reading a path', () => {
  const path: AsPath = [sequence(65001, 65002), set(7, 8), sequence(65001)];
  expect(formatAsPath(path)).toBe('65001 65002 {7,8} 65001');
  expect([asPathLength(path), firstAsn(path), originAsn(path), countAsn(path, 65001)]).toEqual([4, 65001, 65001, 2]);
  expect([firstAsn([set(1)]), originAsn([set(1)]), firstAsn([])]).toEqual([undefined, undefined, undefined]);
});

test('prepending grows the first sequence until it is full', () => {
  expect(prependAsn([sequence(2)], 1, 2)).toEqual([sequence(1, 1, 2)]);
  expect(prependAsn([set(2)], 1)).toEqual([sequence(1), set(2)]);
  expect(prependAsn([], 1)).toEqual([sequence(1)]);
  const full = sequence(...Array.from({ length: 255 }, () => 9));
  expect(prependAsn([full], 1)).toEqual([sequence(1), full]);
});

test('a sequence of more than 255 is sent in pieces', () => {
  const path = [sequence(...Array.from({ length: 300 }, (_, i) => i + 1))];
  const w = new Writer();
  encodeAsPath(path, 4, w);
  expect(w.length).toBe(encodedAsPathLength(path, 4));
  const back = decodeAsPath(w.bytes, 0, w.length, 4);
  expect(typeof back === 'string' ? back : back.map((s) => s.asns.length)).toEqual([255, 45]);
});

describe('RFC 6793 §4.2.3', () => {
  const T = 23456;
  test.each<[string, AsPath, AsPath, AsPath]>([
    ['old speakers in front', [sequence(1, 2, T, T)], [sequence(70000, 80000)], [sequence(1, 2, 70000, 80000)]],
    ['the same length', [sequence(T, T)], [sequence(70000, 80000)], [sequence(70000, 80000)]],
    ['AS4_PATH too long: ignored', [sequence(T)], [sequence(70000, 80000)], [sequence(T)]],
    [
      'a set counts one',
      [sequence(1), set(5, 6), sequence(T)],
      [set(9, 70000), sequence(80000)],
      [sequence(1), set(9, 70000), sequence(80000)],
    ],
    ['a set in front', [set(5, 6), sequence(T)], [sequence(80000)], [set(5, 6), sequence(80000)]],
  ])('%s', (_name, path, as4, merged) => {
    expect(mergeAs4Path(path, as4)).toEqual(merged);
  });

  test('AS4_PATH loses confederation segments', () => {
    const bytes = Uint8Array.of(3, 1, 0, 0, 0, 9, 2, 1, 0, 1, 0, 0);
    expect(decodeAs4Path(bytes, 0, bytes.length)).toEqual([sequence(65536)]);
    expect(decodeAs4Path(bytes, 0, 6)).toEqual([]);
    expect(typeof decodeAs4Path(bytes, 0, 5)).toBe('string');
    expect(typeof decodeAs4Path(bytes, 0, 8)).toBe('string');
  });
});
