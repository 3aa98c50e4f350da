// Pods of Calico's network, attached by the real plugin to real agents: their routes, their packets, plainly and through
// tunnels, while pools change how packets travel.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { claim, giveUp, poolOf, putResource } from '../support/calico.ts';
import { runPlugin } from '../support/cni.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';

const here = have('pods in Calico’s network', 'ip', 'nft', 'etcd', 'ping');
const blocks = ['--network', 'blocks'];

describe.skipIf(!here)('pods in blocks', () => {
  let cluster: Cluster;
  const pods = new Map<string, { readonly address: string; readonly number: number }>();
  const address = (name: string) => pods.get(name)!.address;

  const call = (verb: 'ADD' | 'DEL' | 'CHECK', name: string, number: number, prevResult?: unknown) =>
    runPlugin(verb, {
      ...{ container: name, netns: cluster.spaces.path(name) },
      args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=u`,
      config: {
        ...{ cniVersion: '1.1.0', name: 'k8s-pod-network', type: 'godwit' },
        socket: `${cluster.node(number).directory}/run/cni.sock`,
        ...(prevResult !== undefined && { prevResult }),
      },
    });
  async function addPod(name: string, number: number): Promise<void> {
    cluster.spaces.add(name);
    const answer = await call('ADD', name, number);
    if (answer.status !== 0) throw new Error(`${answer.stdout}\n${cluster.node(number).log().slice(-800)}`);
    pods.set(name, { address: answer.json.ips![0]!.address.split('/')[0]!, number });
  }
  const pings = (from: string, to: string, ...options: string[]) =>
    cluster.spaces.status(from, 'ping', '-c', '2', '-i', '0.05', '-W', '1', ...options, address(to)) === 0;
  const pool = (spec: Record<string, unknown> = {}) =>
    putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true, ...spec }));
  const routeTo = (number: number, name: string) => cluster.node(number).run('ip', 'route', 'get', address(name));

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [1, 2, 9] });
    // node 9 is on another subnet, behind a router that knows no pod
    const { spaces } = cluster;
    spaces.run(
      'sw',
      'sh',
      '-ec',
      `ip link add br1 type bridge; ip link set br1 up; ip link set p9 nomaster; ip link set p9 master br1
       ip address add 10.168.0.254/24 dev br0; ip address add 10.169.0.254/24 dev br1; sysctl -qw net.ipv4.ip_forward=1`,
    );
    cluster.node(9).run('sh', '-ec', 'ip address flush dev eth0; ip address add 10.169.0.9/24 dev eth0');
    for (const [number, node] of cluster.nodes)
      node.run('ip', 'route', 'add', 'default', 'via', number === 9 ? '10.169.0.254' : '10.168.0.254');
    await pool({ ipipMode: 'CrossSubnet' });
    for (const node of cluster.nodes.values()) node.start(blocks);
    for (const node of cluster.nodes.values()) await node.ready();
    for (const [name, number] of [
      ['a', 1],
      ['b', 2],
      ['c', 9],
      ['a2', 1],
    ] as const)
      await addPod(name, number);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('each is behind a route of its own, and all reach each other with their own addresses', async () => {
    expect(cluster.node(1).run('ip', 'route', 'show', address('a'))).toMatch(
      new RegExp(`^${address('a')} dev cali[0-9a-f]{11} proto 71 scope link`),
    );
    expect(cluster.node(1).run('ip', 'route', 'show', 'type', 'blackhole')).toMatch(
      /blackhole 10\.233\.\d+\.\d+\/26 proto 71/,
    );
    for (const [from, to] of [
      ['a', 'a2'],
      ['a', 'b'],
      ['b', 'c'],
      ['c', 'a'],
    ] as const)
      await until(`${from} reaches ${to}`, () => pings(from, to));
  });

  test('plainly on the same subnet, by IPIP to the other, with the route lines of Calico', async () => {
    expect(routeTo(1, 'b')).toContain(`via 10.168.0.2 dev eth0`);
    expect(routeTo(1, 'c')).toContain(`via 10.169.0.9 dev tunl0`);
    const line = cluster
      .node(1)
      .routes()
      .find((route) => route.includes('tunl0'));
    expect(line).toMatch(/^10\.233\.\d+\.\d+\/26 via 10\.169\.0\.9 dev tunl0 onlink$/);
    const { blocks: status } = await cluster.node(1).status();
    expect(status?.tunnels).toMatchObject([{ kind: 'ipip', device: 'tunl0', needed: true, inPlace: true }]);
    const node = await cluster.store.get('/calico/resources/v3/projectcalico.org/nodes/n1');
    expect(node.kv!.value).toContain('"ipv4IPIPTunnelAddr":"10.233.');
  });

  test('what leaves the pools has the node’s address; between pools and from nodes nothing is changed', async () => {
    const command = ['ip', 'netns', 'exec', cluster.spaces.name('sw'), 'timeout', '60', process.execPath, '-e'];
    const script = `Bun.serve({hostname:'10.168.0.254',port:8080,fetch:(r,s)=>new Response(s.requestIP(r).address)})`;
    const server = Bun.spawn([...command, script], { stdio: ['ignore', 'ignore', 'inherit'] });
    const ask = `process.stdout.write(await (await fetch('http://10.168.0.254:8080/')).text())`;
    const seen = await until('an answer', () => {
      try {
        return cluster.spaces.run('b', process.execPath, '-e', ask);
      } catch {
        return undefined;
      }
    });
    server.kill();
    expect(seen).toBe('10.168.0.2');
  });

  test('F10, F11: agents of both ends are killed and ended under traffic of pods: nothing is lost', async () => {
    const streams = [
      new Traffic(cluster.spaces.name('a'), address('a'), address('b')),
      new Traffic(cluster.spaces.name('a'), address('a'), address('c')),
    ];
    for (const stream of streams) await stream.flowing();
    for (const [number, signal] of [
      [1, 'SIGKILL'],
      [9, 'SIGKILL'],
      [2, 'SIGTERM'],
      [1, 'SIGTERM'],
    ] as const) {
      await cluster.node(number).stop(signal);
      cluster.node(number).start(blocks);
      await cluster.node(number).ready();
    }
    await nothingLost(streams);
    expect((await cluster.node(1).status()).cni.pods).toHaveLength(2);
  });

  test('F24: the pool changes how packets travel, there and back, under traffic: nothing is lost', async () => {
    const streams = [
      new Traffic(cluster.spaces.name('a'), address('a'), address('b')),
      new Traffic(cluster.spaces.name('b'), address('b'), address('a2')),
    ];
    for (const stream of streams) await stream.flowing();
    const ways = [
      [{ ipipMode: 'Always' }, 'tunl0'],
      [{}, 'eth0'],
      [{ vxlanMode: 'Always' }, 'vxlan.calico'],
      [{ ipipMode: 'Always' }, 'tunl0'],
      [{ ipipMode: 'CrossSubnet' }, 'eth0'],
    ] as const;
    for (const [spec, device] of ways) {
      await pool(spec);
      for (const [number, name] of [
        [1, 'b'],
        [2, 'a'],
      ] as const)
        await until(
          `node ${number} sends by ${device}`,
          () => routeTo(number, name).includes(`dev ${device} `),
          20_000,
        );
      for (const stream of streams) await stream.flowing(10);
    }
    await nothingLost(streams);
  }, 60_000);

  test('F33: the uplink gets smaller: pods that run get smaller too', async () => {
    const mtu = (name: string) => cluster.spaces.run(name, 'ip', 'link', 'show', 'eth0');
    expect(mtu('a')).toContain('mtu 1480');
    cluster.node(1).run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
    await until('the pod follows', () => mtu('a').includes('mtu 1380'));
    expect(cluster.node(1).run('ip', 'link', 'show', 'tunl0')).toContain('mtu 1380');
    cluster.node(1).run('ip', 'link', 'set', 'eth0', 'mtu', '1500');
    await until('and back', () => mtu('a').includes('mtu 1480'));
  });

  test('F31: another node says it has a pod’s address: the pod’s own route stays, and all heals when it goes', async () => {
    const route = () => cluster.node(1).run('ip', 'route', 'show', address('a')).trim();
    const before = route();
    expect(before).toContain('dev cali');
    await claim(cluster.store, 'n2', `${address('a')}/32`);
    await until('node 1 has heard of it', async () => {
      const { blocks: status } = await cluster.node(1).status();
      return status?.bgp?.sessions.some(({ name, accepted }) => name === 'Mesh_10_168_0_2' && accepted > 1);
    });
    expect(route()).toBe(before);
    expect(cluster.node(1).run('ping', '-c', '1', '-W', '5', address('a'))).toContain('1 received');
    await giveUp(cluster.store, 'n2', `${address('a')}/32`);
    await until('node 2 reaches the pod again', () => pings('b', 'a'));
  });

  test('an address borrowed from another node’s block is routed to where it is', async () => {
    const theirs = cluster
      .node(2)
      .routes()
      .find((route) => route.startsWith('blackhole'))!
      .split(' ')[1]!;
    const borrowed = theirs.replace(/\d+\/26$/, (host) => String(Number.parseInt(host, 10) + 60));
    cluster.spaces.add('guest');
    const config = {
      ...{ cniVersion: '1.1.0', name: 'k8s-pod-network', type: 'godwit', ipam: { type: 'calico-ipam' } },
      socket: `${cluster.node(1).directory}/run/cni.sock`,
    };
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=guest;K8S_POD_UID=u;IP=${borrowed}`;
    const added = await runPlugin('ADD', { container: 'guest', netns: cluster.spaces.path('guest'), args, config });
    expect(added).toMatchObject({ status: 0 });
    pods.set('guest', { address: borrowed, number: 1 });
    await until('node 2 knows', () => cluster.node(2).run('ip', 'route', 'show', borrowed).includes('via 10.168.0.1'));
    await until('it answers', () => pings('b', 'guest'));
  });

  test('DEL takes all away, also while the datastore is down (F07); what is owed is paid when it is back', async () => {
    await cluster.stopEtcd();
    expect(await call('DEL', 'a2', 1)).toMatchObject({ status: 0 });
    expect(await call('DEL', 'a2', 1)).toMatchObject({ status: 0 });
    expect(cluster.node(1).run('ip', 'route', 'show', address('a2'))).toBe('');
    await cluster.startEtcd();
    await until(
      'the address is free',
      async () => {
        const { kv } = await cluster.store.get('/calico/ipam/v2/handle/k8s-pod-network.a2');
        return kv === undefined;
      },
      40_000,
    );
  }, 60_000);
});
