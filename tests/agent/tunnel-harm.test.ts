// What tunnels are made of, taken away by hand under traffic: it is back long before the agent looks by itself.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { detachTcx, mapsOfProgram, tcxPrograms } from '../../src/bpf/mod.ts';
import type { TcxHook } from '../../src/bpf/mod.ts';
import { addressBytes, ip } from '../../src/net/mod.ts';
import { poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';
import type { Node } from './cluster.ts';

const here = have('harm to tunnels', 'ip', 'tc', 'bridge', 'nft', 'etcd', 'ping');
/** So that only what is noticed is put right. */
const NEVER = ['--resync-seconds', '3600'];

/** Does harm while packets go from the first pod to the second: it shows, is gone again, and packets go on. */
async function mended(cluster: Cluster, [a, b]: string[], harm: () => void, whole: () => boolean): Promise<void> {
  using traffic = new Traffic(cluster.spaces.name('p1'), a!, b!);
  await traffic.flowing();
  expect(whole()).toBe(true);
  harm();
  await until('it is put right', whole);
  await traffic.flowing(20);
}

/** Neighbours and forwarding entries of a VXLAN device. */
async function entriesOf(node: Node, device: string) {
  const show = (...command: string[]) => node.run(...command, 'show', 'dev', device);
  const neighbour = () => /(\S+) lladdr (\S+) PERMANENT/.exec(show('ip', 'neigh'));
  const [, gateway, mac] = await until('a neighbour', neighbour);
  const [, far] = await until('its forwarding entry', () => /dst (\S+)/.exec(show('bridge', 'fdb')));
  const whole = () =>
    show('ip', 'neigh').includes(`${gateway} lladdr ${mac} PERMANENT`) &&
    show('bridge', 'fdb').includes(`${mac} dst ${far} self permanent`);
  const harms = [
    `ip neigh del ${gateway} dev ${device}`,
    `bridge fdb del ${mac} dev ${device} dst ${far}`,
    `ip neigh replace ${gateway} lladdr 66:00:00:00:00:99 nud permanent dev ${device}`,
    `ip neigh flush nud permanent dev ${device}; bridge fdb del ${mac} dev ${device}`,
  ];
  return { whole, harms };
}

describe.skipIf(!here)('harm to tunnels of blocks', () => {
  let cluster: Cluster;
  let addresses: string[];
  const pool = (spec: object) => putResource(cluster.store, poolOf('10.233.0.0/16', { ...spec }));
  const route = () => cluster.node(1).run('sh', '-c', `ip route get ${addresses[1]} || true`);

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [1, 2] });
    await pool({ ipipMode: 'Always' });
    for (const number of [1, 2]) cluster.node(number).start(['--network', 'blocks', ...NEVER]);
    for (const number of [1, 2]) await cluster.node(number).ready();
    addresses = [await cluster.node(1).addPod('p1'), await cluster.node(2).addPod('p2')];
    await until('the route', () => route().includes('dev tunl0'));
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const programs = (device: string, hook: TcxHook) => {
    const node = cluster.node(1);
    const index = Number(node.run('cat', `/sys/class/net/${device}/ifindex`));
    return node.namespace.run(() => tcxPrograms(index, hook)) ?? [];
  };
  const withPrograms = () => cluster.node(1).run('ip', '-d', 'link', 'show', 'tunl0').includes(' tun ');

  test.each([
    ['tunl0', 'egress'],
    ['eth0', 'ingress'],
  ] as const)('IPIP: the program at %s taken off', async (device, hook) => {
    if (!withPrograms()) return;
    const harm = () => cluster.node(1).namespace.run(() => programs(device, hook).forEach(detachTcx));
    await mended(cluster, addresses, harm, () => programs(device, hook).length === 1);
  });

  test('IPIP: a node taken out of the map of those that may send', async () => {
    if (!withPrograms()) return;
    const peer = addressBytes(ip(cluster.node(2).address));
    const [map] = mapsOfProgram(programs('eth0', 'ingress')[0]!.programId, 4, 8)!;
    using peers = map!;
    await mended(
      cluster,
      addresses,
      () => peers.delete(peer),
      () => peers.get(peer) !== undefined,
    );
  });

  test('VXLAN: neighbours and forwarding entries', async () => {
    await pool({ vxlanMode: 'Always' });
    await until('the route', () => route().includes('dev vxlan.calico'));
    const { harms, whole } = await entriesOf(cluster.node(1), 'vxlan.calico');
    for (const harm of harms) await mended(cluster, addresses, () => cluster.node(1).run('sh', '-ec', harm), whole);
  });
});

test.skipIf(!here)(
  'harm to the tunnels of subnet leases',
  async () => {
    await using cluster = await Cluster.start({ nodes: [1, 2], config: { Backend: { Type: 'vxlan' } } });
    for (const number of [1, 2]) cluster.node(number).start(NEVER);
    for (const number of [1, 2]) await cluster.node(number).ready();
    const addresses = [await cluster.node(1).addPod('p1'), await cluster.node(2).addPod('p2')];
    const { harms, whole } = await entriesOf(cluster.node(1), 'flannel.1');
    for (const harm of harms) await mended(cluster, addresses, () => cluster.node(1).run('sh', '-ec', harm), whole);
  },
  60_000,
);
