import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { applyVxlan, removeVxlan } from '../../src/dataplane/mod.ts';
import type { VxlanTunnel } from '../../src/desired/mod.ts';
import { ip } from '../../src/net/mod.ts';
import type { MacAddress } from '../../src/net/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';
import { have } from '../support/peers.ts';
import { TestNamespaces } from '../support/netns.ts';

const here = have('VXLAN tunnels', 'ip', 'ping');

describe.skipIf(!here)('VXLAN between two nodes behind a router', () => {
  const spaces = new TestNamespaces();
  const netlinks: Record<number, Rtnetlink> = {};
  const other = { 1: 2, 2: 1 } as const;
  const mac = (n: number) => `66:00:00:00:00:0${n}` as MacAddress;
  const tunnel = (n: 1 | 2): VxlanTunnel => ({
    ...{ device: 'vxlan.calico', vni: 4096, port: 4789, uplink: 'eth0', mtu: 1450, mac: mac(n) },
    ...{ local: ip(`192.168.${n}.2`), address: ip(`10.233.${n}.1`) },
    peers: [{ node: ip(`192.168.${other[n]}.2`), gateway: ip(`10.233.${other[n]}.1`), mac: mac(other[n]) }],
  });

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
        `ip link set eth0 up; ip addr add 192.168.${n}.2/24 dev eth0; ip route add default via 192.168.${n}.1`,
      );
      netlinks[n] = Rtnetlink.in(space);
      applyVxlan(netlinks[n], tunnel(n));
      spaces.run(
        `n${n}`,
        'ip',
        'route',
        'add',
        `10.233.${other[n]}.0/26`,
        'via',
        `10.233.${other[n]}.1`,
        'dev',
        'vxlan.calico',
        'onlink',
      );
    }
  });
  afterAll(() => spaces[Symbol.dispose]());

  const ping = (...options: string[]) =>
    spaces.status('n1', 'ping', '-c', '2', '-i', '0.05', '-W', '1', ...options, '10.233.2.1');

  test('packets cross; the device is as Calico’s', () => {
    expect(ping('-M', 'do', '-s', '1422')).toBe(0);
    const shown = spaces.run('n1', 'ip', '-d', 'link', 'show', 'vxlan.calico');
    expect(shown).toMatch(/mtu 1450 .*vxlan id 4096 local 192\.168\.1\.2 dev eth0 .*dstport 4789 nolearning/s);
    expect(spaces.run('n1', 'ip', 'neigh', 'show', 'dev', 'vxlan.calico')).toContain(
      '10.233.2.1 lladdr 66:00:00:00:00:02 PERMANENT',
    );
  });

  test('a second apply writes nothing; a peer with a new MAC, one less, and a changed port are applied', () => {
    const index = () => netlinks[1]!.link('vxlan.calico')!.index;
    const before = index();
    applyVxlan(netlinks[1]!, tunnel(1));
    expect(index()).toBe(before);
    const moved = { ...tunnel(1).peers[0]!, mac: mac(9) };
    applyVxlan(netlinks[1]!, { ...tunnel(1), peers: [moved] });
    expect(spaces.run('n1', 'ip', 'neigh', 'show', 'dev', 'vxlan.calico')).toContain(
      'lladdr 66:00:00:00:00:09 PERMANENT',
    );
    expect(spaces.run('n1', 'bridge', 'fdb', 'show', 'dev', 'vxlan.calico')).not.toContain('66:00:00:00:00:02');
    expect(ping()).not.toBe(0);
    applyVxlan(netlinks[1]!, { ...tunnel(1), peers: [] });
    expect(spaces.run('n1', 'ip', 'neigh', 'show', 'nud', 'permanent', 'dev', 'vxlan.calico')).not.toContain(
      '10.233.2.1',
    );
    for (const n of [1, 2] as const) applyVxlan(netlinks[n]!, { ...tunnel(n), port: 8472 });
    spaces.run('n1', 'ip', 'route', 'replace', '10.233.2.0/26', 'via', '10.233.2.1', 'dev', 'vxlan.calico', 'onlink');
    spaces.run('n2', 'ip', 'route', 'replace', '10.233.1.0/26', 'via', '10.233.1.1', 'dev', 'vxlan.calico', 'onlink');
    expect(ping()).toBe(0);
    removeVxlan(netlinks[1]!, 'vxlan.calico');
    expect(netlinks[1]!.link('vxlan.calico')).toBeUndefined();
  });
});
