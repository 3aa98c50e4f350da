// What may happen to nodes of Calico's network and must not cost a packet. Traffic runs between addresses of the nodes'
// own blocks, over the routes that came by BGP, all the time.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { claim, giveUp, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';
import type { Node } from './cluster.ts';

const here = have('faults of Calico’s network', 'ip', 'nft', 'etcd', 'etcdctl', 'ping');
const blocks = ['--network', 'blocks'];
const own = (n: number) => `10.233.${n}.0/26`;
const to = (n: number) => `${own(n)} via 10.168.0.${n} dev eth0`;
const blackhole = (n: number) => `blackhole ${own(n)}`;
const address = (n: number) => `10.233.${n}.5`;

describe.skipIf(!here)('three nodes', () => {
  let cluster: Cluster;
  let streams: Traffic[] = [];
  const nodes = [1, 2, 3];
  const expected = (n: number) => [blackhole(n), ...nodes.filter((other) => other !== n).map(to)];
  const settled = async (...which: number[]) => {
    for (const n of which) {
      await cluster.node(n).ready();
      await cluster.node(n).hasRoutes(...expected(n));
    }
  };
  /** What happened to routes of ours, as the kernel tells it. */
  const routeEvents = async (node: Node, action: () => Promise<void>): Promise<string[]> => {
    const monitor = await node.monitor('route');
    await action();
    const lines = (await monitor.stop()).split('\n');
    return lines.filter((line) => line.includes('10.233.'));
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes });
    await putResource(cluster.store, poolOf('10.233.0.0/16'));
    for (const n of nodes) {
      await claim(cluster.store, `n${n}`, own(n));
      cluster.node(n).run('ip', 'address', 'add', `${address(n)}/32`, 'dev', 'lo');
    }
    for (const node of cluster.nodes.values()) node.start(blocks);
    await settled(...nodes);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  describe('without a packet lost', () => {
    beforeEach(async () => {
      streams = [
        new Traffic(cluster.spaces.name('n1'), address(1), address(2)),
        new Traffic(cluster.spaces.name('n2'), address(2), address(3)),
      ];
      for (const stream of streams) await stream.flowing();
    });
    afterEach(() => {
      for (const stream of streams) stream[Symbol.dispose]();
    });

    test('F10, F11: killed and started again, twice in a row, then ended and started', async () => {
      const events = await routeEvents(cluster.node(1), async () => {
        for (const signal of ['SIGKILL', 'SIGKILL', 'SIGTERM'] as const) {
          await cluster.node(2).stop(signal);
          cluster.node(2).start(blocks);
          await Bun.sleep(signal === 'SIGKILL' ? 300 : 0);
        }
        await settled(...nodes);
      });
      expect(events).toEqual([]);
      await nothingLost(streams);
    });

    test('F10: hangs for a while', async () => {
      cluster.node(2).process?.kill('SIGSTOP');
      await Bun.sleep(1_500);
      cluster.node(2).process?.kill('SIGCONT');
      await settled(...nodes);
      await nothingLost(streams);
    });

    test('F11: all nodes at once', async () => {
      for (const n of nodes) cluster.node(n).process?.kill('SIGKILL');
      for (const n of nodes) {
        await cluster.node(n).stop('SIGKILL');
        cluster.node(n).start(blocks);
      }
      await settled(...nodes);
      await nothingLost(streams);
    });

    test('F01: the datastore is down: nothing changes, and what is wrong in the kernel is put right all the same', async () => {
      const events = await routeEvents(cluster.node(3), async () => {
        await cluster.stopEtcd();
        const { ready, warnings } = await until('it is noticed', async () => {
          const now = await cluster.node(1).status();
          return now.datastore.state === 'stale' && now;
        });
        expect(ready).toBe(true);
        expect(warnings.join()).toContain('everything stays as it was');
        cluster.node(1).run('ip', 'route', 'del', own(3));
        await cluster.node(1).hasRoutes(...expected(1));
        await cluster.startEtcd();
        await until('it is back', async () => (await cluster.node(1).status()).datastore.state === 'in-sync', 40_000);
      });
      expect(events).toEqual([]);
      await nothingLost(streams);
    }, 90_000);

    test('F02: history is compacted while the datastore hangs', async () => {
      const before = await cluster.store.put('/x', '1');
      cluster.signalEtcd('SIGSTOP');
      await Bun.sleep(500);
      cluster.signalEtcd('SIGCONT');
      const store = cluster.store as typeof cluster.store & { compact(revision: number): Promise<void> };
      for (let i = 0; i < 50; i++) await claim(store, 'n1', `10.233.${100 + i}.0/26`);
      await store.compact(before + 40);
      for (let i = 0; i < 50; i++) await giveUp(store, 'n1', `10.233.${100 + i}.0/26`);
      await settled(...nodes);
      await nothingLost(streams);
    });

    test('F25: a node’s object is deleted and made anew: its sessions stay', async () => {
      const since = async () => (await cluster.node(1).status()).blocks?.bgp?.sessions.map((session) => session.since);
      const before = await until('both sessions are up', async () => {
        const sessions = (await cluster.node(1).status()).blocks?.bgp?.sessions ?? [];
        const up = sessions.filter(({ state }) => state === 'Established');
        return up.length === 2 && up.map((session) => session.since);
      });
      const key = '/calico/resources/v3/projectcalico.org/nodes/n2';
      await cluster.store.delete(key);
      await until('its agent makes it again', async () => (await cluster.store.get(key)).kv);
      await settled(...nodes);
      expect(await since()).toEqual(before);
      await nothingLost(streams);
    });
  });

  describe('put right', () => {
    test('F19: routes are flushed; the addresses behind them are back at once', async () => {
      for (let i = 0; i < 5; i++) cluster.node(1).run('ip', 'route', 'flush', 'proto', '71');
      await settled(...nodes);
    });

    test('F20: more kernel events than fit, while the agent hangs, and its routes are gone meanwhile', async () => {
      const node = cluster.node(1);
      node.process?.kill('SIGSTOP');
      const batch = Array.from({ length: 5000 }, (_, i) => `10.${100 + (i >> 8)}.${i & 255}.0/24 via 10.168.0.3`);
      const all = (verb: string) => batch.map((route) => `route ${verb} ${route} proto static`).join('\n');
      const file = `${node.directory}/batch`;
      writeFileSync(file, `${all('add')}\n${all('del')}\n`);
      node.run('ip', '-batch', file);
      node.run('ip', 'route', 'flush', 'proto', '71');
      node.process?.kill('SIGCONT');
      await settled(...nodes);
    });

    test('F16: the uplink goes down and up, many times, is renamed, and is made anew', async () => {
      const node = cluster.node(1);
      node.run('sh', '-c', 'for i in $(seq 50); do ip link set eth0 down; ip link set eth0 up; done');
      await settled(...nodes);
      const rename = (from: string, to: string) =>
        node.run('sh', '-c', `ip link set ${from} down; ip link set ${from} name ${to}; ip link set ${to} up`);
      rename('eth0', 'up0');
      await node.hasRoutes(...expected(1).map((route) => route.replace('eth0', 'up0')));
      rename('up0', 'eth0');
      await settled(...nodes);
      node.run('ip', 'link', 'delete', 'eth0');
      node.plug();
      await until('the routes are back', () => node.routes().join() === expected(1).toSorted().join(), 40_000);
      await settled(...nodes);
    }, 90_000);

    test('a node that is gone for good: its sessions and routes go, after a while', async () => {
      await cluster.node(3).stop('SIGKILL');
      await cluster.store.delete('/calico/resources/v3/projectcalico.org/nodes/n3');
      for (const n of [1, 2]) await cluster.node(n).hasRoutes(blackhole(n), to(3 - n));
      await cluster.node(1).ready();
    });
  });
});
