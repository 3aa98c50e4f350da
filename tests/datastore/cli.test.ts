// `godwit store` as a user types it.
import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEtcd, startGodwitStore } from '../support/datastores.ts';
import { run } from '../support/netns.ts';
import { have } from '../support/peers.ts';

async function godwit(...args: string[]): Promise<{ status: number; out: string; error: string }> {
  const main = join(import.meta.dir, '../../src/main.ts');
  const child = Bun.spawn([process.execPath, main, 'store', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, error, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { status, out: out.trim(), error: error.trim() };
}

test('status and compact', async () => {
  await using server = await startGodwitStore();
  const at = ['--datastore', server.url];
  const before = await godwit('status', ...at, '--json');
  expect(JSON.parse(before.out)).toMatchObject({ revision: 1, errors: [] });
  expect(await godwit('compact', ...at)).toMatchObject({ status: 1, error: 'godwit: the store has no history yet' });
  expect((await godwit('compact', '7', ...at)).error).toContain('future revision');
  expect((await godwit('status', ...at)).out).toContain('alarms     none');
});

test('what cannot work is said, with status 1 or 2', async () => {
  expect(await godwit('status', '--datastore', 'ftp://x')).toMatchObject({ status: 1 });
  const unreachable = await godwit('status', '--datastore', 'etcd://127.0.0.1:1');
  expect([unreachable.status, unreachable.error]).toEqual([1, expect.stringContaining('cannot connect') as string]);
  const listen = await godwit('serve', '--listen', 'localhost', '--data', '/nonexistent/x');
  expect(listen.error).toContain('want unix:///PATH');
  const https = await godwit('serve', '--listen', 'https://127.0.0.1:0', '--data', '/nonexistent/x');
  expect(https.error).toContain('https needs a certificate');
  expect((await godwit('compact', 'yesterday')).status).toBe(2);
});

test.skipIf(!have('a datastore that asks who one is', 'etcd', 'etcdctl'))('a user and a password', async () => {
  await using etcd = await startEtcd();
  const ctl = (...args: string[]) => run('env', 'ETCDCTL_API=3', 'etcdctl', '--endpoints', etcd.endpoint, ...args);
  ctl('user', 'add', 'root:secret');
  ctl('user', 'grant-role', 'root', 'root');
  ctl('auth', 'enable');
  const directory = mkdtempSync(join(tmpdir(), 'godwit-cli-'));
  try {
    const file = join(directory, 'password');
    const at = ['--datastore', etcd.url, '--datastore-user', 'root', '--datastore-password-file', file];
    expect((await godwit('compact', '2', '--datastore', etcd.url)).status).toBe(1);
    expect((await godwit('status', ...at)).error).toContain('the password of the datastore’s user cannot be read');
    writeFileSync(file, 'wrong\n');
    expect((await godwit('status', ...at)).error).toContain('log in as root');
    writeFileSync(file, 'secret\n');
    expect(await godwit('status', ...at)).toMatchObject({ status: 0, error: '' });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
