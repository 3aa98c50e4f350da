// Flannel's vxlan backend with real agents: two of ours, and leases as flanneld writes them.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { addressBytes, ip, macBytes } from '../../src/net/mod.ts';
import type { MacAddress } from '../../src/net/mod.ts';
import { AF, openSocket, sendTo, SOCK } from '../../src/sys/mod.ts';
import { udp } from '../support/frames.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import { Cluster, PREFIX } from './cluster.ts';

const here = have('the vxlan backend', 'ip', 'bridge', 'nft', 'etcd', 'ping');

describe.skipIf(!here)('backend vxlan', () => {
  let cluster: Cluster;
  const pods = new Map<string, string>();
  const vxlan = { Type: 'vxlan' };
  const configure = (Backend: object) =>
    cluster.store.put(`${PREFIX}/config`, JSON.stringify({ Network: '10.244.0.0/16', Backend }));
  const subnetOf = (pod: string) => pods.get(pod)!.replace(/\d+$/, '0');
  const backendOf = async (pod: string): Promise<Record<string, unknown>> => {
    const { kv } = await cluster.store.get(`${PREFIX}/subnets/${subnetOf(pod)}-24`);
    return JSON.parse(kv!.value) as Record<string, unknown>;
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2, 3], config: { Backend: vxlan } });
    for (const number of [2, 3]) cluster.node(number).start();
    for (const number of [2, 3]) await cluster.node(number).ready();
    pods.set('a', await cluster.node(2).addPod('a'));
    pods.set('b', await cluster.node(3).addPod('b'));
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('device, routes, entries and lease are as flanneld makes them; packets cross', async () => {
    const node = cluster.node(2);
    const other = subnetOf('b');
    await node.hasRoutes(`${other}/24 via ${other} dev flannel.1 onlink`);
    const shown = node.run('ip', '-d', 'address', 'show', 'dev', 'flannel.1');
    expect(shown).toMatch(/mtu 1450 .*vxlan id 1 local 10\.168\.0\.2 dev eth0 .*dstport 8472 nolearning/s);
    expect(shown).toContain(`inet ${subnetOf('a')}/32`);
    const told = await until('the lease names its end', async () => {
      const lease = await backendOf('b');
      return lease['BackendType'] === 'vxlan' ? lease : undefined;
    });
    const mac = cluster.node(3).run('cat', '/sys/class/net/flannel.1/address').trim();
    expect(told['BackendData']).toEqual({ VNI: 1, VtepMAC: mac });
    expect(node.run('ip', 'neigh', 'show', 'dev', 'flannel.1')).toContain(`${other} lladdr ${mac} PERMANENT`);
    expect(node.run('bridge', 'fdb', 'show', 'dev', 'flannel.1')).toContain(`${mac} dst 10.168.0.3 self permanent`);
    expect(node.run('cat', `${node.directory}/subnet.env`)).toContain('FLANNEL_MTU=1450');
    await until('the other way', () => cluster.spaces.status('a', 'ping', '-c', '1', '-W', '1', pods.get('b')!) === 0);
    expect(cluster.spaces.status('a', 'ping', '-c', '1', '-W', '1', '-M', 'do', '-s', '1422', pods.get('b')!)).toBe(0);
    expect((await node.status()).network?.backend).toBe('vxlan');
  });

  test('a flanneld behind a router is a peer; a host-gw node on the segment is sent to directly', async () => {
    const node = cluster.node(2);
    const other = subnetOf('b');
    const BackendData = { VNI: 1, VtepMAC: 'c6:d2:32:6f:8f:44' };
    await cluster.putLease('10.244.200.0/24', '192.168.9.13', { BackendType: 'vxlan', BackendData });
    await cluster.putLease('10.244.201.0/24', '10.168.0.77');
    await node.hasRoutes(
      `${other}/24 via ${other} dev flannel.1 onlink`,
      '10.244.200.0/24 via 10.244.200.0 dev flannel.1 onlink',
      '10.244.201.0/24 via 10.168.0.77 dev eth0',
    );
    await until('its forwarding entry', () =>
      node.run('bridge', 'fdb', 'show', 'dev', 'flannel.1').includes('c6:d2:32:6f:8f:44 dst 192.168.9.13'),
    );
    await cluster.deleteLease('10.244.201.0/24');
  });

  test('what a pod sends to another node’s end of the tunnel does not come out of it, though its node masquerades it', async () => {
    const [node, mac] = [cluster.node(3), cluster.node(3).run('cat', '/sys/class/net/flannel.1/address').trim()];
    const received = () => Number(node.run('cat', '/sys/class/net/flannel.1/statistics/rx_packets'));
    const inner = udp(ip('10.244.77.7'), ip(pods.get('b')!));
    const frame = [8, 0, 0, 0, 0, 0, 1, 0, ...macBytes(mac as MacAddress), 2, 0, 0, 0, 0, 9, 8, 0, ...inner];
    const to = Uint8Array.of(
      AF.INET,
      0,
      8472 >> 8,
      8472 & 255,
      ...addressBytes(ip(node.address)),
      ...new Uint8Array(8),
    );
    const before = received();
    using socket = cluster.spaces.get('a').run(() => openSocket(AF.INET, SOCK.DGRAM, 0));
    for (let i = 0; i < 3; i++) sendTo(socket, Uint8Array.from(frame), to);
    // what it sends as itself does
    expect(cluster.spaces.status('a', 'ping', '-c', '1', '-W', '2', pods.get('b')!)).toBe(0);
    expect(received() - before).toBe(1);
  });

  test('a deleted device is back at once, and packets flow again', async () => {
    const node = cluster.node(2);
    node.run('ip', 'link', 'del', 'flannel.1');
    await until('packets', () => cluster.spaces.status('a', 'ping', '-c', '1', '-W', '1', pods.get('b')!) === 0);
  });

  test('from vxlan to DirectRouting, to host-gw and back under traffic: not one packet lost', async () => {
    const node = cluster.node(2);
    const other = subnetOf('b');
    const far = '10.244.200.0/24 via 10.244.200.0 dev flannel.1 onlink';
    using traffic = new Traffic(cluster.spaces.name('a'), pods.get('a')!, pods.get('b')!);
    await traffic.flowing();
    for (let round = 0; round < 5; round++) {
      await configure({ ...vxlan, DirectRouting: true });
      if (round === 0) await node.hasRoutes(`${other}/24 via 10.168.0.3 dev eth0`, far);
      await cluster.deleteLease('10.244.200.0/24');
      await configure({ Type: 'host-gw' });
      await until('the lease', async () => (await backendOf('b'))['BackendType'] === 'host-gw');
      await node.hasRoutes(`${other}/24 via 10.168.0.3 dev eth0`);
      await configure(vxlan);
      await node.hasRoutes(`${other}/24 via ${other} dev flannel.1 onlink`);
    }
    await nothingLost([traffic], 30);
  });

  test('a restarted agent finds everything as it was', async () => {
    const node = cluster.node(2);
    const before = node.dataplane();
    await node.stop('SIGKILL');
    await node.up();
    expect(node.dataplane()).toBe(before);
  });
});
