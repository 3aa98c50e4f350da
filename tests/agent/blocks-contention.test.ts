// Nodes of Calico's network that give their pods addresses of one small pool, all at once (F26), by real agents and plugins.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { audit, readPicture } from '../../src/ipam/blocks/mod.ts';
import { poolOf, putResource, recorded } from '../support/calico.ts';
import { runPlugin } from '../support/cni.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';

const here = have('nodes of Calico’s network that want the same addresses', 'ip', 'etcd', 'ping');
const ADDRESSES = 128;
/** So many of each node: in whole blocks they would not fit. */
const PODS = [44, 36, 22, 22];
const NODES = PODS.map((_, i) => i + 1);

describe.skipIf(!here)('four nodes and a /25 in blocks of eight', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: NODES });
    await putResource(cluster.store, poolOf('10.233.0.0/25', { blockSize: 29 }));
    for (const node of cluster.nodes.values()) node.start(['--network', 'blocks']);
    for (const node of cluster.nodes.values()) await node.ready();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const inOrder = async () => {
    const found = audit(await readPicture(cluster.store, Date.now()));
    const { affinityFaults, brokenBlocks, leakedHandles, missingHandles } = found;
    expect([affinityFaults, brokenBlocks, leakedHandles, missingHandles]).toEqual([[], [], [], []]);
    return found;
  };

  test('F26: 124 pods at once, then more than there is: no address twice, none lost, all reach each other', async () => {
    const pods = NODES.flatMap((n) => Array.from({ length: PODS[n - 1]! }, (_, i) => ({ n, name: `p${n}-${i}` })));
    const late = Array.from({ length: 6 }, (_, i) => ({ n: 1 + (i % 4), name: `late-${i}` }));
    for (const { name } of [...pods, ...late]) cluster.spaces.add(name);
    const add = async ({ n, name }: { n: number; name: string }) => {
      const { status, json } = await runPlugin('ADD', cluster.node(n).podCall(name));
      return { n, name, status, code: json.code, address: json.ips?.[0]?.address.split('/')[0] };
    };
    const first = await Promise.all(pods.map(add));
    expect(first.filter(({ status }) => status !== 0)).toEqual([]);
    const more = await Promise.all(late.map(add));
    expect(more.map(({ code }) => code).sort()).toEqual([101, 101, ...Array.from({ length: 4 }, () => undefined)]);
    const given = [...first, ...more].flatMap((pod) =>
      pod.address === undefined ? [] : [{ ...pod, address: pod.address }],
    );
    expect(new Set(given.map(({ address }) => address)).size).toBe(ADDRESSES);
    expect([...(await recorded(cluster.store)).keys()].sort()).toEqual(given.map(({ address }) => address).sort());
    expect((await inOrder()).allocations.some(({ borrowed }) => borrowed)).toBe(true);
    // those that had none may have one now: nothing is held for whom it was refused
    for (const { name, n } of given.filter((pod) => pod.name.startsWith('late')).slice(0, 2))
      expect((await runPlugin('DEL', cluster.node(n).podCall(name))).status).toBe(0);
    for (const { name, n, status } of more) if (status !== 0) expect((await add({ name, n })).status).toBe(0);
    const sample = first.filter((_, i) => i % 13 === 0);
    for (const { name: from } of sample.slice(0, 4))
      for (const { address } of sample)
        await until(
          `${from} reaches ${address}`,
          () => cluster.spaces.status(from, 'ping', '-c1', '-W1', address!) === 0,
        );
    const gone = await Promise.all(
      [...pods, ...late].map(({ n, name }) => runPlugin('DEL', cluster.node(n).podCall(name))),
    );
    expect(gone.filter(({ status }) => status !== 0)).toEqual([]);
    await until('all is given back', async () => (await recorded(cluster.store)).size === 0);
    expect((await cluster.store.list('/calico/ipam/v2/handle/')).kvs).toEqual([]);
    await inOrder();
  }, 110_000);
});
