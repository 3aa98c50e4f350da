// What the datastore's network and relays do to routes (F01 black hole, F03, F04): nothing that is not true. The agent
// runs in this process, its kernel side in a namespace, with a proxy that makes the faults between it and the store.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, parseConfig } from '../../src/agent/mod.ts';
import { silentLogger } from '../../src/base/mod.ts';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import { NetworkNamespace } from '../../src/sys/mod.ts';
import { startGodwitStore } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { ApiProxy, disorder, TcpProxy } from '../support/faulty-proxy.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { PREFIX } from './cluster.ts';

const here = have('the agent behind a faulty network', 'ip', 'nft');

describe.skipIf(!here)('a store one cannot trust', () => {
  const spaces = new TestNamespaces();
  const directory = mkdtempSync(join(tmpdir(), 'godwit-doubt-'));
  let server: RunningStore;
  let writer: Datastore;
  const times = { pingAfterMs: 500, pingTimeoutMs: 500, reconcileMs: 1_000, distrustMs: 60_000 };

  beforeAll(async () => {
    server = await startGodwitStore();
    writer = await openDatastore(server.url);
    await writer.put(`${PREFIX}/config`, '{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}');
    for (const n of [201, 202]) await put(n);
    spaces.add('n');
    inside('ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up');
    inside('ip link set lo up; ip address add 10.168.0.2/24 dev eth0');
  });
  afterAll(async () => {
    await writer[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    spaces[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  const inside = (command: string) => spaces.run('n', 'sh', '-c', command);
  const key = (n: number) => `${PREFIX}/subnets/10.244.${n}.0-24`;
  const put = (n: number, host = n) =>
    writer.put(key(n), `{"PublicIP":"10.168.0.${host}","PublicIPv6":null,"BackendType":"host-gw"}`);
  const routes = () =>
    inside('ip route show proto 71')
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean)
      .sort();
  const route = (n: number, host = n) => `10.244.${n}.0/24 via 10.168.0.${host} dev eth0`;
  const has = (...expected: string[]) =>
    until(`routes ${expected.join('; ')}`, () => routes().join() === expected.toSorted().join(), 20_000);

  /** What follows the network goes through the proxy; the lease, which the proxies know nothing of, does not. */
  async function followThrough(proxied: Datastore): Promise<Datastore> {
    const direct = await openDatastore(server.url);
    return new Proxy(direct, {
      get(target, name) {
        if (name === Symbol.asyncDispose) {
          return async () => {
            await proxied[Symbol.asyncDispose]();
            await direct[Symbol.asyncDispose]();
          };
        }
        const of = name === 'follow' ? proxied : target;
        const value: unknown = Reflect.get(of, name, of);
        return typeof value === 'function' ? (value.bind(of) as unknown) : value;
      },
    });
  }

  /** Runs an agent behind the proxy while `action` runs. */
  async function withAgent(url: string, action: (agent: Agent) => Promise<void>): Promise<void> {
    const flags = {
      ...{ node: 'n', datastore: url, runDir: `${directory}/run`, stateDir: `${directory}/state`, listen: 'off' },
      subnetFile: `${directory}/subnet.env`,
    };
    const config = parseConfig({ flags, environment: {} });
    if (!config.ok) throw config.error;
    using namespace = NetworkNamespace.open(spaces.path('n'));
    const openStore = async () => followThrough(await openDatastore(url, { times, requestTimeoutMs: 1_000 }));
    const agent = new Agent({ config: config.value, log: silentLogger, namespace, openStore });
    const stop = new AbortController();
    const running = agent.run(stop.signal);
    try {
      await until('the agent is ready', () => agent.readiness().ready, 20_000);
      await action(agent);
    } finally {
      stop.abort();
      await running;
    }
  }

  test('F01: a black hole is noticed, changes no route, and what was missed comes after', async () => {
    using proxy = await TcpProxy.to(server.url);
    await withAgent(proxy.url, async (agent) => {
      await has(route(201), route(202));
      proxy.frozen = true;
      await put(203);
      await until('it is noticed', () => agent.status().datastore.state === 'stale', 20_000);
      expect(agent.readiness()).toMatchObject({ ready: true, warnings: [expect.stringContaining('datastore')] });
      expect(routes()).toEqual([route(201), route(202)]);
      proxy.frozen = false;
      proxy.cut();
      await has(route(201), route(202), route(203));
      await writer.delete(key(203));
      await has(route(201), route(202));
    });
  });

  test('F03: events lost, repeated, late: the routes end up as the store has them', async () => {
    using proxy = await ApiProxy.to(server.url);
    await withAgent(proxy.url, async () => {
      let seed = 7;
      const below = (n: number) => (seed = (seed * 48_271) % 2_147_483_647) % n;
      proxy.faults.watch = disorder(below);
      for (let i = 0; i < 150; i++) {
        const n = 210 + below(10);
        await (below(3) === 0 ? writer.delete(key(n)) : put(n, 100 + below(50)));
      }
      proxy.faults = {};
      const { kvs } = await writer.list(`${PREFIX}/subnets/`);
      const expected = kvs.flatMap((kv) => {
        const host = /"10\.168\.0\.(\d+)"/.exec(kv.value)![1]!;
        const subnet = /10\.244\.(\d+)\.0/.exec(kv.key)![1]!;
        return host === '2' ? [] : [route(Number(subnet), Number(host))];
      });
      await has(...expected);
      for (let n = 210; n < 220; n++) await writer.delete(key(n));
      await has(route(201), route(202));
    });
  });

  test('F04: a relay that answers from the past takes no route away', async () => {
    using proxy = await ApiProxy.to(server.url);
    await withAgent(proxy.url, async (agent) => {
      const { revision: past } = await writer.get(key(201));
      await put(204);
      await has(route(201), route(202), route(204));
      let asked = 0;
      proxy.faults = {
        range(answer) {
          asked++;
          const kvs = answer.kvs.filter((kv) => kv.createRevision <= past);
          return { ...answer, kvs, header: { ...answer.header!, revision: past }, count: kvs.length, more: false };
        },
        watch: (response) => [{ ...response, canceled: true, events: [] }],
      };
      await put(205);
      await until('several lists from the past', () => asked > 4, 20_000);
      expect(routes()).toEqual([route(201), route(202), route(204)]);
      expect(agent.status().datastore.state).toBe('stale');
      proxy.faults = {};
      await has(route(201), route(202), route(204), route(205));
      for (const n of [204, 205]) await writer.delete(key(n));
      await has(route(201), route(202));
    });
  });
});
