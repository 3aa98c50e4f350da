// The store's disk fills up: writes are refused cleanly, reads go on, and everything works again when there is space.
import { describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import { methods } from '../../src/datastore/wire/services.ts';
import { startGodwitStore } from '../support/datastores.ts';
import { EtcdApi } from '../support/etcd-api.ts';
import { have } from '../support/peers.ts';

/** A small file system of its own. */
function smallDisk(size: string): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'godwit-disk-'));
  const { exitCode, stderr } = Bun.spawnSync(['mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]);
  if (exitCode !== 0) throw new Error(stderr.toString());
  return {
    path,
    [Symbol.dispose]() {
      Bun.spawnSync(['umount', '-l', path]);
      rmSync(path, { recursive: true, force: true });
    },
  };
}

/** Takes what space is left, to the last byte. */
function fill(path: string): void {
  writeFileSync(path, '');
  for (let size = 1024 * 1024; size >= 1; size = Math.floor(size / 2)) {
    for (;;) {
      try {
        writeFileSync(path, Buffer.alloc(size), { flag: 'a' });
      } catch {
        break;
      }
    }
  }
}

describe.skipIf(!have('disk full', 'mount'))('disk full', () => {
  test('NOSPACE while it is full, nothing lost, and well again afterwards', async () => {
    using disk = smallDisk('4m');
    await using server = await startGodwitStore(['--data', join(disk.path, 'store')]);
    await using store = await openDatastore(server.url);
    using api = await EtcdApi.connect(server.url);
    const value = 'x'.repeat(10_000);
    await store.put('/a', 'before');
    const ballast = join(disk.path, 'ballast');
    fill(ballast);
    let refused: unknown;
    let answered = 0;
    for (let n = 0; n < 500 && refused === undefined; n++) {
      await store.put(`/fill/${n}`, value).then(
        () => answered++,
        (error: unknown) => (refused = error),
      );
    }
    expect(refused).toMatchObject({ kind: 'no-space' });
    expect(await api.refusal(methods.leaseGrant, { ttl: 60 })).toBe('8 etcdserver: mvcc: database space exceeded');
    expect((await api.call(methods.alarm, {})).alarms).toMatchObject([{ alarm: 1 }]);
    expect((await store.status()).errors.join()).toContain('NOSPACE');
    // a refused write is not there, also not for a reader or a watcher
    expect((await store.list('/fill/')).kvs.length).toBe(answered);
    expect((await store.get('/a')).kv?.value).toBe('before');
    const { revision } = await store.get('/a');

    await server.killAndRestart();
    expect((await store.list('/fill/')).kvs.length).toBe(answered);

    unlinkSync(ballast);
    expect(await store.put('/a', 'after')).toBe(revision + 1);
    using again = await EtcdApi.connect(server.url);
    expect((await again.call(methods.alarm, {})).alarms).toEqual([]);
    await server.killAndRestart();
    expect((await store.get('/a')).kv?.value).toBe('after');
  });

  test('a data directory that cannot be written is said at the start', async () => {
    using disk = smallDisk('64k');
    fill(join(disk.path, 'ballast'));
    const start = startGodwitStore(['--data', join(disk.path, 'store')]);
    const outcome = await start.then(() => 'it started', String);
    expect(outcome).toContain('cannot use data directory');
  });
});
