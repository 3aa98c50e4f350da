// Packets: pods attached by the real plugin reach each other over the agents' routes, keep doing so while agents are
// killed, and leave the network with their node's address.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';

const here = have('forwarding under the agent', 'ip', 'nft', 'etcd', 'ping');

describe.skipIf(!here)('forwarding', () => {
  let cluster: Cluster;
  const pods = new Map<string, string>();

  /** The address that a server at `address` in `server` sees when `client` asks it. */
  async function seenBy(server: string, address: string, client: string): Promise<string> {
    const listen = `Bun.serve({hostname:'${address}',port:8080,fetch:(r,s)=>new Response(s.requestIP(r).address)})`;
    const command = ['ip', 'netns', 'exec', cluster.spaces.name(server), process.execPath, '-e', listen];
    const child = Bun.spawn(command, { stdio: ['ignore', 'ignore', 'inherit'] });
    try {
      const ask = `process.stdout.write(await (await fetch('http://${address}:8080/')).text())`;
      return await until('an answer', () => {
        try {
          return cluster.spaces.run(client, process.execPath, '-e', ask);
        } catch {
          return undefined;
        }
      });
    } finally {
      child.kill();
      await child.exited;
    }
  }

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2, 3, 50] });
    for (const number of [2, 3]) cluster.node(number).start();
    for (const number of [2, 3]) await cluster.node(number).ready();
    pods.set('a', await cluster.node(2).addPod('a'));
    pods.set('b', await cluster.node(3).addPod('b'));
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('not one packet is lost while agents are killed, hang and start again (F10)', async () => {
    const traffic = new Traffic(cluster.spaces.name('a'), pods.get('a')!, pods.get('b')!);
    await traffic.flowing();
    for (const number of [2, 3]) {
      const node = cluster.node(number);
      for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
        await node.stop(signal);
        await Bun.sleep(100);
        await node.up();
      }
      node.process?.kill('SIGSTOP');
      await Bun.sleep(300);
      node.process?.kill('SIGCONT');
    }
    await nothingLost([traffic], 50);
    expect((await cluster.node(2).status()).cni.pods).toMatchObject([{ container: 'a', interface: 'eth0' }]);
  });

  test('between pods addresses stay; what leaves the network has the node’s; switched off, it has not', async () => {
    expect(await seenBy('b', pods.get('b')!, 'a')).toBe(pods.get('a')!);
    expect(await seenBy('n50', '10.168.0.50', 'a')).toBe('10.168.0.2');
    const node = cluster.node(2);
    await node.stop();
    await node.up(['--no-ip-masq']);
    expect(node.run('nft', 'list', 'ruleset').trim()).toBe('');
    cluster.node(50).run('ip', 'route', 'add', '10.244.0.0/16', 'via', '10.168.0.2');
    expect(await seenBy('n50', '10.168.0.50', 'a')).toBe(pods.get('a')!);
    await node.stop();
    await node.up();
  });
});
