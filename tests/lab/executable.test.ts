import { afterAll, describe, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from '../../scripts/lib/process.ts';
import { leftovers, TestLabs } from '../support/lab.ts';
import { run } from '../support/netns.ts';
import { have } from '../support/peers.ts';

describe.skipIf(!have('lab from the built executable', 'ip'))('the built executable', () => {
  const labs = new TestLabs();
  const godwit = join(labs.directory, 'godwit');
  afterAll(() => labs[Symbol.asyncDispose]());

  test('does it all by itself: lab, store, agents and CNI plugin, from any directory', () => {
    run(join(repositoryRoot, 'scripts/bun'), 'scripts/build.ts', godwit);
    expect(existsSync(godwit)).toBe(true);
    const name = labs.name('x');
    // nothing of the checkout, and no other program, is in reach
    const stdout = run(
      'env',
      '-i',
      '-C',
      '/',
      'PATH=/nonexistent',
      godwit,
      'lab',
      'run',
      '--check',
      '--json',
      '-n',
      name,
    );
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, problems: [], reachability: { passed: 56, total: 56 } });
    expect(leftovers(name)).toEqual([]);
    expect(run(godwit, 'lab', 'scenarios', 'routed')).toContain('routers:');
  }, 200_000);
});
