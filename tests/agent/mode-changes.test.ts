// F24: a pool that changes how its packets travel fifty times under traffic, with real agents and pods. The router between
// the nodes knows the pods, as it must where a pool is plain.
import { afterAll, beforeAll, expect, describe, test } from 'bun:test';
import { tcxPrograms } from '../../src/bpf/mod.ts';
import { poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';

const here = have('changes of a pool’s mode', 'ip', 'tc', 'nft', 'etcd', 'ping');
const CHANGES = 50;
const options = ['--network', 'blocks', '--tunnel-quiet-seconds', '2'];
const modes = [
  [{ ipipMode: 'Always' }, 'tunl0'],
  [{}, 'eth0'],
  [{ vxlanMode: 'Always' }, 'vxlan.calico'],
  [{ ipipMode: 'Always' }, 'tunl0'],
  [{ vxlanMode: 'Always' }, 'vxlan.calico'],
  [{ vxlanMode: 'CrossSubnet' }, 'eth0'],
  [{ vxlanMode: 'Always' }, 'vxlan.calico'],
  [{ ipipMode: 'CrossSubnet' }, 'eth0'],
] as const;

describe.skipIf(!here)('fifty changes of mode', () => {
  let cluster: Cluster;
  const pods: Record<string, string> = {};
  const nodes = [1, 2, 3];
  const before = new Map<number, string>();
  const pool = (spec: object) => putResource(cluster.store, poolOf('10.233.0.0/16', { ...spec }));
  const device = (number: number, to: string) =>
    /dev (\S+)/.exec(cluster.node(number).run('sh', '-c', `ip route get ${pods[to]} || true`))?.[1];
  /** All send by that device, each to the next. */
  const all = (name: string) => nodes.every((n) => device(n, `p${(n % nodes.length) + 1}`) === name);

  /** All that a change of mode could leave in the node's kernel, and in its agent. */
  function state(number: number): string {
    const node = cluster.node(number);
    const show = [
      ...['ip -o link', 'ip -o addr', 'ip route show table all', 'ip -6 route show table all', 'ip rule', 'ip -6 rule'],
      ...[
        'ip neigh show nud permanent',
        'bridge fdb',
        'nft -s list ruleset',
        'tc qdisc',
        'tc filter show dev eth0 ingress',
      ],
      "sysctl -a 2>/dev/null | grep -E 'conf.(all|default|eth0|lo).(rp_filter|forwarding)|ip_forward'",
      // sockets of the agent that listen: for ICMP, IPIP, changes of neighbours
      ...['wc -l < /proc/net/raw', 'awk \'$4 != "00000000"\' /proc/net/netlink | wc -l'],
      `ls -l /proc/${node.process!.pid}/fd | grep -oE 'bpf.*|/dev/net/tun' || true`,
    ];
    const programs = (['ingress', 'egress'] as const).map((hook) =>
      node.namespace.run(() => tcxPrograms(Number(node.run('cat', '/sys/class/net/eth0/ifindex')), hook)),
    );
    return `${node.run('sh', '-c', show.join('; '))}\n${JSON.stringify(programs)}`;
  }

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes });
    await pool({});
    // what tunnels make loose is strict again without them
    cluster.node(1).run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1');
    cluster.node(2).run('sysctl', '-qw', 'net.ipv4.conf.eth0.rp_filter=1');
    for (const number of nodes) cluster.node(number).start(options);
    for (const number of nodes) await cluster.node(number).ready();
    for (const number of nodes) pods[`p${number}`] = await cluster.node(number).addPod(`p${number}`);
    await until('routes', () => all('eth0'));
    for (const number of nodes) {
      await until('no address is being looked for', () => !state(number).includes('tentative'));
      before.set(number, state(number));
    }
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('not one packet is lost, whether the last change has settled or not', async () => {
    const streams = nodes.map((n) => {
      const [from, to] = [`p${n}`, `p${(n % nodes.length) + 1}`];
      return new Traffic(cluster.spaces.name(from), pods[from]!, pods[to]!);
    });
    for (const stream of streams) await stream.flowing();
    for (let change = 0; change < CHANGES; change++) {
      const [spec, name] = modes[change % modes.length]!;
      await pool(spec);
      // every third comes before the one before it is through
      if (change % 3 === 0) await Bun.sleep(change % 40);
      else await until(`change ${change}: all send by ${name}`, () => all(name), 20_000);
    }
    await pool({});
    await until('all send plainly', () => all('eth0'), 20_000);
    await nothingLost(streams, CHANGES);
  }, 120_000);

  test('nothing is left behind: kernel and agent are as before, and the datastore says nothing of tunnels', async () => {
    for (const number of nodes) {
      const node = cluster.node(number);
      const left = () => node.run('sh', '-c', 'ip -o link show; nft list ruleset');
      await until('tunnels are gone', () => !/tunl0|vxlan|godwit-/.test(left()), 30_000);
      let now = '';
      await until('all is as it was', () => (now = state(number)) === before.get(number)).catch(() => {});
      expect(now).toBe(before.get(number)!);
      const resource = async () =>
        (await cluster.store.get(`/calico/resources/v3/projectcalico.org/nodes/n${number}`)).kv?.value ?? '';
      await until('the node’s resource', async () => !/TunnelAddr/.test(await resource()));
      expect(await resource()).toContain('"godwit/takes":"none"');
      for (const kind of ['ipip', 'vxlan']) {
        const key = `/calico/ipam/v2/handle/${kind}-tunnel-addr-n${number}`;
        await until('addresses are given back', async () => (await cluster.store.get(key)).kv === undefined);
      }
    }
  }, 60_000);
});
