import { describe, expect, test } from 'bun:test';
import { parseSelector } from './selector.ts';

const labels = { a: 'b', role: 'rr-1', 'projectcalico.org/zone': 'z1', constructor: 'x', empty: '' };

function matches(text: string, of: Record<string, string> = labels): boolean {
  const selector = parseSelector(text);
  if (!selector.ok) throw new Error(`${text}: ${selector.error.position}: ${selector.error.message}`);
  return selector.value.matches(of);
}

test.each([
  '',
  '  ',
  'all()',
  'all( )',
  'has(a)',
  'has( projectcalico.org/zone )',
  "a == 'b'",
  'a=="b"',
  "c != 'b'",
  "a in {'x','b'}",
  "a in { 'b' , }",
  "a not in {'x'}",
  'a notin {}',
  "missing not in {'x'}",
  "role contains 'rr'",
  "role starts with 'rr-'",
  "role startswith 'rr-'",
  "role ends  with '1'",
  '!has(nothing)',
  '!!has(a)',
  "has(a) && (role == 'x' || role starts with 'rr')",
  "has(nothing) || has(a) && a == 'b'",
  "!(has(nothing) && a == 'b')",
  "constructor == 'x'",
  'has(empty)',
  "in == 'y' || all()",
  "has == 'y' || all()",
])('%s selects', (text) => expect(matches(text)).toBe(true));

test.each([
  'global()',
  '!all()',
  'has(toString)',
  'has(__proto__)',
  "a == 'B'",
  "missing == ''",
  "missing contains ''",
  "missing starts with ''",
  'a in {}',
  "has(a) && a == 'c' || has(nothing)",
])('%s does not', (text) => expect(matches(text)).toBe(false));

describe('errors have a position', () => {
  test.each([
    ["a = 'b'", 2, 'expected =='],
    ['a', 1, 'expected =='],
    ['a ==', 4, 'a string in quotes'],
    ['a == b', 5, 'a string in quotes'],
    ["a == 'b", 5, 'no closing quote'],
    ["a == 'b' a == 'c'", 9, '&& or ||'],
    ["(a == 'b'", 9, 'expected )'],
    ["a == 'b')", 8, '&& or ||'],
    ["a == 'b' & b == 'c'", 9, 'unexpected "&"'],
    ["a in 'b'", 5, 'expected {'],
    ["a in {'b'", 9, 'expected a string or }'],
    ["a in {'b' 'c'}", 10, 'expected a string or }'],
    ['has()', 4, 'name of a label'],
    ['has(a', 5, 'expected ) after has('],
    ['all(a)', 4, 'expected ) after all('],
    ['&& a', 0, 'expected a label'],
    ['!', 1, 'expected a label'],
    ['a\u0000b', 1, 'expected =='],
    ["a ==\n'b'", 4, 'unexpected "\\n"'],
  ])('%j', (text, position, message) => {
    const selector = parseSelector(text);
    if (selector.ok) throw new Error('it parsed');
    expect(selector.error.message).toContain(message);
    expect(selector.error.position).toBe(position);
  });
});

test('hostile input costs no more than its length', () => {
  for (const text of ['('.repeat(60_000), '!'.repeat(60_000), 'a'.repeat(60_000), `has(${' '.repeat(60_000)}`]) {
    expect(parseSelector(text).ok).toBe(false);
  }
  expect(parseSelector("a=='b'".repeat(20_000)).ok).toBe(false);
  expect(matches(Array.from({ length: 3000 }, (_, i) => `a == '${i}'`).join('||'), { a: '2999' })).toBe(true);
});
