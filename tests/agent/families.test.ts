// Packets in a network of IPv6 alone, and in one of both families: agents, bridge, plugin, routes, pings between pods.
import { describe, expect, test } from 'bun:test';
import { runPlugin } from '../support/cni.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';

const here = have('pods of both families', 'ip', 'nft', 'etcd', 'ping');

/** Two nodes, ready, with addresses of their own in these families. */
async function start(config: Record<string, unknown>, families: readonly (4 | 6)[]): Promise<Cluster> {
  const cluster = await Cluster.start({ nodes: [2, 3], config });
  for (const [number, node] of cluster.nodes) {
    if (families.includes(6)) node.run('ip', 'address', 'add', `fd00::${number}/64`, 'dev', 'eth0', 'nodad');
    if (!families.includes(4)) node.run('ip', '-4', 'address', 'flush', 'dev', 'eth0');
  }
  for (const node of cluster.nodes.values()) node.start();
  for (const node of cluster.nodes.values()) await node.ready();
  return cluster;
}

/** Attaches a pod; gives its addresses in the order the plugin told them. */
async function attach(cluster: Cluster, name: string, number: number): Promise<string[]> {
  cluster.spaces.add(name);
  const config = {
    ...{ cniVersion: '1.1.0', name: 'pods', type: 'godwit' },
    socket: `${cluster.node(number).directory}/run/cni.sock`,
  };
  const call = { container: name, netns: cluster.spaces.path(name), config };
  const { status, stdout, json } = await runPlugin('ADD', call);
  if (status !== 0) throw new Error(stdout);
  const checked = await runPlugin('CHECK', { ...call, config: { ...config, prevResult: json } });
  expect(checked.stdout).toBe('');
  return json.ips!.map(({ address }) => address.split('/')[0]!);
}

/** Pings until it works: a neighbour is looked up at the first. */
const ping = (cluster: Cluster, from: string, to: string) =>
  until(`${from} reaches ${to}`, () => {
    try {
      return cluster.spaces.run(from, 'ping', '-c', '1', '-W', '1', to).includes(' 0% packet loss');
    } catch {
      return false;
    }
  });

describe.skipIf(!here)('families', () => {
  test('IPv6 alone: no IPv4 anywhere, pods of two nodes reach each other and their node', async () => {
    await using cluster = await start(
      { Network: '', EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fc00:244::/48' },
      [6],
    );
    const [a, b] = [await attach(cluster, 'a', 2), await attach(cluster, 'b', 3)];
    expect([a.length, b.length]).toEqual([1, 1]);
    expect(a[0]).toStartWith('fc00:244:');
    await ping(cluster, 'a', b[0]!);
    await ping(cluster, 'b', a[0]!);
    await ping(cluster, 'a', 'fd00::3');
    const [node] = cluster.nodes.values();
    expect(cluster.spaces.run('a', 'ip', '-4', 'address', 'show', 'dev', 'eth0')).toBe('');
    expect(node!.run('ip', '-4', 'route', 'show', 'proto', '71')).toBe('');
    const { lease, routes } = await node!.status();
    expect(lease?.subnets.length).toBe(1);
    expect(routes).toMatchObject({ wanted: 1, installed: 1 });
  });

  test('both: a pod has an address of each, and each works', async () => {
    await using cluster = await start({ EnableIPv6: true, IPv6Network: 'fc00:244::/48' }, [4, 6]);
    const [a, b] = [await attach(cluster, 'a', 2), await attach(cluster, 'b', 3)];
    expect([a.length, b.length]).toEqual([2, 2]);
    for (const address of b) await ping(cluster, 'a', address);
    for (const address of a) await ping(cluster, 'b', address);
    // the uplink loses its IPv6 address for good: IPv4 goes on meanwhile
    const node = cluster.node(3);
    node.run('ip', '-6', 'address', 'flush', 'dev', 'eth0', 'scope', 'global');
    await until('it is told', async () => !(await node.status()).ready);
    await ping(cluster, 'a', b[0]!);
    node.run('ip', 'address', 'add', 'fd00::3/64', 'dev', 'eth0', 'nodad');
    await node.ready();
    await ping(cluster, 'a', b[1]!);
  });
});
