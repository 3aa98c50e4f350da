import { describe, expect, test } from 'bun:test';
import type { AsPath } from '../wire/mod.ts';
import { compileAsPath } from './aspath.ts';

const sequence = (text: string): AsPath => (text === '' ? [] : [{ type: 2, asns: text.split(' ').map(Number) }]);

function matches(pattern: string, path: AsPath): boolean {
  const compiled = compileAsPath(pattern);
  if (!compiled.ok) throw new Error(compiled.error);
  return compiled.value(path);
}

describe('AS path patterns', () => {
  const cases: [string, string[], string[]][] = [
    ['64512', ['64512', '1 64512', '64512 1', '1 64512 2'], ['', '1', '645', '64512999'.slice(0, 7)]],
    ['^$', [''], ['1']],
    ['', ['', '1', '1 2'], []],
    ['^64512 .* 65001$', ['64512 65001', '64512 1 2 65001'], ['64512', '65001 64512', '64512 65001 1']],
    ['^.$', ['1'], ['', '1 2']],
    ['^(1|2)+$', ['1', '2 1 2'], ['', '3', '1 3']],
    ['^1 2? 3$', ['1 3', '1 2 3'], ['1 2 2 3']],
    ['^1{2,3}$', ['1 1', '1 1 1'], ['1', '1 1 1 1']],
    ['^1{2}$', ['1 1'], ['1', '1 1 1']],
    ['^1{2,}$', ['1 1', '1 1 1 1 1'], ['1']],
    ['^[10-20 30]$', ['10', '15', '30'], ['9', '21', '31']],
    ['^[^10-20]$', ['9', '21'], ['10', '']],
    ['64512-65534', ['1 64512', '65000'], ['1 2', '64511']],
    ['^1 (2 3)* 4$', ['1 4', '1 2 3 4', '1 2 3 2 3 4'], ['1 2 4']],
    ['_1_', ['1', '2 1 3'], ['11']],
    ['4294967295$', ['4294967295'], ['4294967294']],
    ['^(|1) 2$', ['2', '1 2'], ['1']],
  ];
  for (const [pattern, yes, no] of cases) {
    test(pattern === '' ? '(empty)' : pattern, () => {
      for (const path of yes) expect([path, matches(pattern, sequence(path))]).toEqual([path, true]);
      for (const path of no) expect([path, matches(pattern, sequence(path))]).toEqual([path, false]);
    });
  }

  test('a set is one element that matches by any of its members', () => {
    const path: AsPath = [
      { type: 2, asns: [1] },
      { type: 1, asns: [2, 3] },
    ];
    expect(matches('^1 3$', path)).toBe(true);
    expect(matches('^1 2 3$', path)).toBe(false);
    expect(matches('^. .$', path)).toBe(true);
  });

  for (const [pattern, fault] of [
    ['(1', '")" is missing'],
    ['1)', '")" at 2 is not expected'],
    ['abc', '"a" at 1 is not expected'],
    ['[1', 'it ends early'],
    ['5-3', 'a range from 5 needs a greater number behind "-"'],
    ['1{3,2}', 'repetitions must be 0 to 255, ascending'],
    ['1{x}', '"{" must be followed by a number'],
    ['*', '"*" at 1 is not expected'],
    ['4294967296', '"4" at 1 is not expected'],
    ['((.{200}){200}){200}', 'it stands for too many states'],
  ] as const) {
    test(`refused: ${pattern}`, () => {
      const compiled = compileAsPath(pattern);
      expect(compiled).toEqual({ ok: false, error: `AS path pattern "${pattern}": ${fault}` });
    });
  }

  test('no pattern takes long on any path', () => {
    const path = sequence(Array.from({ length: 250 }, () => 1).join(' '));
    // each of these makes a backtracking matcher try more ways than there are atoms
    for (const pattern of ['^(1*)*2$', '^(1|1)*2$', '^(1+)+ 2$', '^(1?){200}1{200}2$']) {
      expect(matches(pattern, path)).toBe(false);
    }
  });
});
