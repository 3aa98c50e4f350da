// A node of Calico's network that starts while the datastore is away: it goes on from its own copy of what was said last.
// Neighbours keep its routes for five seconds of graceful restart, and ten more: what holds longer holds by new sessions.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type { Subprocess } from 'bun';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import { claim, giveUp, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';

const here = have('a start of Calico’s network without its datastore', 'ip', 'nft', 'etcd', 'etcdctl', 'ping');
const flags = ['--network', 'blocks'];
const RESTART_MS = 5_000;
const FORGOTTEN_MS = RESTART_MS + 10_000;
const own = (n: number) => `10.233.${n}.0/26`;
const address = (n: number) => `10.233.${n}.5`;
const to = (n: number) => `${own(n)} via 10.168.0.${n} dev eth0`;
const blackhole = (n: number) => `blackhole ${own(n)}`;

describe.skipIf(!here)('three nodes', () => {
  let cluster: Cluster;
  let streams: Traffic[] = [];
  const nodes = [1, 2, 3];
  const expected = (n: number) => [blackhole(n), ...nodes.filter((other) => other !== n).map(to)];
  const settled = async () => {
    for (const n of nodes) {
      await cluster.node(n).ready();
      await cluster.node(n).hasRoutes(...expected(n));
    }
  };
  const copy = (n: number) => `${cluster.node(n).directory}/state/last-known.json`;
  const kvsOf = (n: number) =>
    (JSON.parse(readFileSync(copy(n), 'utf8')) as { kvs: { key: string; value: string }[] }).kvs;
  const copied = (n: number, key: string) =>
    until(`node ${n} has a copy of ${key}`, () => existsSync(copy(n)) && kvsOf(n).some((kv) => kv.key.includes(key)));
  const upToDate = async (n: number) => {
    const there = kvsOf(n).map(async ({ key, value }) => (await cluster.store.get(key)).kv?.value === value);
    return (await Promise.all(there)).every(Boolean);
  };
  const sessionsOf = async (n: number) => (await cluster.node(n).status()).blocks?.bgp?.sessions ?? [];
  const established = (n: number, count: number) => {
    const up = async () => (await sessionsOf(n)).filter(({ state }) => state === 'Established').length === count;
    return until(`node ${n} has ${count} sessions`, up, 40_000).catch(async (error: unknown) => {
      const log = cluster.node(n).log().slice(-3000);
      throw new Error(`${JSON.stringify(await sessionsOf(n))}\n${log}`, { cause: error });
    });
  };
  const inSync = (n: number) =>
    until('it is in sync', async () => (await cluster.node(n).status()).datastore.state === 'in-sync', 40_000);
  /** The datastore goes, node `n` is killed, and started again. */
  const killed = async (n: number, between?: () => void) => {
    await cluster.stopEtcd();
    await cluster.node(n).stop('SIGKILL');
    between?.();
    cluster.node(n).start(flags);
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes });
    await putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true }));
    await putResource(cluster.store, {
      ...{ kind: 'BGPConfiguration', metadata: { name: 'default' } },
      spec: { nodeMeshMaxRestartTime: `${RESTART_MS / 1000}s` },
    });
    for (const n of nodes) {
      await claim(cluster.store, `n${n}`, own(n));
      cluster.node(n).run('ip', 'address', 'add', `${address(n)}/32`, 'dev', 'lo');
    }
    for (const node of cluster.nodes.values()) node.start(flags);
    await settled();
    for (const n of nodes) for (const other of nodes) await copied(n, `nodes/n${other}`);
  }, 60_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  beforeEach(async () => {
    const space = (n: number) => cluster.spaces.name(`n${n}`);
    streams = [new Traffic(space(1), address(1), address(2)), new Traffic(space(2), address(2), address(3))];
    for (const stream of streams) await stream.flowing();
  });
  afterEach(async () => {
    for (const stream of streams) stream[Symbol.dispose]();
    // what one test leaves when it fails is no other's business
    const answers = await cluster.store.get('x').then(
      () => true,
      () => false,
    );
    if (answers) return;
    await cluster.stopEtcd();
    await cluster.startEtcd();
    await putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true }));
    await settled();
  });

  test('its sessions come up, nobody loses a route, and what was changed meanwhile is applied', async () => {
    expect(statSync(copy(2)).mode & 0o777).toBe(0o600);
    await claim(cluster.store, 'n2', '10.233.102.0/26');
    await cluster.node(1).hasRoutes(...expected(1), '10.233.102.0/26 via 10.168.0.2 dev eth0');
    await copied(2, '10.233.102.0');

    const monitor = await cluster.node(1).monitor('route');
    await killed(2);
    await Bun.sleep(FORGOTTEN_MS + 1_000);
    await established(2, 2);
    const { datastore, reasons, ready } = await cluster.node(2).status();
    expect(datastore.state).toBe('copy');
    expect(Date.parse(datastore.copyOf!)).toBeLessThan(Date.now() - FORGOTTEN_MS);
    expect(ready).toBe(false);
    expect(reasons.join()).toContain(`running from the copy of ${datastore.copyOf}`);
    expect(cluster.node(2).log()).toContain('running from the copy of what it said last');
    expect(await monitor.stop()).not.toContain('10.233.');
    const before = (await sessionsOf(2)).map(({ since }) => since);

    await elsewhere(cluster, async (store) => {
      await claim(store, 'n2', '10.233.202.0/26');
      await giveUp(store, 'n2', '10.233.102.0/26');
    });
    await cluster.startEtcd();
    await inSync(2);
    await cluster.node(1).hasRoutes(...expected(1), '10.233.202.0/26 via 10.168.0.2 dev eth0');
    expect((await sessionsOf(2)).map(({ since }) => since)).toEqual(before);
    await nothingLost(streams);
    await giveUp(cluster.store, 'n2', '10.233.202.0/26');
    await settled();
  }, 110_000);

  test('a copy that lacks what was learned last takes nothing away', async () => {
    const monitor = await cluster.node(1).monitor('route');
    await killed(1, () => {
      const old = JSON.parse(readFileSync(copy(1), 'utf8')) as { kvs: { key: string }[] };
      const lost = (key: string) => key.endsWith('/nodes/n3') || key.startsWith('/calico/ipam/v2/host/n1/');
      expect(old.kvs.filter(({ key }) => lost(key))).toHaveLength(2);
      writeFileSync(copy(1), JSON.stringify({ ...old, kvs: old.kvs.filter(({ key }) => !lost(key)) }));
    });
    await established(1, 1);
    await until('all was told', async () => (await sessionsOf(1)).every(({ endOfRib }) => endOfRib));
    await Bun.sleep(2_000);
    expect(cluster.node(1).routes()).toEqual(expected(1).toSorted());
    expect((await cluster.node(1).status()).datastore.state).toBe('copy');
    await cluster.startEtcd();
    await inSync(1);
    await established(1, 2);
    await settled();
    expect(await monitor.stop()).not.toContain('10.233.');
    await nothingLost(streams);
  }, 90_000);

  test.each([
    [{ ipipMode: 'Always' }, 'tunl0'],
    [{ vxlanMode: 'Always' }, 'vxlan.calico'],
  ])(
    'through a tunnel: %p',
    async (mode, device) => {
      await putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true, ...mode }));
      const through = (from: number, to: number) =>
        cluster.node(from).run('ip', 'route', 'get', address(to)).includes(`dev ${device}`);
      const pairs = nodes.flatMap((from) => nodes.flatMap((to) => (from === to ? [] : [[from, to] as const])));
      await until('all send through it', () => pairs.every(([from, to]) => through(from, to)));
      await until('the copy is up to date', () => upToDate(2));
      const monitor = await cluster.node(2).monitor('route');
      await killed(2);
      await established(2, 2);
      expect((await cluster.node(2).status()).datastore.state).toBe('copy');
      await Bun.sleep(1_000);
      await cluster.startEtcd();
      await inSync(2);
      await cluster.node(2).ready();
      expect(await monitor.stop()).not.toContain('10.233.');
      await nothingLost(streams);
      await putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true }));
      await settled();
    },
    60_000,
  );

  test('F01: a datastore that hangs is no datastore; those that run notice it, at no cost', async () => {
    const ticks = () => {
      const fields = readFileSync(`/proc/${cluster.node(1).process!.pid}/stat`, 'utf8')
        .split(') ')[1]!
        .split(' ');
      return Number(fields[11]) + Number(fields[12]);
    };
    const monitor = await cluster.node(1).monitor('route');
    cluster.signalEtcd('SIGSTOP');
    const [started, before] = [performance.now(), ticks()];
    await cluster.node(3).stop('SIGKILL');
    cluster.node(3).start(flags);
    await established(3, 2);
    expect((await cluster.node(3).status()).datastore.state).toBe('copy');
    await until('it is noticed', async () => (await cluster.node(1).status()).datastore.state === 'stale', 20_000);
    // a tick is 10 ms: a fifth of the time, twice over for this test's own questions
    expect(ticks() - before).toBeLessThan((performance.now() - started) / 25);
    expect(await monitor.stop()).not.toContain('10.233.');
    cluster.signalEtcd('SIGCONT');
    for (const n of [1, 3]) await inSync(n);
    await settled();
    await nothingLost(streams);
  }, 60_000);

  test('a node that was booted anew: its kernel has nothing, and its routes come back all the same', async () => {
    await until('the copy is up to date', () => upToDate(2));
    await killed(2, () => {
      cluster.node(2).run('ip', 'route', 'flush', 'proto', '71');
      cluster.node(2).run('sh', '-c', 'nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0');
    });
    await established(2, 2);
    for (const n of nodes) await cluster.node(n).hasRoutes(...expected(n));
    const forwards = () => cluster.node(2).run('sysctl', '-n', 'net.ipv4.ip_forward').trim() === '1';
    await until('it forwards', forwards);
    await until('it masquerades', () => cluster.node(2).run('nft', 'list', 'ruleset').includes('masquerade'));
    expect((await cluster.node(2).status()).datastore.state).toBe('copy');
    await cluster.startEtcd();
    await inSync(2);
    await settled();
  }, 60_000);

  test('a copy that is broken is set aside: the node waits for the datastore', async () => {
    await killed(1, () => writeFileSync(copy(1), '{"format":1,'));
    await until('it is told', () => cluster.node(1).log().includes('cannot be used; waiting for the datastore'));
    const { datastore, ready, blocks } = await cluster.node(1).status();
    expect([datastore.state, ready, blocks?.bgp]).toEqual(['connecting', false, undefined]);
    expect(existsSync(`${copy(1)}.broken`)).toBe(true);
    expect(cluster.node(1).routes()).toEqual(expected(1).toSorted());
    await cluster.startEtcd();
    await settled();
    await copied(1, 'nodes/n3');
  }, 60_000);
});

/** The datastore's data changed where no agent sees it. */
async function elsewhere(cluster: Cluster, change: (store: Datastore) => Promise<void>): Promise<void> {
  const directory = `${cluster.directory}/elsewhere`;
  mkdirSync(directory, { recursive: true });
  const [client, peer] = ['unix://localhost:2379', 'unix://localhost:2380'];
  const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer];
  const rest = ['--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`, '--data-dir', '../data'];
  const etcd: Subprocess = Bun.spawn(['setpriv', '--pdeathsig', 'KILL', 'etcd', ...urls, ...rest], {
    ...{ cwd: directory, stdio: ['ignore', 'ignore', 'ignore'] },
  });
  try {
    await using store = await openDatastore(`unix://${directory}/localhost:2379`, { requestTimeoutMs: 2_000 });
    await until('etcd answers', () => store.get('x').catch(() => undefined), 20_000);
    await change(store);
  } finally {
    etcd.kill('SIGKILL');
    await etcd.exited;
  }
}
