// A node of Calico's network behind a datastore one cannot trust (F03, F04): the agent runs in this process, its kernel
// side in a namespace, with a proxy that makes the faults between it and etcd. The other node is as usual.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { Agent, parseConfig } from '../../src/agent/mod.ts';
import { silentLogger } from '../../src/base/mod.ts';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { WatchResponse } from '../../src/datastore/wire/messages.ts';
import { NetworkNamespace } from '../../src/sys/mod.ts';
import { claim, giveUp, poolOf, putResource } from '../support/calico.ts';
import { ApiProxy, disorder } from '../support/faulty-proxy.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';

const here = have('a node of Calico’s network behind a faulty network', 'ip', 'nft', 'etcd', 'ping');
const times = { pingAfterMs: 5_500, pingTimeoutMs: 2_000, reconcileMs: 1_500, distrustMs: 60_000, reconnectMaxMs: 500 };

describe.skipIf(!here)('a datastore one cannot trust', () => {
  let cluster: Cluster;
  let proxy: ApiProxy;
  let [a, b] = ['', ''];
  const pool = (spec: Record<string, unknown> = {}) =>
    putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true, ...spec }));
  const copy = () => `${cluster.node(1).directory}/state/last-known.json`;
  const blackholes = () => cluster.node(1).run('ip', 'route', 'show', 'type', 'blackhole');
  const cidrs = (text: string) => [...text.matchAll(/10\.233\.\d+\.\d+\/26/g)].map(([cidr]) => cidr).sort();
  const claims = async () => {
    const { kvs } = await cluster.store.list('/calico/ipam/v2/host/n1/ipv4/block/');
    return kvs.map(({ key }) => key.split('/').at(-1)!.replace('-', '/')).sort();
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [1, 2] });
    await pool();
    proxy = await ApiProxy.to(cluster.url, `${cluster.directory}/proxy`);
    cluster.node(2).start(['--network', 'blocks']);
    await cluster.node(2).ready();
    b = await cluster.node(2).addPod('b');
  });
  afterAll(async () => {
    proxy[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  /** Node 1 while `action` runs; what it leaves in the kernel stays. */
  async function withAgent(action: (agent: Agent) => Promise<void>): Promise<void> {
    const { directory, space } = cluster.node(1);
    const flags = {
      ...{ node: space, datastore: proxy.url, runDir: `${directory}/run`, stateDir: `${directory}/state` },
      ...{ listen: 'off', subnetFile: `${directory}/subnet.env`, network: 'blocks' },
    };
    const config = parseConfig({ flags, environment: {} });
    if (!config.ok) throw config.error;
    using namespace = NetworkNamespace.open(cluster.spaces.path(space));
    const openStore = () => openDatastore(proxy.url, { times, requestTimeoutMs: 1_000 });
    const agent = new Agent({ config: config.value, log: silentLogger, namespace, openStore });
    const stop = new AbortController();
    const running = agent.run(stop.signal);
    try {
      await action(agent);
    } finally {
      stop.abort();
      await running;
    }
  }
  const ready = (agent: Agent) => until('it is ready', () => agent.readiness().ready, 20_000);
  const settled = () =>
    until('both have what the datastore says', async () => {
      const claimed = await claims();
      const theirs = cluster.node(2).run('ip', 'route', 'show', 'via', '10.168.0.1');
      return [cidrs(blackholes()), cidrs(theirs)].every((have) => Bun.deepEquals(have, claimed));
    });
  /** A watch that tells nothing new. */
  const silent = (response: WatchResponse) => (response.events.length > 0 ? [] : [response]);
  const streaming = async () => {
    const stream = new Traffic(cluster.spaces.name('b'), b, a);
    await stream.flowing();
    return stream;
  };

  test('F03: events lost, repeated, out of order, from the past: all ends as the datastore has it', async () => {
    await withAgent(async (agent) => {
      await ready(agent);
      a = await cluster.node(1).addPod('a');
      await settled();
      using stream = await streaming();
      let seed = 11;
      const below = (n: number) => (seed = (seed * 48_271) % 2_147_483_647) % n;
      proxy.faults.watch = disorder(below);
      const others = (n: number) => ({ kind: 'Node', metadata: { name: `m${n}` } });
      for (let i = 0; i < 90; i++) {
        const n = below(8);
        const cidr = `10.233.${200 + n}.0/26`;
        const node = `/calico/resources/v3/projectcalico.org/nodes/m${n}`;
        await (below(3) === 0 ? giveUp(cluster.store, 'n1', cidr) : claim(cluster.store, 'n1', cidr));
        if (below(3) === 0) await cluster.store.delete(node);
        else
          await putResource(cluster.store, { ...others(n), spec: { bgp: { ipv4Address: `10.168.0.${20 + i}/24` } } });
        if (i % 20 === 0) await pool({ natOutgoing: below(2) === 0 });
      }
      await pool({ natOutgoing: false });
      proxy.faults = {};
      await settled();
      await until('sessions with the nodes there are', async () => {
        const { kvs } = await cluster.store.list('/calico/resources/v3/projectcalico.org/nodes/');
        const there = kvs
          .flatMap(({ value }) => /10\.168\.0\.\d+/.exec(value)?.[0] ?? [])
          .filter((ip) => ip !== '10.168.0.1');
        const sessions = agent.status().blocks?.bgp?.sessions.map(({ name }) => name.slice(5).replaceAll('_', '.'));
        return Bun.deepEquals(sessions?.toSorted(), there.toSorted());
      });
      const rules = () => cluster.node(1).run('nft', 'list', 'ruleset');
      await until('nothing is masqueraded', () => !rules().includes('masquerade'));
      expect((await stream.stop()).lost).toBe(0);
      for (let n = 0; n < 8; n++) {
        await giveUp(cluster.store, 'n1', `10.233.${200 + n}.0/26`);
        await cluster.store.delete(`/calico/resources/v3/projectcalico.org/nodes/m${n}`);
      }
      await pool();
      await settled();
    });
  }, 120_000);

  test('F04: an agent that starts behind a cache from the past: its routes and those to it stay', async () => {
    const past = (await cluster.store.get('x')).revision;
    await claim(cluster.store, 'n1', '10.233.210.0/26');
    await withAgent(async (agent) => {
      await ready(agent);
      await settled();
      await until('the copy has it', () => existsSync(copy()) && readFileSync(copy(), 'utf8').includes('10.233.210.0'));
    });
    using stream = await streaming();
    const monitors = await Promise.all([1, 2].map((n) => cluster.node(n).monitor('route')));
    proxy.faults = { past, watch: silent };
    await withAgent(async (agent) => {
      await until('its sessions are up', () =>
        agent.status().blocks?.bgp?.sessions.every(({ state, endOfRib }) => state === 'Established' && endOfRib),
      );
      await Bun.sleep(2_000);
      expect(agent.status().datastore.state).toBe('copy');
      expect(cluster.node(1).run('ip', 'route', 'show', a)).toContain('dev cali');
      proxy.faults = {};
      await until('it is in sync', () => agent.status().datastore.state === 'in-sync', 20_000);
      await settled();
    });
    for (const monitor of monitors) expect(await monitor.stop()).not.toContain('10.233.');
    await stream.flowing(20);
    expect((await stream.stop()).lost).toBe(0);
  }, 120_000);

  test('F04: the same without a copy of its own: the routes of its pods stay', async () => {
    rmSync(copy());
    const before = cluster.node(1).run('ip', 'route', 'show', a);
    const monitor = await cluster.node(1).monitor('route');
    // of a time when there was neither pool nor pod
    proxy.faults = { past: 2, watch: silent };
    await withAgent(async (agent) => {
      await until('it believes what it is told', () => agent.status().datastore.state === 'in-sync', 20_000);
      await Bun.sleep(1_000);
      expect(cluster.node(1).run('ip', 'route', 'show', a)).toBe(before);
      proxy.faults = {};
      await ready(agent);
      await settled();
      await until('the pod is reached', () => cluster.spaces.status('b', 'ping', '-c1', '-W1', a) === 0);
    });
    const told = (await monitor.stop()).split('\n');
    expect(told.filter((line) => line.includes(`${a} `))).toEqual([]);
  }, 120_000);
});
