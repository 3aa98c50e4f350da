// Automatic route reflectors with real agents: the cluster grows over the threshold, a reflector is killed, another takes
// its place, the cluster shrinks back to a mesh; packets go all the time, and none is lost.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { ReflectorPlan } from '../../src/calc/mod.ts';
import { resourceKey } from '../../src/model/mod.ts';
import { parsePlan, parseReport, PLAN_KEY, REPORTS_PREFIX } from '../../src/reflectors/mod.ts';
import { claim, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';

const here = have('automatic route reflectors', 'ip', 'nft', 'etcd', 'ping');
const blocks = ['--network', 'blocks'];
const own = (n: number) => `10.233.${n}.0/26`;
/** Stands for a pod: reached by the route to the block alone. */
const pod = (n: number) => `10.233.${n}.1`;
const numbers = Array.from({ length: 12 }, (_, i) => i + 1);

describe.skipIf(!here)('twelve nodes, a threshold of eight', () => {
  let cluster: Cluster;
  const alive = new Set<number>();

  const plan = async (): Promise<ReflectorPlan | undefined> => {
    const { kv } = await cluster.store.get(PLAN_KEY);
    const parsed = kv && parsePlan(kv.value);
    return parsed?.ok === true ? parsed.value : undefined;
  };
  const settled = async (what: string, is: (plan: ReflectorPlan) => boolean): Promise<ReflectorPlan> => {
    try {
      return await until(
        what,
        async () => {
          const now = await plan();
          return now && now.keep === undefined && is(now) ? now : undefined;
        },
        60_000,
      );
    } catch (error) {
      const { kvs } = await cluster.store.list(REPORTS_PREFIX);
      throw new Error(`${JSON.stringify(await plan())} ${kvs.map(({ value }) => value).join(' ')}`, { cause: error });
    }
  };
  const everyRoute = async (): Promise<void> => {
    // a busy machine takes its time to start so many
    for (const n of alive) await cluster.node(n).ready();
    for (const n of alive) {
      const others = [...alive].filter((other) => other !== n);
      const routes = others.map((other) => `${own(other)} via 10.168.0.${other} dev eth0`);
      await cluster.node(n).hasRoutes(`blackhole ${own(n)}`, ...routes);
    }
  };
  const start = (n: number): void => {
    alive.add(n);
    cluster.node(n).start(blocks);
  };
  /** Packets between these nodes, both ways, while `action` runs. */
  const withoutLoss = async (between: readonly number[], action: () => Promise<void>): Promise<void> => {
    const pairs = between.flatMap((a) => between.filter((b) => b !== a).map((b) => [a, b] as const));
    const streams = pairs.map(([a, b]) => new Traffic(cluster.spaces.name(`n${a}`), pod(a), pod(b)));
    try {
      for (const stream of streams) await stream.flowing();
      await action();
      const counts = await Promise.all(streams.map((stream) => stream.stop()));
      expect(counts.map(({ lost }) => lost)).toEqual(counts.map(() => 0));
      for (const { sent } of counts) expect(sent).toBeGreaterThan(50);
    } finally {
      for (const stream of streams) stream[Symbol.dispose]();
    }
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
    await everyRoute();
  }, 60_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('few nodes: a mesh, and no plan', async () => {
    expect(await plan()).toBeUndefined();
    const { blocks: status } = await cluster.node(1).status();
    expect(status?.bgp?.sessions).toHaveLength(4);
  });

  test('over the threshold: two reflectors in two racks, no packet lost', async () => {
    await withoutLoss([1, 2, 3, 4], async () => {
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
      await everyRoute();
      const client = numbers.find((n) => !target.reflectors.includes(`n${n}`))!;
      await until('a client has two sessions', async () => {
        const { blocks: status } = await cluster.node(client).status();
        return status?.bgp?.sessions.length === 2;
      });
    });
  }, 90_000);

  test('a reflector is killed: no packet lost, another takes its place, and it comes back as a client', async () => {
    const before = (await plan())!.target.reflectors;
    const [killed, left] = before as [string, string];
    const number = Number(killed.slice(1));
    const others = numbers.filter((n) => n !== number).slice(0, 3);
    await withoutLoss([...others, number], async () => {
      await cluster.node(number).stop('SIGKILL');
      const next = await until(
        'another reflector',
        async () => {
          const now = await plan();
          return now && !now.target.reflectors.includes(killed) ? now : undefined;
        },
        60_000,
      );
      expect(next.target.reflectors).toContain(left);
      cluster.node(number).start(blocks);
      await settled('the new pair serves alone', ({ target }) => !target.reflectors.includes(killed));
      await everyRoute();
    });
  }, 120_000);

  test('back to a few: a mesh again, no packet lost', async () => {
    const reflectors = (await plan())!.target.reflectors.map((name) => Number(name.slice(1)));
    // the reflectors are among those that stay
    const staying = [...new Set([...reflectors, ...numbers])].slice(0, 6);
    await withoutLoss(staying.slice(0, 4), async () => {
      for (const n of numbers.filter((other) => !staying.includes(other))) {
        alive.delete(n);
        await cluster.node(n).stop();
        await cluster.store.delete(resourceKey('Node', `n${n}`));
      }
      await settled('a mesh', ({ target }) => target.mesh);
      await everyRoute();
    });
    const { kvs } = await cluster.store.list(REPORTS_PREFIX);
    for (const { value } of kvs) expect(parseReport(value).ok).toBe(true);
  }, 90_000);
});
