// The agent as its own process, in namespaces, with a real etcd: the main job.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync, statSync } from 'node:fs';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';

const here = have('the agent with etcd', 'ip', 'nft', 'etcd');

describe.skipIf(!here)('three nodes', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2, 3, 4] });
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('each gets a subnet, a bridge, and the routes to the others', async () => {
    for (const node of cluster.nodes.values()) node.start();
    for (const node of cluster.nodes.values()) await node.ready();
    const subnets = new Map<number, string>();
    for (const [number, node] of cluster.nodes) subnets.set(number, String((await node.status()).lease!.subnets[0]));
    expect(new Set(subnets.values()).size).toBe(3);
    for (const [number, node] of cluster.nodes) {
      const others = [...subnets].filter(([other]) => other !== number);
      await node.hasRoutes(...others.map(([other, subnet]) => `${subnet} via 10.168.0.${other} dev eth0`));
      await node.ready();
      const gateway = subnets.get(number)!.replace('.0/24', '.1');
      expect(node.run('ip', 'route', 'show', 'dev', 'cni0')).toContain(
        `${subnets.get(number)} proto kernel scope link src ${gateway}`,
      );
      expect(node.run('cat', '/proc/sys/net/ipv4/ip_forward').trim()).toBe('1');
      expect(node.run('nft', 'list', 'table', 'inet', 'godwit')).toContain('ip saddr 10.244.0.0/16 masquerade');
      const env = readFileSync(`${node.directory}/subnet.env`, 'utf8');
      expect(env).toBe(
        `FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=${gateway}/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n`,
      );
      expect(statSync(`${node.directory}/run/agent.sock`).mode & 0o777).toBe(0o600);
    }
  });
});
