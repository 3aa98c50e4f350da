// The embedded store is killed while it writes: nothing that was answered may be missing, nothing half done be there.
import { describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { LeaseId } from '../../src/datastore/mod.ts';
import { startGodwitStore } from '../support/datastores.ts';
import { until } from '../support/until.ts';

describe('kill -9', () => {
  test('under write load, several times: every answered write is there, every transaction whole', async () => {
    await using server = await startGodwitStore();
    /** What was answered: key → value. */
    const answered = new Map<string, string>();
    let last = 0;
    for (let round = 0; round < 4; round++) {
      await using store = await openDatastore(server.url, { requestTimeoutMs: 3_000 });
      let running = true;
      const writer = async (id: number): Promise<void> => {
        for (let n = 0; running; n++) {
          const key = `/load/${id}/${n % 50}`;
          const value = `${round}.${n}`;
          try {
            const [a, b] = [`${key}/a`, `${key}/b`];
            const result = await store.transaction({
              if: [],
              do: [
                { op: 'put', key: a, value },
                { op: 'put', key: b, value },
              ],
            });
            answered.set(key, value);
            last = Math.max(last, result.revision);
          } catch {
            return; // the store is gone; this write is in doubt
          }
        }
      };
      const writers = Array.from({ length: 20 }, (_, i) => writer(i));
      const goal = last + 400;
      await until('some hundred writes', () => last > goal);
      await server.killAndRestart();
      running = false;
      await Promise.all(writers);
      await using after = await openDatastore(server.url);
      const { kvs, revision } = await after.list('/load/');
      const found = new Map(kvs.map((kv) => [kv.key, kv.value]));
      expect(revision).toBeGreaterThanOrEqual(last);
      for (const [key, value] of answered) {
        // a later write in doubt may have taken its place, an earlier one not
        const [round, n] = found.get(`${key}/a`)!.split('.').map(Number);
        const [wantedRound, wantedN] = value.split('.').map(Number);
        expect(round! * 1e6 + n!).toBeGreaterThanOrEqual(wantedRound! * 1e6 + wantedN!);
        expect(found.get(`${key}/b`)).toBe(found.get(`${key}/a`));
      }
    }
    expect(answered.size).toBeGreaterThan(100);
  }, 60_000);

  test('history, leases and identity live on', async () => {
    await using server = await startGodwitStore();
    let lease: LeaseId;
    let revision: number;
    {
      await using store = await openDatastore(server.url);
      lease = (await store.grantLease(300)).id;
      await store.put('/a', '1', lease);
      revision = await store.put('/b', '1');
      await store.put('/b', '2');
      await store.delete('/b');
      await store.compact(revision);
    }
    await server.killAndRestart();
    await using store = await openDatastore(server.url);
    expect((await store.get('/a')).kv?.lease).toBe(lease);
    expect((await store.leaseTimeToLive(lease))?.grantedSeconds).toBe(300);
    const stop = new AbortController();
    const seen: string[] = [];
    for await (const batch of store.watch('/b', revision, stop.signal)) {
      seen.push(...batch.events.map((event) => event.type));
      if (seen.length >= 3) stop.abort();
    }
    expect(seen).toEqual(['put', 'put', 'delete']);
    const iterator = store.watch('/b', revision - 1, new AbortController().signal)[Symbol.asyncIterator]();
    expect(await iterator.next().catch((error: unknown) => error)).toMatchObject({ kind: 'compacted' });
    await store.revokeLease(lease);
    expect((await store.get('/a')).kv).toBeUndefined();
  });

  test('SIGTERM ends it well, and a second server on the same data is refused', async () => {
    await using server = await startGodwitStore();
    const main = join(import.meta.dir, '../../src/main.ts');
    const data = join(server.directory, 'store');
    const second = Bun.spawn(
      [process.execPath, main, 'store', 'serve', '--listen', 'http://127.0.0.1:0', '--data', data],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    expect(await second.exited).toBe(1);
    expect(await second.stderr.text()).toContain('is in use by another store');
    const { pid } = server;
    process.kill(pid, 'SIGTERM');
    await until('the end', () => server.log().includes('the store stops'));
  });
});
