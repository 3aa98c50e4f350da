import { expect, test } from 'bun:test';
import { hasColor, integerBetween, outputFormat, painter, table } from './output.ts';

const terminal = { isTTY: true };

test('columns are aligned by what is seen, and no line ends in blanks', () => {
  const plain = painter({ isTTY: false });
  expect(
    table(
      ['POD', 'HOST', 'NOTE'],
      [
        ['pod1', 'n', ''],
        ['p', { text: 'node10', style: 'red' }, 'zwölf'],
      ],
      plain,
    ),
  ).toBe(['POD   HOST    NOTE', 'pod1  n', 'p     node10  zwölf'].join('\n'));
  expect(table([], [['a', 'b']], plain)).toBe('a  b');
  expect(table(['A'], [], plain)).toBe('A');
});

test('a style does not shift the columns', () => {
  const lines = table(
    [],
    [
      [{ text: 'ok', style: 'green' }, 'x'],
      ['fail', 'y'],
    ],
    painter(terminal),
  ).split('\n');
  // oxlint-disable-next-line no-control-regex -- the codes are what is taken away
  expect(lines.map((line) => line.replace(/\x1b\[\d+m/g, ''))).toEqual(['ok    x', 'fail  y']);
});

test('what came from elsewhere cannot move the cursor or colour the table', () => {
  expect(table([], [['a\x1b[31m\nb']], painter(terminal))).toBe('a\\u001b[31m\\u000ab');
});

test('colour: only on a terminal, never with NO_COLOR', () => {
  expect(hasColor(terminal, {})).toBe(true);
  expect(hasColor(terminal, { NO_COLOR: '1' })).toBe(false);
  expect(hasColor(terminal, { NO_COLOR: '' })).toBe(true);
  expect(hasColor(terminal, { TERM: 'dumb' })).toBe(false);
  expect(hasColor({}, {})).toBe(false);
});

test('--json is short for -o json and wins', () => {
  expect(outputFormat({ output: 'yaml' })).toBe('yaml');
  expect(outputFormat({ output: 'table', json: true })).toBe('json');
  expect(outputFormat({})).toBe('table');
});

test.each(['', '-1', '1.5', '1e2', '0x10', '11', '99999999999999999999'])('%j is no number from 1 to 10', (text) => {
  expect(() => integerBetween(1, 10)(text)).toThrow('from 1 to 10');
});
