// Automatic reflectors while everything about them changes: one and two at once are marked to leave, more and fewer are
// wanted, a failure domain is another, agents are started anew in the midst. Packets go all the time, and none is lost.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ResourceClient } from '../../src/model/mod.ts';
import { REPORTS_PREFIX } from '../../src/reflectors/mod.ts';
import { claim, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';
import { everyRoute, own, planOf, pod, withoutLoss } from './reflecting.ts';

const here = have('changes of automatic route reflectors', 'ip', 'nft', 'etcd', 'ping');
const blocks = ['--network', 'blocks'];
const numbers = [1, 2, 3, 4, 5, 6];

describe.skipIf(!here)('six nodes in three racks', () => {
  let cluster: Cluster;
  const racks = new Map<string, string>();
  const marked = new Set<string>();

  const reflectors = async () => (await planOf(cluster))!.target.reflectors;
  const settled = async (what: string, is: (reflectors: readonly string[]) => boolean) => {
    const told = async () => (await cluster.store.list(REPORTS_PREFIX)).kvs.map(({ value }) => value).join('\n');
    try {
      return await until(
        what,
        async () => {
          const now = await planOf(cluster);
          return now && !now.keep && is(now.target.reflectors) ? now.target.reflectors : undefined;
        },
        40_000,
      );
    } catch (error) {
      throw new Error(`${JSON.stringify(await planOf(cluster))}\n${await told()}`, { cause: error });
    }
  };
  const unharmed = (action: () => Promise<void>) =>
    withoutLoss(cluster, numbers, async () => {
      await action();
      await everyRoute(cluster, numbers);
    });
  const configure = (count: number) =>
    putResource(cluster.store, {
      ...{ kind: 'ClusterConfiguration', apiVersion: 'godwit.io/v1', metadata: { name: 'default' } },
      spec: { routeReflectors: { mode: 'auto', threshold: 3, count, failureDomain: 'rack', holdDown: '1s' } },
    });
  /** Writes a node's labels as they are to be now; the agent writes the same object, so it may take two. */
  const label = async (name: string) => {
    const client = new ResourceClient(cluster.store);
    await until(`${name} has its labels`, async () => {
      const found = await client.get('Node', name);
      if (!found.ok) return false;
      const { raw } = found.value;
      const metadata = raw['metadata'] as Record<string, unknown>;
      const labels = { rack: racks.get(name)!, ...(marked.has(name) && { 'godwit.io/drain': 'true' }) };
      const { annotations } = metadata;
      const given = { name, labels, ...(annotations !== undefined && { annotations }) };
      await putResource(cluster.store, { kind: 'Node', metadata: given, spec: raw['spec'] }).catch(() => undefined);
      const now = await client.get('Node', name);
      return now.ok && Bun.deepEquals(now.value.metadata.labels, labels);
    });
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: numbers });
    await putResource(cluster.store, poolOf('10.233.0.0/16'));
    await configure(2);
    for (const n of numbers) {
      racks.set(`n${n}`, 'abc'[n % 3]!);
      await putResource(cluster.store, {
        kind: 'Node',
        metadata: { name: `n${n}`, labels: { rack: racks.get(`n${n}`)! } },
      });
      await claim(cluster.store, `n${n}`, own(n));
      cluster.node(n).run('ip', 'address', 'add', `${pod(n)}/32`, 'dev', 'lo');
      cluster.node(n).start(blocks);
    }
    await settled('two reflect', (now) => now.length === 2);
    await everyRoute(cluster, numbers);
  }, 90_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('a reflector is drained, then the other two at once: others take their places', async () => {
    await unharmed(async () => {
      const [first] = await reflectors();
      marked.add(first!);
      await label(first!);
      const next = await settled('another reflects', (now) => !now.includes(first!) && now.length === 2);
      for (const name of next) {
        marked.add(name);
        await label(name);
      }
      const last = await settled('two others reflect', (now) => now.every((name) => !marked.has(name)));
      expect(new Set(last.map((name) => racks.get(name))).size).toBe(2);
    });
  }, 110_000);

  test('marked no longer, they stay clients; more are wanted, then fewer, agents started anew in the midst', async () => {
    await unharmed(async () => {
      const before = await reflectors();
      for (const name of [...marked]) {
        marked.delete(name);
        await label(name);
      }
      await configure(3);
      const client = numbers.find((n) => !before.includes(`n${n}`))!;
      await cluster.node(client).stop('SIGKILL');
      cluster.node(client).start(blocks);
      const three = await settled('three reflect', (now) => now.length === 3);
      for (const name of before) expect(three).toContain(name);
      expect(new Set(three.map((name) => racks.get(name))).size).toBe(3);
      await configure(2);
      const reflector = Number(before[0]!.slice(1));
      await cluster.node(reflector).stop();
      cluster.node(reflector).start(blocks);
      await settled('two reflect', (now) => now.length === 2);
    });
  }, 110_000);

  test('both reflectors come to be in one rack: one of them moves out', async () => {
    await unharmed(async () => {
      const [stays, moved] = await reflectors();
      racks.set(moved!, racks.get(stays!)!);
      await label(moved!);
      const after = await settled('two racks', (now) => new Set(now.map((name) => racks.get(name))).size === 2);
      expect(after.some((name) => name === stays || name === moved)).toBe(true);
    });
  }, 110_000);
});
