import { describe, expect, test } from 'bun:test';
import { judge, neighbourTableFull, toRunAlone } from './outcomes.ts';
import type { Outcome } from './outcomes.ts';

const outcome = (file: string, [startedMs, endedMs]: [number, number], failed = 0): Outcome => ({
  ...{ file, passed: 3 - failed, failed, skipped: 0, startedMs, endedMs },
});

describe('which files run again, alone', () => {
  test('none when nothing failed', () => {
    expect(toRunAlone([outcome('a', [0, 9]), outcome('b', [0, 9])])).toEqual([]);
  });

  test('one that failed while another ran, be it only for a moment', () => {
    expect(toRunAlone([outcome('a', [0, 9], 1), outcome('b', [8, 20])])).toEqual(['a']);
    expect(toRunAlone([outcome('a', [0, 9]), outcome('b', [8, 20], 2)])).toEqual(['b']);
    expect(toRunAlone([outcome('a', [3, 5], 1), outcome('b', [0, 9], 1)])).toEqual(['a', 'b']);
  });

  test('not one that was alone already: it failed by itself', () => {
    expect(toRunAlone([outcome('a', [0, 9], 1)])).toEqual([]);
    expect(toRunAlone([outcome('a', [0, 9], 1), outcome('b', [9, 20]), outcome('c', [10, 19])])).toEqual([]);
  });

  test('three that failed are no noise: none', () => {
    const three = ['a', 'b', 'c'].map((file) => outcome(file, [0, 9], 1));
    expect(toRunAlone(three.slice(1))).toEqual(['b', 'c']);
    expect(toRunAlone(three)).toEqual([]);
    expect(judge(three, [])).toMatchObject({ passed: 6, failed: 3 });
  });
});

describe('what a run comes to', () => {
  const first = [outcome('a', [0, 1000]), outcome('b', [0, 4000], 1), outcome('c', [500, 2000], 2)];

  test('what failed again has failed; what passed alone is named, and counts as it was alone', () => {
    const verdict = judge(first, [outcome('b', [5000, 6000]), outcome('c', [6000, 7000], 2)]);
    expect(verdict).toMatchObject({ passed: 7, failed: 2, skipped: 0 });
    expect(verdict.lines).toEqual([
      'slowest: 4.0 s b',
      'slowest: 1.5 s c',
      'slowest: 1.0 s a',
      'failed: c',
      'passed only alone: b (beside another: 2 passed, 1 failed, 0 skipped; alone: 3 passed, 0 failed, 0 skipped)',
    ]);
  });

  test('without a second run a failure is a failure', () => {
    const verdict = judge(first, []);
    expect(verdict).toMatchObject({ passed: 6, failed: 3 });
    expect(verdict.lines).toContain('failed: b');
    expect(verdict.lines).toContain('failed: c');
  });
});

test('the kernel’s count of neighbours it had no room for, of all processors', () => {
  const text =
    'entries  allocs   destroys unresolved_discards table_fulls\n' +
    '00000429 00000803 000005a0 00000014            0001203b\n00000429 000008ca 00000704 00000005            00000010\n';
  expect(neighbourTableFull(text)).toBe(0x1203b + 0x10);
  expect(neighbourTableFull('entries allocs\n00000001 00000002\n')).toBe(0);
});
