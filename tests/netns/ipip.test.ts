import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { IpipTunnelDriver } from '../../src/dataplane/mod.ts';
import type { IpipTunnel } from '../../src/desired/mod.ts';
import { ip } from '../../src/net/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';
import { have } from '../support/peers.ts';
import { TestNamespaces } from '../support/netns.ts';

const here = have('IPIP tunnels', 'ip', 'ping', '/dev/net/tun');

// node1 192.168.1.2 — router — 192.168.2.2 node2; the router knows no pod prefix
describe.skipIf(!here)('IPIP between two nodes behind a router', () => {
  const spaces = new TestNamespaces();
  const nodes: Record<string, { space: NetworkNamespace; driver: IpipTunnelDriver; tunnel: IpipTunnel }> = {};
  const other = { 1: 2, 2: 1 } as const;

  beforeAll(() => {
    spaces.add('r');
    spaces.run('r', 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    for (const n of [1, 2] as const) {
      const space = spaces.add(`n${n}`);
      spaces.run(
        'r',
        'sh',
        '-c',
        `ip link add to${n} type veth peer name eth0 netns ${spaces.name(`n${n}`)}; ip addr add 192.168.${n}.1/24 dev to${n}; ip link set to${n} up`,
      );
      spaces.run(
        `n${n}`,
        'sh',
        '-c',
        `ip link set lo up; ip link set eth0 up; ip addr add 192.168.${n}.2/24 dev eth0; ip route add default via 192.168.${n}.1`,
      );
      const tunnel: IpipTunnel = {
        ...{ device: 'tunl0', uplink: 'eth0', mtu: 1480, local: ip(`192.168.${n}.2`), address: ip(`10.233.${n}.1`) },
        peers: new Set([ip(`192.168.${other[n]}.2`)]),
      };
      const driver = new IpipTunnelDriver(Rtnetlink.in(space));
      space.run(() => driver.apply(tunnel));
      spaces.run(
        `n${n}`,
        'ip',
        'route',
        'add',
        `10.233.${other[n]}.0/24`,
        'via',
        `192.168.${other[n]}.2`,
        'dev',
        'tunl0',
        'onlink',
      );
      nodes[n] = { space, driver, tunnel };
    }
  });
  afterAll(() => {
    for (const node of Object.values(nodes)) node.driver[Symbol.dispose]();
    spaces[Symbol.dispose]();
  });

  const ping = (...options: string[]) =>
    spaces.status('n1', 'ping', '-c', '2', '-i', '0.05', '-W', '1', ...options, '10.233.2.1');

  test('packets cross, up to the tunnel’s MTU; larger ones with DF are told', () => {
    expect(ping()).toBe(0);
    expect(ping('-M', 'do', '-s', '1452')).toBe(0);
    expect(ping('-M', 'do', '-s', '1453')).not.toBe(0);
    expect(spaces.run('n1', 'ip', 'route', 'get', '10.233.2.1')).toContain('via 192.168.2.2 dev tunl0');
  });

  test('a second apply, by a new driver as after a restart, changes nothing and takes over the peers', () => {
    const node = nodes[1]!;
    const filters = () =>
      spaces.run('n1', 'sh', '-c', 'tc filter show dev eth0 ingress; tc filter show dev tunl0 egress');
    const before = filters();
    node.driver[Symbol.dispose]();
    node.driver = new IpipTunnelDriver(Rtnetlink.in(node.space));
    node.space.run(() => node.driver.apply(node.tunnel));
    expect(filters()).toBe(before);
    expect(ping()).toBe(0);
  });

  test('F32: protocol 4 is taken only from known nodes', () => {
    const node = nodes[2]!;
    node.space.run(() => node.driver.apply({ ...node.tunnel, peers: new Set() }));
    expect(ping()).not.toBe(0);
    node.space.run(() => node.driver.apply(node.tunnel));
    expect(ping()).toBe(0);
  });

  test('remove leaves nothing behind', () => {
    const node = nodes[2]!;
    node.space.run(() => node.driver.remove('tunl0', 'eth0'));
    expect(spaces.run('n2', 'ip', '-br', 'link')).not.toContain('tunl0');
    expect(spaces.run('n2', 'tc', 'filter', 'show', 'dev', 'eth0', 'ingress')).toBe('');
    node.space.run(() => node.driver.apply(node.tunnel));
    spaces.run('n2', 'ip', 'route', 'add', '10.233.1.0/24', 'via', '192.168.1.2', 'dev', 'tunl0', 'onlink');
    expect(ping()).toBe(0);
  });
});
