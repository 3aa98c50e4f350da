// What a pod of Calico's network must never get through, from the moment its interface exists (F22: without policies the
// guards of its interface are what a pod must not be without), and what nobody may say comes out of a tunnel (F32).
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { ROUTED_HOST_MAC } from '../../src/dataplane/mod.ts';
import { ip, macBytes } from '../../src/net/mod.ts';
import type { IpAddress, MacAddress } from '../../src/net/mod.ts';
import { poolOf, putResource } from '../support/calico.ts';
import { runPlugin } from '../support/cni.ts';
import { encapsulated, sendFrame, udp } from '../support/frames.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';

const here = have('guards of pods in Calico’s network', 'ip', 'nft', 'etcd', 'ping');
const blocks = ['--network', 'blocks'];
const [SIX, FOUR] = ['fd00:10:233::/48', '10.233.0.0/16'];

describe.skipIf(!here)('two nodes with both families', () => {
  let cluster: Cluster;
  interface Pod {
    readonly v4: IpAddress;
    readonly v6: IpAddress;
  }
  let [target, victim]: Pod[] = [];
  const table = (n: number) => cluster.node(n).run('nft', 'list', 'tables').includes('ip6 godwit-endpoints');

  async function add(n: number, name: string): Promise<Pod> {
    const answer = await runPlugin('ADD', cluster.node(n).podCall(name));
    expect(answer).toMatchObject({ status: 0 });
    const [v4, v6] = answer.json.ips!.map(({ address }) => ip(address.split('/')[0]!));
    return { v4: v4!, v6: v6! };
  }
  const made = (n: number, name: string) => {
    cluster.spaces.add(name);
    return add(n, name);
  };
  /** What came to the target from the victim's addresses, which never sends it anything. */
  const forged = () =>
    [...cluster.spaces.run('target', 'nft', 'list', 'table', 'inet', 't').matchAll(/packets (\d+)/g)].map(([, n]) =>
      Number(n),
    );
  const spam = async (name: string) => {
    const packets = [victim!.v4, victim!.v6].map((from) => udp(from, from.includes(':') ? target!.v6 : target!.v4));
    const frames = packets.map((bytes, i) => `ipv${i === 0 ? 4 : 6}:${Buffer.from(bytes).toString('hex')}`);
    const script = join(import.meta.dir, '../support/spammer.ts');
    const command = ['ip', 'netns', 'exec', cluster.spaces.name(name), process.execPath, script];
    const child = Bun.spawn([...command, ROUTED_HOST_MAC, ...frames], { stdio: ['ignore', 'pipe', 'inherit'] });
    const reader = child.stdout.getReader();
    await reader.read();
    return {
      /** How many were sent. */
      async stop() {
        child.kill('SIGTERM');
        return Number(Buffer.from((await reader.read()).value!).toString());
      },
    };
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [1, 2] });
    await putResource(cluster.store, poolOf(FOUR, { ipipMode: 'Always' }));
    await putResource(cluster.store, poolOf(SIX));
    for (const n of [1, 2]) {
      const node = cluster.node(n);
      node.run('ip', 'address', 'add', `fd00:168::${n}/64`, 'dev', 'eth0', 'nodad');
      node.start(blocks);
    }
    for (const n of [1, 2]) await cluster.node(n).ready();
    [target, victim] = [await made(1, 'target'), await made(2, 'victim')];
  }, 60_000);
  afterAll(() => cluster[Symbol.asyncDispose]());
  /** Counts from nothing. */
  beforeEach(() => {
    const rules = [victim!.v4, victim!.v6].map((a) => `ip${a.includes(':') ? '6' : ''} saddr ${a} counter`);
    const lines = [
      ...['table inet t', 'delete table inet t', 'add table inet t'],
      ...[
        'add chain inet t in { type filter hook input priority 0; }',
        ...rules.map((rule) => `add rule inet t in ${rule}`),
      ],
    ];
    cluster.spaces.run('target', 'sh', '-c', `nft -f - <<'EOF'\n${lines.join('\n')}\nEOF`);
  });

  test('F22: it sends forged packets before, while and after it is attached, and its agent is killed: none arrives', async () => {
    cluster.spaces.add('liar');
    const liar = await spam('liar');
    for (let i = 0; i < 8; i++) {
      const { v4, v6 } = await add(1, 'liar');
      // what is honest passes, all the while
      for (const to of [v4, v6])
        await until('it is reached', () => cluster.spaces.status('target', 'ping', '-c1', '-W1', to) === 0);
      if (i === 4) {
        await cluster.node(1).stop('SIGKILL');
        cluster.node(1).start(blocks);
        await cluster.node(1).ready();
      }
      expect((await runPlugin('DEL', cluster.node(1).podCall('liar'))).status).toBe(0);
    }
    expect(await liar.stop()).toBeGreaterThan(1_000);
    expect(forged()).toEqual([0, 0]);
  }, 60_000);

  test('F32: packets as if out of a tunnel, from a pod and from a host that is no node: none is unpacked', async () => {
    const { spaces } = cluster;
    const [node1, node2, stranger] = ['10.168.0.1', '10.168.0.2', '10.168.0.77'].map(ip) as [
      IpAddress,
      IpAddress,
      IpAddress,
    ];
    spaces.run('sw', 'ip', 'address', 'add', `${stranger}/24`, 'dev', 'br0');
    const mac = /link\/ether (\S+)/.exec(cluster.node(1).run('ip', 'link', 'show', 'eth0'))![1] as MacAddress;
    expect(macBytes(mac)).toHaveLength(6);
    const inner = udp(victim!.v4, target!.v4);
    const knock = (from: IpAddress) =>
      sendFrame(spaces.get('sw'), 'br0', mac, 'ipv4', encapsulated(from, node1, inner));
    const reached = () => spaces.status('victim', 'ping', '-c1', '-W1', node1) === 0;
    sendFrame(spaces.get('victim'), 'eth0', ROUTED_HOST_MAC, 'ipv4', encapsulated(victim!.v4, node1, inner));
    knock(stranger);
    await until('what comes after is through', reached);
    expect(forged()).toEqual([0, 0]);
    // what a node sends is: the same packet from another address
    knock(node2);
    await until('it is unpacked', () => forged()[0] === 1);
  });

  test('F22: the pool of a pod’s IPv6 address is deleted: the check stays as long as there is such a pod', async () => {
    await made(1, 'late');
    const key = '/calico/resources/v3/projectcalico.org/ippools/pool-fd00-10-233---48';
    await cluster.store.delete(key);
    await until('new pods have no IPv6', async () => {
      cluster.spaces.add('new');
      const answer = await runPlugin('ADD', cluster.node(1).podCall('new'));
      await runPlugin('DEL', cluster.node(1).podCall('new'));
      cluster.spaces.remove('new');
      return answer.json.ips?.length === 1;
    });
    await cluster.node(1).stop('SIGKILL');
    cluster.node(1).start(blocks);
    await cluster.node(1).ready();
    expect(table(1)).toBe(true);
    cluster.node(1).run('nft', 'delete', 'table', 'ip6', 'godwit-endpoints');
    await until('it is back', () => table(1));
    const late = await spam('late');
    await Bun.sleep(300);
    expect(await late.stop()).toBeGreaterThan(100);
    expect(forged()).toEqual([0, 0]);
    for (const name of ['late', 'target']) await runPlugin('DEL', cluster.node(1).podCall(name));
    await until('without such pods it goes', () => !table(1));
    await putResource(cluster.store, poolOf(SIX));
    await until('and comes', () => table(1));
    await until(
      'pods can be attached',
      async () => (await runPlugin('STATUS', cluster.node(1).podCall('x'))).status === 0,
    );
    await add(1, 'target');
  }, 60_000);
});
