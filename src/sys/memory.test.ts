import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { cleanMappings, releaseCode } from './memory.ts';
import { NR, syscall } from './syscall.ts';

const mapping = (range: string, mode: string, path: string, anonymous: number) =>
  `${range} ${mode} 00000000 fe:00 1234      ${path}
Size:               4096 kB
Rss:                2048 kB
Anonymous:         ${String(anonymous).padStart(7)} kB
VmFlags: rd ex mr mw me
`;

test('only mappings of files that nobody can write to, and nobody wrote to, are dropped', () => {
  const smaps =
    mapping('00200000-00300000', 'r--p', '/opt/godwit', 0) +
    mapping('00300000-00400000', 'r--p', '/opt/godwit', 64) + // relocated
    mapping('00400000-00600000', 'r-xp', '/opt/godwit', 0) +
    mapping('00600000-00700000', 'rw-p', '/opt/godwit', 0) +
    mapping('7f0000000000-7f0000100000', 'r-xp', '/usr/lib/libc.so.6', 0) +
    mapping('7f0000100000-7f0000200000', 'r--s', '/run/a database', 0) +
    mapping('7f0000200000-7f0000300000', 'rwxp', '', 0) +
    mapping('7f0000300000-7f0000400000', 'r-xp', '[vdso]', 0);
  expect(cleanMappings(smaps)).toEqual([
    { start: 0x200000, length: 0x100000 },
    { start: 0x400000, length: 0x200000 },
    { start: 0x7f0000000000, length: 0x100000 },
  ]);
});

test('the resident code becomes less, and the program goes on', () => {
  const resident = () => Number(/^RssFile:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
  const before = resident();
  expect(releaseCode()).toBeGreaterThan(0);
  expect(resident()).toBeLessThan(before);
  expect(JSON.parse('{"still": [1, 2, 3]}')).toEqual({ still: [1, 2, 3] });
});

/** Whether the kernel knows UFFD_FEATURE_WP_ASYNC (6.7), and a process may use it here. */
function canWatch(): boolean {
  const [major, minor] = release().split('.').map(Number) as [number, number];
  const fd = syscall(NR.userfaultfd, 1);
  if (fd >= 0) syscall(NR.close, fd);
  return fd >= 0 && (major > 6 || (major === 6 && minor >= 7));
}

test.skipIf(!canWatch())('pages of the program come back one by one', () => {
  releaseCode();
  const code = readFileSync('/proc/self/smaps', 'utf8')
    .split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
    .find((mapping) => mapping.includes('r-xp') && mapping.includes(process.execPath));
  // proc_pid_smaps(5): watched by userfaultfd for writes, where the kernel maps nothing around a fault
  expect(code).toMatch(/^VmFlags:.* uw\b/m);
});
