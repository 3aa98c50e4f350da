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
