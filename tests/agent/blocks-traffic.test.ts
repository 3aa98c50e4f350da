// Pods on nodes of Calico's network: the real agents, the plugin as a runtime starts it, and packets between pods.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { audit, readPicture } from '../../src/ipam/blocks/mod.ts';
import { poolOf, putResource } from '../support/calico.ts';
import { runPlugin } from '../support/cni.ts';
import type { PluginAnswer } from '../support/cni.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';

const here = have('pods on nodes of Calico’s network', 'ip', 'nft', 'etcd', 'ping');
const blocks = ['--network', 'blocks'];

describe.skipIf(!here)('pods on three nodes', () => {
  let cluster: Cluster;
  let pods = 0;

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [1, 2, 3] });
    await putResource(cluster.store, poolOf('10.233.0.0/16', { blockSize: 29, natOutgoing: true }));
    for (const node of cluster.nodes.values()) node.start(blocks);
    for (const node of cluster.nodes.values()) await node.ready();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  function pod(n: number) {
    const short = `p${++pods}`;
    cluster.spaces.add(short);
    const node = cluster.node(n);
    const netns = cluster.spaces.path(short);
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${short};K8S_POD_UID=u`;
    const socket = `${node.directory}/run/cni.sock`;
    const config = { cniVersion: '1.1.0', name: 'k8s-pod-network', type: 'godwit', socket };
    const call = (more: Record<string, unknown> = {}) => {
      return { container: `container-${short}`, netns, args, config: { ...config, ...more } };
    };
    return { short, node, call };
  }
  type Pod = ReturnType<typeof pod>;
  const addressOf = (answer: PluginAnswer): string => answer.json.ips![0]!.address.split('/')[0]!;
  /** An ADD as a runtime does it: again while it is told to come later. */
  const attach = async (p: Pod): Promise<string> => {
    const added = await until('the pod is attached', async () => {
      const answer = await runPlugin('ADD', p.call());
      if (answer.status !== 0 && answer.json.code !== 11) throw new Error(answer.stdout);
      return answer.status === 0 ? answer : undefined;
    });
    return addressOf(added);
  };
  const reaches = (p: Pod, address: string): boolean =>
    cluster.spaces.status(p.short, 'ping', '-c1', '-W1', address) === 0;
  const problems = async (p: Pod) => (await p.node.status()).problems;

  test('pods of different nodes reach each other; the first of a node claims its block, and BGP tells the others', async () => {
    const [a, b] = [pod(1), pod(2)];
    const [first, second] = [await attach(a), await attach(b)];
    await until('they reach each other', () => reaches(a, second) && reaches(b, first));
    const block = JSON.parse(a.node.run('ip', '-j', 'route', 'show', 'type', 'blackhole')) as { dst: string }[];
    expect(block.length).toBe(1);
    expect(b.node.routes()).toContain(`${block[0]!.dst} via 10.168.0.1 dev eth0`);
    expect(a.node.routes().filter((line) => line.startsWith(`${first} dev cali`))).toEqual([
      expect.stringMatching(/^[\d.]+ dev cali[0-9a-f]{11} scope link$/),
    ]);
    expect((await a.node.status()).cni.pods).toMatchObject([{ pod: `shop/${a.short}`, addresses: [`${first}/32`] }]);
    for (const p of [a, b]) expect((await runPlugin('DEL', p.call())).status).toBe(0);
    await until('nothing of it is left', () => !a.node.routes().some((line) => line.includes('cali')));
    expect([await problems(a), await problems(b)]).toEqual([[], []]);
  });

  test('more pods than a block has: the node claims another, and every pod is reached from every node', async () => {
    const crowd = [...Array.from({ length: 10 }, () => pod(1)), pod(2), pod(3)];
    const addresses = await Promise.all(crowd.map(attach));
    expect(new Set(addresses).size).toBe(crowd.length);
    for (const p of crowd.slice(-3))
      for (const address of addresses) await until(`${p.short} reaches ${address}`, () => reaches(p, address));
    const found = await until('every pod is known', async () => {
      const now = audit(await readPicture(cluster.store, Date.now()));
      return now.leaked.length === 0 && now.unrecorded.length === 0 && now;
    });
    expect([found.affinityFaults, found.brokenBlocks, found.shared]).toEqual([[], [], []]);
    const deleted = await Promise.all(crowd.map((p) => runPlugin('DEL', p.call())));
    expect(deleted.every(({ status }) => status === 0)).toBe(true);
    await until('every address is free', async () => {
      return (await cluster.store.list('/calico/ipam/v2/handle/')).kvs.length === 0;
    });
  });

  test('agents killed and started anew under traffic of pods: not one packet is lost, nothing is written anew', async () => {
    const [a, b] = [pod(1), pod(2)];
    const [from, to] = [await attach(a), await attach(b)];
    await until('they reach each other', () => reaches(a, to));
    using stream = new Traffic(cluster.spaces.name(a.short), from, to);
    await stream.flowing();
    const before = a.node.routes();
    for (const p of [a, b]) {
      const monitor = await p.node.monitor('route', 'link');
      await p.node.stop('SIGKILL');
      p.node.start(blocks);
      await p.node.ready();
      const told = await monitor.stop();
      expect(told.split('\n').filter((line) => line.includes('cali'))).toEqual([]);
    }
    expect(a.node.routes()).toEqual(before);
    await nothingLost([stream], 50);
    expect(await attach(a)).toBe(from);
    for (const p of [a, b]) expect((await runPlugin('DEL', p.call())).status).toBe(0);
  });

  test('the uplink’s MTU changes: running pods follow, both ends', async () => {
    const [p, modest] = [pod(3), pod(3)];
    await attach(p);
    expect((await runPlugin('ADD', modest.call({ mtu: 1300 }))).status).toBe(0);
    const links = (): number[] => {
      const hosts = JSON.parse(p.node.run('ip', '-j', 'link')) as { ifname: string; mtu: number }[];
      const inside = [p, modest].flatMap(
        ({ short }) => JSON.parse(cluster.spaces.run(short, 'ip', '-j', 'link', 'show', 'eth0')) as { mtu: number }[],
      );
      return [...hosts.filter(({ ifname }) => ifname.startsWith('cali')), ...inside].map(({ mtu }) => mtu).sort();
    };
    expect(links()).toEqual([1300, 1300, 1500, 1500]);
    p.node.run('ip', 'link', 'set', 'eth0', 'mtu', '1420');
    await until('pods follow', () => links().join() === '1300,1300,1420,1420');
    p.node.run('ip', 'link', 'set', 'eth0', 'mtu', '1500');
    await until('and back', () => links().join() === '1300,1300,1500,1500');
    for (const each of [p, modest]) await runPlugin('DEL', each.call());
  });

  test('a pool for IPv6 comes: new pods have both, behind the source check', async () => {
    for (const n of [1, 2, 3]) cluster.node(n).run('ip', 'address', 'add', `fd00:168::${n}/64`, 'dev', 'eth0', 'nodad');
    await putResource(cluster.store, poolOf('fd00:10:233::/48'));
    const [a, b] = [pod(1), pod(2)];
    const six = async (p: Pod): Promise<string> => {
      const added = await until('both families', async () => {
        const answer = await runPlugin('ADD', p.call());
        if (answer.json.ips?.length === 2) return answer;
        await runPlugin('DEL', p.call());
        return undefined;
      });
      return added.json.ips![1]!.address.split('/')[0]!;
    };
    const [first, second] = [await six(a), await six(b)];
    await until('they reach each other', () => reaches(a, second) && reaches(b, first));
    expect(a.node.run('nft', 'list', 'tables')).toContain('table ip6 godwit-endpoints');
    for (const p of [a, b]) expect((await runPlugin('DEL', p.call())).status).toBe(0);
  });
});
