// A cluster on its way from subnet leases to blocks: nodes that run both, in either order, and one that knows leases alone.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';

const here = have('both networks on a node', 'ip', 'nft', 'etcd', 'ping');

describe.skipIf(!here)('both networks', () => {
  let cluster: Cluster;
  const pods = new Map<string, string>();
  const modes = new Map([
    [1, 'subnets'],
    [2, 'subnets,blocks'],
    [3, 'blocks,subnets'],
  ]);
  const pings = (from: string, to: string) =>
    cluster.spaces.status(from, 'ping', '-c', '1', '-W', '1', pods.get(to)!) === 0;

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [...modes.keys()] });
    await putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true }));
    for (const [number, mode] of modes) cluster.node(number).start(['--network', mode]);
    for (const number of modes.keys()) await cluster.node(number).ready();
    for (const number of modes.keys()) pods.set(`p${number}`, await cluster.node(number).addPod(`p${number}`));
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('new pods come from the first, and pods of both reach each other', async () => {
    expect(pods.get('p2')).toMatch(/^10\.244\./);
    expect(pods.get('p3')).toMatch(/^10\.233\./);
    for (const [from, to] of [
      ['p1', 'p2'],
      ['p2', 'p3'],
      ['p3', 'p2'],
    ] as const)
      await until(`${from} reaches ${to}`, () => pings(from, to));
  });

  test('one table masquerades for both, and not between them', () => {
    const table = cluster.node(2).run('nft', 'list', 'table', 'inet', 'godwit');
    for (const cidr of ['10.244.0.0/16', '10.233.0.0/16']) {
      expect(table).toContain(`ip daddr ${cidr} return`);
      expect(table).toContain(`ip saddr ${cidr} masquerade`);
    }
  });

  test('the order is turned round: pods that are there stay, with their addresses', async () => {
    const node = cluster.node(2);
    await node.stop();
    node.start(['--network', 'blocks,subnets']);
    await node.ready();
    pods.set('p4', await cluster.node(2).addPod('p4'));
    expect(pods.get('p4')).toMatch(/^10\.233\./);
    for (const [from, to] of [
      ['p1', 'p2'],
      ['p2', 'p4'],
      ['p4', 'p3'],
    ] as const)
      await until(`${from} reaches ${to}`, () => pings(from, to));
  });
});
