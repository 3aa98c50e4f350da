// What `follow` tells while the network and the datastore misbehave: no gap, no flap, never an older state after a newer.
import { describe, expect, test } from 'bun:test';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore, Update } from '../../src/datastore/mod.ts';
import type { ClientTimes } from '../../src/datastore/client/times.ts';
import type { RangeRequest, WatchResponse } from '../../src/datastore/wire/messages.ts';
import { startEtcd, startGodwitStore } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { ApiProxy, TcpProxy } from '../support/faulty-proxy.ts';
import { have } from '../support/peers.ts';
import { until } from '../support/until.ts';

/** etcd ends connections that are pinged more often than every 5 s; our own store does not. */
const servers: [name: string, here: boolean, pingAfterMs: number, start: () => Promise<RunningStore>][] = [
  ['etcd', have('datastore faults with etcd', 'etcd'), 5_500, startEtcd],
  ['the embedded store', true, 500, startGodwitStore],
];

/** A follower and the picture it makes; notes whatever it should never be told. */
class Follower implements AsyncDisposable {
  readonly picture = new Map<string, string>();
  readonly updates: Update[] = [];
  readonly faults: string[] = [];
  private readonly revisions = new Map<string, number>();
  private readonly stop = new AbortController();
  private readonly done: Promise<void>;

  constructor(store: Datastore, prefix: string) {
    this.done = this.run(store, prefix);
  }

  private async run(store: Datastore, prefix: string): Promise<void> {
    for await (const update of store.follow(prefix, this.stop.signal)) {
      this.updates.push(update);
      if (update.type === 'put') {
        const { key, value, modRevision } = update.kv;
        if (modRevision <= (this.revisions.get(key) ?? 0)) this.faults.push(`${key} went back to ${modRevision}`);
        this.revisions.set(key, modRevision);
        this.picture.set(key, value);
      } else if (update.type === 'delete' && !this.picture.delete(update.key)) {
        this.faults.push(`${update.key} was deleted twice`);
      }
    }
  }

  count(type: Update['type']): number {
    return this.updates.filter((update) => update.type === type).length;
  }

  async inSync(): Promise<void> {
    await until('sync', () => this.updates.at(-1)?.type === 'inSync');
  }

  async agreesWith(store: Datastore, prefix: string): Promise<void> {
    let differences = '';
    const agrees = async (): Promise<boolean> => {
      const { kvs } = await store.list(prefix);
      const wrong = kvs.filter((kv) => this.picture.get(kv.key) !== kv.value).map((kv) => kv.key);
      differences = `${wrong.slice(0, 5).join()}; ${this.picture.size} keys told, ${kvs.length} there`;
      return wrong.length === 0 && kvs.length === this.picture.size;
    };
    await until('the picture to be the store', agrees).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${differences}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    await this.done;
  }
}

const quick: Partial<ClientTimes> = { connectMs: 1_000, requestMs: 2_000, reconnectMinMs: 20, reconnectMaxMs: 300 };

for (const [name, here, pingAfterMs, start] of servers) {
  describe.skipIf(!here)(`follow, with ${name}`, () => {
    const times = { ...quick, pingAfterMs, pingTimeoutMs: 2_000 };

    test('F01: a connection on which everything vanishes is noticed, and costs no CPU', async () => {
      await using server = await start();
      await using writer = await openDatastore(server.url);
      for (let n = 0; n < 100; n++) await writer.put(`/f/${n}`, 'a');
      using proxy = await TcpProxy.to(server.url);
      await using store = await openDatastore(proxy.url, { times });
      await using follower = new Follower(store, '/f/');
      await follower.inSync();
      const told = follower.updates.length;
      proxy.frozen = true;
      await writer.put('/f/1', 'b');
      await until('word of it', () => follower.updates.at(-1)?.type === 'stale');
      const cpu = process.cpuUsage();
      await Bun.sleep(3_000); // the time over which CPU use is measured
      const { user, system } = process.cpuUsage(cpu);
      expect((user + system) / 3_000_000).toBeLessThan(0.2);
      expect(follower.updates.length).toBe(told + 1); // one `stale`, and nothing taken back
      proxy.frozen = false;
      proxy.cut();
      await follower.agreesWith(writer, '/f/');
      expect(follower.updates.slice(told + 1).map((update) => update.type)).toEqual(['put', 'inSync']);
      expect(follower.faults).toEqual([]);
    }, 60_000);

    test('F01: a stopped store is noticed; with a second endpoint the follower goes there', async () => {
      await using server = await start();
      await using writer = await openDatastore(server.url);
      await writer.put('/f/a', '1');
      using frozen = await TcpProxy.to(server.url);
      using good = await TcpProxy.to(server.url);
      const url = `${frozen.url},${good.url.replace('etcd://', '')}`;
      await using store = await openDatastore(url, { times, random: () => 0 });
      await using follower = new Follower(store, '/f/');
      await follower.inSync();
      expect([frozen.accepted, good.accepted]).toEqual([1, 0]);
      frozen.frozen = true;
      await writer.put('/f/a', '2');
      await follower.agreesWith(writer, '/f/');
      expect(good.accepted).toBeGreaterThan(0);
      expect(follower.faults).toEqual([]);
    }, 60_000);

    test('F02: compacted while away: the difference only, from one watch', async () => {
      await using server = await start();
      await using writer = await openDatastore(server.url);
      const all = (value: string, from: number, to: number) =>
        Promise.all(Array.from({ length: to - from }, (_, i) => writer.put(`/f/${from + i}`, value)));
      await all('same', 0, 200);
      using proxy = await TcpProxy.to(server.url);
      await using store = await openDatastore(proxy.url, { times });
      await using follower = new Follower(store, '/f/');
      await follower.inSync();
      const told = follower.updates.length;
      await proxy.down();
      for (let round = 0; round < 10; round++) await all(`round ${round}`, 100, 600);
      await writer.delete('/f/0');
      await writer.compact((await writer.status()).revision);
      await proxy.up();
      await follower.agreesWith(writer, '/f/');
      await follower.inSync();
      const news = follower.updates.slice(told);
      // keys 0 to 99 did not change but for one deletion, the others are told once each
      expect(news.filter((update) => update.type === 'put').length).toBe(500);
      expect(news.filter((update) => update.type === 'delete')).toEqual([{ type: 'delete', key: '/f/0' }]);
      expect(follower.faults).toEqual([]);
      await writer.put('/f/after', 'x');
      await follower.agreesWith(writer, '/f/');
      if (name !== 'etcd') return;
      const metrics = await (await fetch(`${server.endpoint}/metrics`)).text();
      expect(/etcd_debugging_mvcc_watcher_total (\d+)/.exec(metrics)?.[1]).toBe('1');
    }, 60_000);

    test('F03: events lost, repeated, out of order and from the past', async () => {
      await using server = await start();
      await using writer = await openDatastore(server.url);
      using proxy = await ApiProxy.to(server.url);
      await using store = await openDatastore(proxy.url, {
        times: { ...times, pingTimeoutMs: 20_000, reconcileMs: 1_500 },
      });
      await using follower = new Follower(store, '/f/');
      await follower.inSync();
      let seed = 42;
      const below = (n: number) => (seed = (seed * 48_271) % 2_147_483_647) % n;
      const old: WatchResponse[] = [];
      let held: WatchResponse | undefined;
      proxy.faults.watch = (response) => {
        if (response.events.length === 0) return [response];
        if (old.length < 50) old.push(response);
        switch (below(5)) {
          case 0:
            return []; // lost
          case 1:
            return [response, response]; // twice
          case 2:
            return [response, old[below(old.length)]!]; // and one from the past
          case 3: {
            const before = held; // changes places with a later one
            held = response;
            return before ? [before] : [];
          }
          default:
            return [response];
        }
      };
      for (let n = 0; n < 600; n++) {
        const key = `/f/${below(30)}`;
        await (below(4) === 0 ? writer.delete(key) : writer.put(key, String(n)));
      }
      await follower.agreesWith(writer, '/f/');
      expect(follower.faults).toEqual([]);
      expect(follower.count('stale')).toBe(0);
    }, 60_000);

    test('F04: a relay that answers from the past is not believed', async () => {
      await using server = await start();
      await using writer = await openDatastore(server.url);
      using proxy = await ApiProxy.to(server.url);
      await using store = await openDatastore(proxy.url, { times: { ...times, distrustMs: 60_000 } });
      await writer.put('/f/a', '1');
      const { revision: past } = await writer.get('/f/a');
      await using follower = new Follower(store, '/f/');
      await follower.inSync();
      await writer.put('/f/b', '2');
      await writer.put('/f/a', '3');
      await until('both', () => follower.picture.get('/f/a') === '3' && follower.picture.has('/f/b'));
      const told = follower.updates.length;
      // from now on lists show the state before `b`, and the watch is lost
      let asked = 0;
      proxy.faults = {
        range: (answer, _request: RangeRequest) => {
          asked++;
          const kvs = answer.kvs.filter((kv) => kv.createRevision <= past);
          return { ...answer, kvs, header: { ...answer.header!, revision: past }, count: kvs.length, more: false };
        },
        watch: (response) => [{ ...response, canceled: true, events: [] }],
      };
      await writer.put('/f/c', '4');
      await until('several lists', () => asked > 3);
      expect(follower.updates.slice(told).map((update) => update.type)).toEqual(['stale']);
      expect(follower.picture.get('/f/b')).toBe('2');
      proxy.faults = {};
      await follower.agreesWith(writer, '/f/');
      expect(follower.faults).toEqual([]);
      expect(follower.count('delete')).toBe(0);
    }, 60_000);
  });
}

describe('a restored store', () => {
  test('after a while lists from the past are taken for the truth, and only differences are told', async () => {
    await using server = await startGodwitStore();
    await using writer = await openDatastore(server.url);
    for (const key of ['a', 'b', 'c']) await writer.put(`/f/${key}`, key);
    using proxy = await TcpProxy.to(server.url);
    await using store = await openDatastore(proxy.url, { times: { ...quick, distrustMs: 1_000 } });
    await using follower = new Follower(store, '/f/');
    await follower.inSync();
    await using empty = await startGodwitStore();
    await using restored = await openDatastore(empty.url);
    await restored.put('/f/a', 'a');
    // the address now leads to the restored store
    proxy.redirect(empty.url);
    await until('the deletions', () => follower.picture.size === 1);
    expect(follower.count('stale')).toBe(1);
    expect(follower.updates.filter((update) => update.type === 'delete').length).toBe(2);
  }, 60_000);
});
