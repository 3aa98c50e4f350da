// The same move where packets travel in tunnels before, after, or both, and where pods have addresses of two families.
import { describe, expect, test } from 'bun:test';
import { poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster, PREFIX } from './cluster.ts';
import { Moving } from './moving.ts';

const here = have('godwit migrate with tunnels', 'ip', 'nft', 'etcd', 'ping');
const quiet = ['--tunnel-quiet-seconds', '2'];
const both = ['--network', 'subnets,blocks', ...quiet];

interface Case {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly pools: readonly Record<string, unknown>[];
  readonly families: 1 | 2;
  /** What routes to another node's pods look like, before and after. */
  readonly before: RegExp;
  readonly after: RegExp;
}

const dual = { EnableIPv6: true, IPv6Network: 'fc00:244::/48' };
const cases: Case[] = [
  {
    name: 'leases by VXLAN, pool by IPIP always',
    config: { Backend: { Type: 'vxlan' } },
    pools: [poolOf('10.233.0.0/16', { ipipMode: 'Always' })],
    ...{ families: 1, before: /^10\.244\.\S+ via \S+ dev flannel\.1 .*onlink/m },
    after: /^10\.233\.\S+ via 10\.168\.0\.\d dev tunl0 .*onlink/m,
  },
  {
    name: 'two families: leases by host-gw, pools by VXLAN always',
    config: dual,
    pools: [poolOf('10.233.0.0/16', { vxlanMode: 'Always' }), poolOf('fc00:233::/48', { vxlanMode: 'Always' })],
    ...{ families: 2, before: /^10\.244\.\S+ via 10\.168\.0\.\d dev eth0/m },
    after: /^10\.233\.\S+ via 10\.233\.\S+ dev vxlan\.calico .*onlink/m,
  },
  {
    name: 'two families: leases by VXLAN, plain pools',
    config: { ...dual, Backend: { Type: 'vxlan' } },
    pools: [poolOf('10.233.0.0/16'), poolOf('fc00:233::/48')],
    ...{ families: 2, before: /^10\.244\.\S+ via \S+ dev flannel\.1 .*onlink/m },
    after: /^10\.233\.\S+ via 10\.168\.0\.\d dev eth0/m,
  },
];

describe.skipIf(!here).each(cases)('$name', ({ config, pools, families, before, after }) => {
  test('no packet is lost on the way, the plan comes true, and the old tunnel goes', async () => {
    await using cluster = await Cluster.start({ nodes: [1, 2], config });
    using moving = new Moving(cluster);
    for (const [number, node] of cluster.nodes) {
      if (families === 2) node.run('ip', 'address', 'add', `fd00::${number}/64`, 'dev', 'eth0', 'nodad');
      node.start(quiet);
    }
    for (const node of cluster.nodes.values()) await node.ready();
    for (const number of [1, 2]) await moving.addPod(`old${number}`, number);
    expect(moving.pods.get('old1')!.addresses).toHaveLength(families);
    const routes = (number: number) => cluster.node(number).run('sh', '-c', 'ip route; ip -6 route');
    await until('routes to leases', () => before.test(routes(1)) && before.test(routes(2)));
    await moving.flow('old1', 'old2');
    for (const pool of pools) await putResource(cluster.store, pool);
    await moving.restart(...both);
    await moving.allAt('subnets');
    const plan = moving.plan();
    expect([plan.problems, plan.waiting]).toEqual([[], []]);
    for (const number of [1, 2]) {
      const ran = moving.godwit('migrate', 'run', '--nodes', `n${number}`);
      expect([ran.status, ran.out]).toEqual([0, '1 node moved to blocks']);
      expect(ran.error.match(/^warning: /gm) ?? []).toHaveLength(plan.warnings.length);
      await moving.addPod(`new${number}`, number);
      expect(moving.pods.get(`new${number}`)!.addresses).toHaveLength(families);
      await moving.flow(`new${number}`, 'old1');
      await moving.flow(`new${number}`, 'old2');
    }
    await moving.flow('new1', 'new2');
    expect(routes(1)).toMatch(after);
    for (const { node, after: told } of plan.tables) {
      const lines = routes(Number(node.slice(1)));
      for (const route of told) {
        const [destination = '', ...hop] = route
          .replace(/ proto 71.*/, '')
          .replace(/^blackhole /, '')
          .split(' ');
        // an address that a tunnel gets later is not known to the plan
        const rest = hop.join(' ').replace(/\(.*\)/, 'ADDRESS');
        const wanted = RegExp.escape(`${destination}${rest === '' ? '' : ` ${rest}`}`).replace('ADDRESS', '\\S+');
        expect(lines).toMatch(new RegExp(`^(blackhole )?${wanted}\\b`, 'm'));
      }
    }
    for (const name of ['old1', 'old2']) expect(moving.godwit('migrate', 'finish').error).toContain(`shop/${name}`);
    await moving.nothingLost();
    await moving.flow('new1', 'new2');
    for (const name of ['old1', 'old2']) await moving.removePod(name);
    await moving.allAt('blocks');
    await until('no pod is on a bridge', () => moving.status().every(({ bridgeUsers }) => bridgeUsers.length === 0));
    const done = moving.godwit('migrate', 'finish');
    expect([done.status, done.error]).toEqual([0, '']);
    for (const node of cluster.nodes.values()) {
      const left = node.dataplane();
      for (const text of [/dev cni0/, /: cni0/, /flannel/, /10\.244\./, /fc00:244/]) expect(left).not.toMatch(text);
    }
    expect((await cluster.store.list(`${PREFIX}/subnets/`)).kvs).toEqual([]);
    await moving.nothingLost(100);
  }, 110_000);
});
