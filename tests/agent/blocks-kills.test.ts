// Nodes of Calico's network, their agents, their plugins and etcd killed wherever they happen to be (F05, F06): no address
// has two owners, what was begun can be begun again, and nothing is left over.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { audit, readPicture } from '../../src/ipam/blocks/mod.ts';
import { poolOf, putResource } from '../support/calico.ts';
import { pluginFor, runPlugin } from '../support/cni.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';
import type { Node } from './cluster.ts';

const here = have('nodes of Calico’s network under SIGKILL', 'ip', 'etcd', 'strace', 'timeout');
const blocks = ['--network', 'blocks'];

describe.skipIf(!here)('three nodes', () => {
  let cluster: Cluster;
  const nodes = [1, 2, 3];

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes });
    // few addresses and small blocks: the nodes borrow from each other
    await putResource(cluster.store, poolOf('10.233.0.0/27', { blockSize: 30 }));
    for (const node of cluster.nodes.values()) node.start(blocks);
    for (const node of cluster.nodes.values()) await node.ready();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  /** The addresses of a pod's eth0 in truth. */
  const inside = (name: string) => {
    const links = JSON.parse(cluster.spaces.run(name, 'ip', '-j', '-4', 'address')) as Links;
    return links.flatMap(({ ifname, addr_info }) => (ifname === 'eth0' ? addr_info.map(({ local }) => local) : []));
  };
  const notes = (node: Node) => {
    const directory = `${node.directory}/state/cni/owed`;
    return existsSync(directory) ? readdirSync(directory) : [];
  };
  const handles = async () => (await cluster.store.list('/calico/ipam/v2/handle/')).kvs.map(({ key }) => key);
  const nothingLeft = async () => {
    await until('every address is given back', async () => (await handles()).length === 0, 30_000);
    for (const node of cluster.nodes.values()) {
      await until('nothing is owed', () => notes(node).length === 0);
      expect([node.podLinks(), node.routes().filter((route) => route.includes('cali'))]).toEqual([[], []]);
    }
    const { allocations, affinityFaults, brokenBlocks, leakedHandles, missingHandles } = audit(
      await readPicture(cluster.store, Date.now()),
    );
    expect([allocations, affinityFaults, brokenBlocks, leakedHandles, missingHandles]).toEqual([[], [], [], [], []]);
    const endpoints = await cluster.store.list('/calico/resources/v3/projectcalico.org/workloadendpoints/');
    expect(endpoints.kvs).toEqual([]);
  };

  test('F05: agents, plugins and etcd killed at random under ADDs and DELs: no address has two owners', async () => {
    // two sandboxes of each pod: the new one comes before the old one's DEL, or after
    const crowd = Array.from({ length: 12 }, (_, i) => {
      const node = cluster.node(nodes[i % 3]!);
      cluster.spaces.add(`s${i}`);
      return { name: `s${i}`, call: () => node.podCall(`s${i}`, `pod-${i >> 1}`) };
    });
    const mortals = nodes.map((n) => {
      const [path, plugin] = [join(cluster.directory, `mortal${n}`), pluginFor(cluster.node(n).socket)];
      writeFileSync(path, `#!/bin/sh\nexec timeout -s KILL 0.0$(($$ % 9))5 ${plugin}\n`, { mode: 0o755 });
      return path;
    });
    let [over, done] = [false, 0];
    const churn = crowd.map(async ({ call }, i) => {
      for (let round = 0; !over; round++) {
        const verb = (round + i) % 3 === 2 ? 'DEL' : 'ADD';
        const { status } = await ((round + i) % 4 === 0
          ? runPlugin(verb, call(), mortals[i % 3])
          : runPlugin(verb, call()));
        if (verb === 'ADD' && status === 0) done++;
        await Bun.sleep(20 + ((i * 7) % 11));
      }
    });
    let seen = 0;
    const check = () => {
      const owners = crowd.flatMap(({ name }) => inside(name));
      expect(owners.length - new Set(owners).size).toBe(0);
      seen += owners.length;
    };
    for (let kills = 0; kills < 6; kills++) {
      const before = done;
      await until('pods were attached since', () => done >= before + 8, 60_000);
      const node = cluster.node(nodes[kills % 3]!);
      if (kills === 4) await cluster.stopEtcd();
      await node.stop('SIGKILL');
      check();
      if (kills === 4) await cluster.startEtcd();
      node.start(blocks);
    }
    over = true;
    await Promise.all(churn);
    check();
    expect(seen).toBeGreaterThan(10);
    for (const node of cluster.nodes.values()) await node.ready();
    for (const { call } of crowd) expect((await runPlugin('DEL', call())).status).toBe(0);
    await nothingLeft();
  }, 110_000);

  test('F06: an agent killed at a step of an ADD: the next ADD or DEL finds its way', async () => {
    const node = cluster.node(1);
    // alone: neighbours of an agent that is killed again and again take their time
    for (const n of [2, 3]) {
      await cluster.node(n).stop();
      await cluster.store.delete(`/calico/resources/v3/projectcalico.org/nodes/n${n}`);
    }
    const steps = [
      // the record, and the note of what is owed; the pair and what belongs to it
      ...[1, 4, 7].map((n) => ['sendto', n] as const),
      ['rename', 1],
      ['unlink,unlinkat', 1],
      // what goes to the datastore
      ['write,writev,sendmsg', 2],
    ] as const;
    let killed = 0;
    for (const [i, [step, when]] of steps.entries()) {
      const status = async () => (await runPlugin('STATUS', node.podCall('x'))).status === 0;
      await until('pods can be attached', status, 60_000);
      const name = `k${i}`;
      cluster.spaces.add(name);
      const { pid } = node.process!;
      const inject = ['-e', `trace=${step}`, '-e', `inject=${step}:signal=SIGKILL:when=${when}`];
      const tracer = Bun.spawn(['strace', '-f', '-qq', '-o', '/dev/null', ...inject, '-p', String(pid)], {
        stdio: ['ignore', 'ignore', 'ignore'],
      });
      const traced = () => !/TracerPid:\t0/.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
      await until('strace is attached', () => tracer.exitCode !== null || traced());
      const first = await runPlugin('ADD', node.podCall(name));
      if (first.status !== 0) killed++;
      // the tracer first, and hard: one that detaches from a process as that is killed may wait for ever
      tracer.kill('SIGKILL');
      await tracer.exited;
      await node.stop('SIGKILL');
      node.start(blocks);
      const again = async () => {
        const answer = await runPlugin('ADD', node.podCall(name));
        return answer.json.code === 11 ? undefined : answer;
      };
      if (i % 2 === 0) expect(await until('another ADD', again, 60_000)).toMatchObject({ status: 0 });
      expect((await runPlugin('DEL', node.podCall(name))).status).toBe(0);
    }
    expect(killed).toBeGreaterThan(2);
    await node.ready();
    await nothingLeft();
  }, 110_000);
});

type Links = { readonly ifname: string; readonly addr_info: { readonly local: string }[] }[];
