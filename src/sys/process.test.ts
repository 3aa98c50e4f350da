import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tryLock } from './lock.ts';
import { isAlive, isStopped, processId, processorSeconds, signalProcess } from './process.ts';

test('a process is its number and its start: another start is another process, and gets no signal', async () => {
  const child = Bun.spawn(['sleep', '60']);
  const id = processId(child.pid)!;
  expect(id.pid).toBe(child.pid);
  expect(isAlive(id)).toBe(true);
  const earlier = { ...id, started: id.started - 1 };
  expect(isAlive(earlier)).toBe(false);
  expect(signalProcess(earlier, 'SIGKILL')).toBe(false);
  expect(isAlive(id)).toBe(true);
  expect(signalProcess(id, 'SIGTERM')).toBe(true);
  await child.exited;
  expect(child.signalCode).toBe('SIGTERM');
  expect(isAlive(id)).toBe(false);
  expect(signalProcess(id, 'SIGKILL')).toBe(false);
});

test('a name with parentheses and blanks does not shift the fields', async () => {
  const child = Bun.spawn(['sh', '-c', 'printf "a) R 1 (" > /proc/self/comm; echo named; read line'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await child.stdout.getReader().read();
  const uptimeTicks = Number((await Bun.file('/proc/uptime').text()).split(' ')[0]) * 100;
  const { started } = processId(child.pid)!;
  expect(started).toBeGreaterThan(uptimeTicks - 6000);
  expect(started).toBeLessThanOrEqual(uptimeTicks + 1);
  child.kill();
  await child.exited;
});

test('held, going on, and the time it took', async () => {
  const child = Bun.spawn(['sh', '-c', 'while :; do :; done']);
  const id = processId(child.pid)!;
  try {
    while (processorSeconds(id) < 0.05) await Bun.sleep(10);
    expect(isStopped(id)).toBe(false);
    process.kill(child.pid, 'SIGSTOP');
    while (!isStopped(id)) await Bun.sleep(1);
    expect(isAlive(id)).toBe(true);
    process.kill(child.pid, 'SIGCONT');
    while (isStopped(id)) await Bun.sleep(1);
  } finally {
    child.kill('SIGKILL');
    await child.exited;
  }
  expect(processorSeconds(id)).toBe(0);
});

test('no such process', () => {
  expect(processId(2 ** 30)).toBeUndefined();
  expect(signalProcess({ pid: 2 ** 30, started: 1 }, 'SIGTERM')).toBe(false);
});

test('locks: one exclusive or many shared, until the descriptor closes; a directory will do', () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-lock-'));
  try {
    const first = tryLock(directory, 'shared')!;
    const second = tryLock(directory, 'shared')!;
    expect(tryLock(directory)).toBeUndefined();
    first.close();
    expect(tryLock(directory)).toBeUndefined();
    second.close();
    using alone = tryLock(directory);
    expect(alone).toBeDefined();
    expect(tryLock(directory, 'shared')).toBeUndefined();
    expect(() => tryLock(join(directory, 'missing'))).toThrow('ENOENT');
  } finally {
    rmSync(directory, { recursive: true });
  }
});
