// Automatic route reflectors with real agents: the cluster grows over the threshold, a reflector is killed, another takes
// its place, the cluster shrinks back to a mesh; packets go all the time, and none is lost.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { ReflectorPlan } from '../../src/calc/mod.ts';
import { resourceKey } from '../../src/model/mod.ts';
import { parseReport, REPORTS_PREFIX } from '../../src/reflectors/mod.ts';
import { claim, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';
import { everyRoute, own, planOf, pod, withoutLoss } from './reflecting.ts';

const here = have('automatic route reflectors', 'ip', 'nft', 'etcd', 'ping');
const blocks = ['--network', 'blocks'];
const numbers = Array.from({ length: 12 }, (_, i) => i + 1);

describe.skipIf(!here)('twelve nodes, a threshold of eight', () => {
  let cluster: Cluster;
  const alive = new Set<number>();

  const settled = async (what: string, is: (plan: ReflectorPlan) => boolean): Promise<ReflectorPlan> => {
    try {
      return await until(
        what,
        async () => {
          const now = await planOf(cluster);
          return now && now.keep === undefined && is(now) ? now : undefined;
        },
        60_000,
      );
    } catch (error) {
      const { kvs } = await cluster.store.list(REPORTS_PREFIX);
      throw new Error(`${JSON.stringify(await planOf(cluster))} ${kvs.map(({ value }) => value).join(' ')}`, {
        cause: error,
      });
    }
  };
  const start = (n: number): void => {
    alive.add(n);
    cluster.node(n).start(blocks);
  };
  const unharmed = async (between: readonly number[], action: () => Promise<void>) => {
    for (const sent of await withoutLoss(cluster, between, action)) expect(sent).toBeGreaterThan(50);
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: numbers });
    await putResource(cluster.store, poolOf('10.233.0.0/16'));
    for (const n of numbers) {
      const metadata = { name: `n${n}`, labels: { rack: 'abc'[n % 3]! } };
      await claim(cluster.store, `n${n}`, own(n));
      cluster.node(n).run('ip', 'address', 'add', `${pod(n)}/32`, 'dev', 'lo');
      if (n <= 5) await putResource(cluster.store, { kind: 'Node', metadata });
    }
    await putResource(cluster.store, {
      ...{ kind: 'ClusterConfiguration', apiVersion: 'godwit.io/v1', metadata: { name: 'default' } },
      spec: { routeReflectors: { mode: 'auto', threshold: 8, failureDomain: 'rack', holdDown: '1s' } },
    });
    for (const n of numbers.slice(0, 5)) start(n);
    await everyRoute(cluster, [...alive]);
  }, 60_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('few nodes: a mesh, and no plan', async () => {
    expect(await planOf(cluster)).toBeUndefined();
    const { blocks: status } = await cluster.node(1).status();
    expect(status?.bgp?.sessions).toHaveLength(4);
  });

  test('over the threshold: two reflectors in two racks, no packet lost', async () => {
    await unharmed([1, 2, 3, 4], async () => {
      for (const n of numbers.slice(5)) {
        await putResource(cluster.store, {
          kind: 'Node',
          metadata: { name: `n${n}`, labels: { rack: 'abc'[n % 3]! } },
        });
        start(n);
      }
      const { target } = await settled('reflectors', ({ target: { reflectors } }) => reflectors.length === 2);
      expect(target.direct).toEqual([]);
      const racks = target.reflectors.map((name) => Number(name.slice(1)) % 3);
      expect(new Set(racks).size).toBe(2);
      await everyRoute(cluster, [...alive]);
      const client = numbers.find((n) => !target.reflectors.includes(`n${n}`))!;
      await until('a client has two sessions', async () => {
        const { blocks: status } = await cluster.node(client).status();
        return status?.bgp?.sessions.length === 2;
      });
    });
  }, 90_000);

  test('a reflector is killed: no packet lost, another takes its place, and it comes back as a client', async () => {
    const before = (await planOf(cluster))!.target.reflectors;
    const [killed, left] = before as [string, string];
    const number = Number(killed.slice(1));
    const others = numbers.filter((n) => n !== number).slice(0, 3);
    await unharmed([...others, number], async () => {
      await cluster.node(number).stop('SIGKILL');
      const next = await until(
        'another reflector',
        async () => {
          const now = await planOf(cluster);
          return now && !now.target.reflectors.includes(killed) ? now : undefined;
        },
        60_000,
      );
      expect(next.target.reflectors).toContain(left);
      cluster.node(number).start(blocks);
      await settled('the new pair serves alone', ({ target }) => !target.reflectors.includes(killed));
      await everyRoute(cluster, [...alive]);
    });
  }, 120_000);

  test('back to a few: a mesh again, no packet lost', async () => {
    const reflectors = (await planOf(cluster))!.target.reflectors.map((name) => Number(name.slice(1)));
    // the reflectors are among those that stay
    const staying = [...new Set([...reflectors, ...numbers])].slice(0, 6);
    await unharmed(staying.slice(0, 4), async () => {
      for (const n of numbers.filter((other) => !staying.includes(other))) {
        alive.delete(n);
        await cluster.node(n).stop();
        await cluster.store.delete(resourceKey('Node', `n${n}`));
      }
      await settled('a mesh', ({ target }) => target.mesh);
      await everyRoute(cluster, [...alive]);
    });
    const { kvs } = await cluster.store.list(REPORTS_PREFIX);
    for (const { value } of kvs) expect(parseReport(value).ok).toBe(true);
  }, 90_000);
});
