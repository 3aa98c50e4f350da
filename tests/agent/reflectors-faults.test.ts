// Faults of a cluster with automatic reflectors: all of them die at once (F13), the datastore is away for longer than any
// lease (F01). Packets go all the time, and none is lost.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { repositoryRoot } from '../../scripts/lib/process.ts';
import { REPORTS_PREFIX } from '../../src/reflectors/mod.ts';
import { claim, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';
import { everyRoute, own, planOf, pod, withoutLoss } from './reflecting.ts';

const here = have('faults of automatic route reflectors', 'ip', 'nft', 'etcd', 'ping');
const blocks = ['--network', 'blocks'];
const numbers = [1, 2, 3, 4, 5];

describe.skipIf(!here)('five nodes with two reflectors', () => {
  let cluster: Cluster;
  const reflectors = async () => (await planOf(cluster))!.target.reflectors.map((name) => Number(name.slice(1)));
  const sessions = async (n: number) => (await cluster.node(n).status()).blocks?.bgp?.sessions ?? [];

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: numbers });
    await putResource(cluster.store, poolOf('10.233.0.0/16'));
    await putResource(cluster.store, {
      ...{ kind: 'ClusterConfiguration', apiVersion: 'godwit.io/v1', metadata: { name: 'default' } },
      spec: { routeReflectors: { mode: 'auto', threshold: 3 } },
    });
    for (const n of numbers) {
      await claim(cluster.store, `n${n}`, own(n));
      cluster.node(n).run('ip', 'address', 'add', `${pod(n)}/32`, 'dev', 'lo');
      cluster.node(n).start(blocks);
    }
    await until(
      'reflectors serve all, alone',
      async () => {
        const now = await planOf(cluster);
        return now?.keep === undefined && now?.target.reflectors.length === 2 && now.members.length === numbers.length;
      },
      40_000,
    );
    await everyRoute(cluster, numbers);
  }, 60_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('the command tells who is what', () => {
    const env = { ...process.env, GODWIT_DATASTORE: cluster.url, NO_COLOR: '1' };
    const program = join(repositoryRoot, 'src/main.ts');
    const { stdout, stderr } = spawnSync(process.execPath, [program, 'reflectors'], { encoding: 'utf8', env });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^mode +auto\ntopology +reflectors n\d, n\d\ngeneration +\d+\nplanned by +n\d\n\nNODE/);
    expect(stdout.match(/ client +yes +synced/g)).toHaveLength(3);
    expect(stdout.match(/ reflector +yes +synced/g)).toHaveLength(2);
  });

  test('both reflectors are killed and come back: nobody lost anything (F13)', async () => {
    const both = await reflectors();
    const client = numbers.find((n) => !both.includes(n))!;
    await withoutLoss(cluster, numbers, async () => {
      for (const n of both) await cluster.node(n).stop('SIGKILL');
      await until('sessions are down', async () =>
        (await sessions(client)).every(({ state }) => state !== 'Established'),
      );
      await Bun.sleep(1500);
      for (const n of both) cluster.node(n).start(blocks);
      await until(
        'sessions are up',
        async () => (await sessions(client)).every(({ state, endOfRib }) => state === 'Established' && endOfRib),
        30_000,
      );
      await everyRoute(cluster, numbers);
    });
    expect(await reflectors()).toEqual(both);
  }, 60_000);

  test('the reflectors cannot reach each other, half of the nodes with each: no half loses anything, and all heals (F13)', async () => {
    const both = await reflectors();
    const clients = numbers.filter((n) => !both.includes(n));
    const halves = [
      [both[0]!, clients[0]!],
      [both[1]!, ...clients.slice(1)],
    ] as const;
    const pairs = halves.flatMap((half) =>
      half.flatMap((a) => half.flatMap((b) => (a === b ? [] : [[a, b] as const]))),
    );
    const streams = pairs.map(([a, b]) => new Traffic(cluster.spaces.name(`n${a}`), pod(a), pod(b)));
    const ports = halves.map((half) => `{ ${half.map((n) => `p${n}`).join(', ')} }`);
    const rule = (from: string, to: string) => `add rule bridge split f iifname ${from} oifname ${to} drop`;
    const split = [
      ...['add table bridge split', 'add chain bridge split f { type filter hook forward priority 0; }'],
      ...[rule(ports[0]!, ports[1]!), rule(ports[1]!, ports[0]!)],
    ];
    try {
      for (const stream of streams) await stream.flowing();
      const monitor = await cluster.node(clients[0]!).monitor('route');
      cluster.spaces.run('sw', 'sh', '-c', `nft -f - <<'EOF'\n${split.join('\n')}\nEOF`);
      // what ends sessions ends those across, and they do not come back
      await cluster.node(both[1]!).stop('SIGKILL');
      cluster.node(both[1]!).start(blocks);
      await until(
        'its half is with it again',
        async () => {
          // it tells all its routes later: it waits for those it cannot reach
          const up = (await sessions(clients[1]!)).filter(({ state }) => state === 'Established');
          return up.some(({ name }) => name.endsWith(`_${both[1]}`));
        },
        30_000,
      );
      await Bun.sleep(1_000);
      cluster.spaces.run('sw', 'nft', 'delete', 'table', 'bridge', 'split');
      await everyRoute(cluster, numbers);
      expect(await monitor.stop()).not.toContain('10.233.');
      for (const stream of streams) await stream.flowing(10);
      expect((await Promise.all(streams.map((stream) => stream.stop()))).map(({ lost }) => lost)).toEqual(
        streams.map(() => 0),
      );
    } finally {
      for (const stream of streams) stream[Symbol.dispose]();
    }
    expect(await reflectors()).toEqual(both);
  }, 60_000);

  test('the datastore is away for longer than any lease: the plan stays, and so does everything (F01)', async () => {
    const before = await planOf(cluster);
    await withoutLoss(cluster, numbers, async () => {
      cluster.signalEtcd('SIGSTOP');
      await Bun.sleep(18_000);
      cluster.signalEtcd('SIGCONT');
      await until(
        'all report again',
        async () => (await cluster.store.list(REPORTS_PREFIX)).kvs.length === numbers.length,
        30_000,
      );
      await everyRoute(cluster, numbers);
    });
    expect(await planOf(cluster)).toEqual(before);
  }, 80_000);
});
