// `godwit completion` in a real bash.
import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const program = join(import.meta.dir, '../../src/main.ts');
const made = spawnSync(process.execPath, [program, 'completion', 'bash'], { encoding: 'utf8' });

/** What bash offers for the last of these words. */
function offered(...words: string[]): string[] {
  const list = ['godwit', ...words].map((word) => `'${word}'`).join(' ');
  const script = `${made.stdout}\nCOMP_WORDS=(${list}); COMP_CWORD=${words.length}; _godwit; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8', cwd: import.meta.dir });
  expect(stderr).toBe('');
  return stdout.split('\n').filter(Boolean);
}

test('commands, options, values, kinds and files', () => {
  expect([made.status, made.stderr]).toEqual([0, '']);
  expect(offered('mig')).toEqual(['migrate']);
  expect(offered('migrate', 'r')).toEqual(['run', 'rollback']);
  expect(offered('ipam', 'show', '--show-b')).toEqual(['--show-blocks', '--show-borrowed']);
  expect(offered('get', 'bgpp')).toEqual(['bgppeers']);
  expect(offered('get', 'pools', '-o', 'w')).toEqual(['wide']);
  expect(offered('apply', '-f', 'completion.t')).toEqual(['completion.test.ts']);
  expect(offered('').length).toBeGreaterThan(15);
  // what is hidden from the help is hidden here
  expect(offered('get', '--ca')).toEqual([]);
});
