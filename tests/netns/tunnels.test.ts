// The tunnel parts against this kernel: node1 192.168.1.2 - router - 192.168.2.2 node2; the router knows no pod prefix.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { detachTcx, tcxPrograms } from '../../src/bpf/mod.ts';
import { ManualClock } from '../../src/base/mod.ts';
import { IpipPart, VxlanPart } from '../../src/dataplane/mod.ts';
import type { IpipTunnel, VxlanTunnel } from '../../src/desired/mod.ts';
import { tableChanges, tableRemoval } from '../../src/dataplane/nft-table.ts';
import { guardTable } from '../../src/dataplane/tunnels/guard.ts';
import { addressBytes, ip } from '../../src/net/mod.ts';
import type { MacAddress } from '../../src/net/mod.ts';
import { AF, bindSocket, openSocket, receive, sendTo, SOCK } from '../../src/sys/mod.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { pass, RoutedNodes } from '../support/routed-nodes.ts';
import type { RoutedNode } from '../support/routed-nodes.ts';

const here = have('tunnels between two nodes behind a router', 'ip', 'tc', 'ping', 'bridge', '/dev/net/tun');
const other = { 1: 2, 2: 1 } as const;
type Side = 1 | 2;
const sides: readonly Side[] = [1, 2];

describe.skipIf(!here)('tunnels', () => {
  let net: RoutedNodes;
  let nodes: Record<Side, RoutedNode>;
  beforeAll(() => {
    net = new RoutedNodes();
    nodes = { 1: net.add(1), 2: net.add(2) };
  });
  afterAll(() => net[Symbol.dispose]());
  const route = (n: Side, hop: string) => net.in(`n${n}`, `ip route replace 10.233.${other[n]}.0/24 via ${hop} onlink`);
  const ping = (...options: string[]) => net.ping('n1', '10.233.2.1', ...options);

  describe('IPIP', () => {
    const parts: Partial<Record<Side, IpipPart>> = {};
    const tunnel = (n: Side): IpipTunnel => ({
      ...{ device: 'tunl0', uplink: 'eth0', mtu: 1480, local: ip(nodes[n].address), address: ip(`10.233.${n}.1`) },
      peers: new Set([ip(nodes[other[n]].address)]),
    });
    const life = (n: Side): IpipPart => {
      parts[n]?.[Symbol.dispose]();
      const part = new IpipPart(nodes[n].kernel, { quietMs: 0 });
      part.setDesired(tunnel(n));
      return (parts[n] = part);
    };
    const programsOn = (n: Side, device: string, hook: 'ingress' | 'egress') => {
      const { kernel, space } = nodes[n];
      return space.run(() => tcxPrograms(kernel.netlink.link(device)!.index, hook)) ?? [];
    };
    const up = (n: Side) => {
      pass(life(n));
      route(n, `192.168.${other[n]}.2 dev tunl0`);
    };
    beforeAll(() => sides.forEach(up));
    afterAll(() => sides.forEach((n) => parts[n]?.[Symbol.dispose]()));

    test('packets cross, up to the tunnel’s MTU; larger ones with DF are told', async () => {
      // ports of the routers' bridges forward a while after they are up
      await until('small packets cross', () => ping());
      expect(ping('-M', 'do', '-s', '1452')).toBe(true);
      expect(ping('-M', 'do', '-s', '1453')).toBe(false);
      expect(net.in('n1', 'ip route get 10.233.2.1')).toContain('via 192.168.2.2 dev tunl0');
    });

    test('a second look writes nothing; after a restart only the descriptor is taken', () => {
      const programs = () => [...programsOn(1, 'eth0', 'ingress'), ...programsOn(1, 'tunl0', 'egress')];
      const before = programs();
      expect(pass(parts[1]!)).toEqual([]);
      const again = pass(life(1));
      expect(again.length).toBeLessThanOrEqual(1);
      for (const text of again) expect(text).toBe('# hold the TUN device tunl0');
      expect(before.length).toBe(2);
      expect(programs()).toEqual(before);
      expect(ping()).toBe(true);
    });

    const harms: [string, string][] = [
      ['deleted', 'ip link del tunl0'],
      ['set down', 'ip link set tunl0 down'],
      ['without its address', 'ip addr flush dev tunl0'],
      ['with another’s address', 'ip addr add 10.9.9.9/32 dev tunl0'],
      ['with another MTU', 'ip link set tunl0 mtu 1400'],
      ['without its programs', ''],
      ['behind a strict reverse path filter', 'sysctl -qw net.ipv4.conf.all.rp_filter=1'],
    ];
    test.each(harms)('%s: put right', (_what, harm) => {
      if (harm === '') {
        const all = [...programsOn(1, 'eth0', 'ingress'), ...programsOn(1, 'tunl0', 'egress')];
        nodes[1].space.run(() => all.forEach(detachTcx));
      } else net.in('n1', harm);
      expect(pass(parts[1]!).length).toBeGreaterThan(0);
      expect(pass(parts[1]!)).toEqual([]);
      route(1, '192.168.2.2 dev tunl0');
      expect(ping()).toBe(true);
      expect(net.in('n1', 'ip -br addr show dev tunl0')).toMatch(/ 10\.233\.1\.1\/32 (fe80\S* )?$/m);
    });

    test('the uplink changes: programs go with it', () => {
      net.in('n1', 'ip link add spare type bridge; ip link set spare up');
      parts[1]!.setDesired({ ...tunnel(1), uplink: 'spare' });
      pass(parts[1]!);
      if (parts[1]!.form() === 'bpf') {
        expect(programsOn(1, 'eth0', 'ingress')).toEqual([]);
        expect(programsOn(1, 'spare', 'ingress').length).toBe(1);
      }
      parts[1]!.setDesired(tunnel(1));
      pass(parts[1]!);
      expect(programsOn(1, 'spare', 'ingress')).toEqual([]);
      expect(ping()).toBe(true);
      net.in('n1', 'ip link del spare');
    });

    test('F32: protocol 4 is taken only from known nodes', () => {
      parts[2]!.setDesired({ ...tunnel(2), peers: new Set() });
      expect(pass(parts[2]!).length).toBe(1);
      expect(ping()).toBe(false);
      parts[2]!.setDesired(tunnel(2));
      pass(parts[2]!);
      expect(ping()).toBe(true);
    });

    test('a name that something else has is told, not taken', () => {
      net.in('n1', 'ip link add tunl7 type bridge');
      const part = new IpipPart(nodes[1].kernel, {}, 'tunl7');
      part.setDesired({ ...tunnel(1), device: 'tunl7' });
      expect(() => part.plan()).toThrow(/tunl7 is there, but it is bridge/);
      net.in('n1', 'ip link del tunl7');
    });

    test('not wanted: it stays while a route uses it, then leaves nothing behind; also after a restart', () => {
      const part = life(2);
      pass(part);
      part.setDesired('absent');
      expect(pass(part)).toEqual([]);
      expect(part.state()).toEqual({ inPlace: true, waiting: '1 routes through it' });
      net.in('n2', 'ip route del 10.233.1.0/24');
      const next = life(2);
      next.setDesired('absent');
      pass(next);
      expect(next.state()).toEqual({ inPlace: false, waiting: undefined });
      expect(net.in('n2', 'ip -br link')).not.toMatch(/^tunl0.*UP/m);
      expect(net.in('n2', 'ip link show; tc qdisc show dev eth0; nft list ruleset')).not.toMatch(/godwit|clsact/);
      expect(programsOn(2, 'eth0', 'ingress')).toEqual([]);
      expect(pass(next)).toEqual([]);
      up(2);
      expect(ping()).toBe(true);
    });

    test('not wanted, but packets still come in: it stays until they end', () => {
      const part = parts[2]!;
      net.in('n2', 'ip route replace 10.233.1.0/24 via 192.168.2.1');
      part[Symbol.dispose]();
      const clock = new ManualClock();
      const patient = new IpipPart(nodes[2].kernel, { quietMs: 1000, clock });
      patient.setDesired('absent');
      // each time a second has gone by
      const rounds = [true, true, false].map((send) => {
        if (send) ping();
        pass(patient);
        clock.advance(1000);
        return patient.state().inPlace;
      });
      expect(rounds).toEqual([true, true, false]);
    });

    afterAll(() => {
      for (const n of sides) {
        net.in(`n${n}`, `ip route flush 10.233.${other[n]}.0/24`);
        parts[n]?.setDesired('absent');
        if (parts[n]) pass(parts[n]);
      }
    });
  });

  test('F32: with the kernel’s own device nf_tables takes protocol 4 only from known nodes', async () => {
    net.in('n1', 'ip addr add 192.168.1.77/24 dev eth0');
    const nft = () => nodes[2].kernel.nft();
    const IPIP = 4;
    const name = { family: 'ip', name: 'godwit-ipip' } as const;
    const packets = { type: 'protocol', number: IPIP } as const;
    const [from, local] = [new Set([ip('192.168.1.2')]), ip('192.168.2.2')];
    const table = guardTable(name, { packets, from, local, pods: ['cali*'] });
    for (const change of tableChanges(nft, table)) change.apply();
    expect(tableChanges(nft, table)).toEqual([]);
    net.in('n2', 'ip addr add 192.168.2.99/24 dev eth0');
    using receiver = nodes[2].space.run(() => openSocket(AF.INET, SOCK.RAW | SOCK.NONBLOCK, IPIP));
    const sockaddr = (address: string) =>
      Uint8Array.of(AF.INET, 0, 0, 0, ...addressBytes(ip(address)), ...new Uint8Array(8));
    const send = (from: string, to: string = local) => {
      using sender = nodes[1].space.run(() => openSocket(AF.INET, SOCK.RAW, IPIP));
      bindSocket(sender, sockaddr(from));
      sendTo(sender, new TextEncoder().encode(from), sockaddr(to));
    };
    const packet = new Uint8Array(100);
    const next = () => {
      const length = receive(receiver, packet);
      return length > 20 ? new TextDecoder().decode(packet.subarray(20, length)) : undefined;
    };
    send('192.168.1.77');
    send('192.168.1.2', '192.168.2.99');
    send('192.168.1.2');
    // packets keep their order: a stranger's would have come first
    expect(await until('the packet of a node', next)).toBe('192.168.1.2');
    expect(next()).toBeUndefined();
    for (const change of tableRemoval(nft, name)) change.apply();
    send('192.168.1.77');
    expect(await until('the same without a guard', next)).toBe('192.168.1.77');
    net.in('n1', 'ip addr del 192.168.1.77/24 dev eth0');
    net.in('n2', 'ip addr del 192.168.2.99/24 dev eth0');
  });

  describe.each([4, 6] as const)('VXLAN over IPv%d', (family) => {
    const device = family === 4 ? 'vxlan.calico' : 'vxlan-v6.calico';
    const mac = (n: number) => `66:00:00:00:00:0${n}` as MacAddress;
    const parts: Partial<Record<Side, VxlanPart>> = {};
    const node = (n: Side) => (family === 4 ? ip(nodes[n].address) : ip(`fd00:${n}::2`));
    const end = (n: Side) => (family === 4 ? ip(`10.233.${n}.1`) : ip(`fc00:${n}::1`));
    const block = (n: Side) => (family === 4 ? `10.233.${n}.0/26` : `fc00:${n}::/64`);
    const reach = (...options: string[]) => net.ping('n1', end(2), ...options);
    const tunnel = (n: Side): VxlanTunnel => ({
      ...{ device, vni: 4096, port: 4789, uplink: 'eth0', mtu: family === 4 ? 1450 : 1430, mac: mac(n) },
      ...{ local: node(n), address: end(n) },
      peers: [{ node: node(other[n]), gateway: end(other[n]), mac: mac(other[n]) }],
      from: new Set([node(other[n])]),
    });
    const set = (n: Side, change: Partial<VxlanTunnel> = {}) => {
      parts[n] ??= new VxlanPart(nodes[n].kernel, device, family, { quietMs: 0 });
      parts[n].setDesired({ ...tunnel(n), ...change });
      const changes = pass(parts[n]);
      net.in(`n${n}`, `ip -${family} route replace ${block(other[n])} via ${end(other[n])} dev ${device} onlink`);
      return changes;
    };
    beforeAll(() => sides.forEach((n) => set(n)));

    test('packets cross; the device is as Calico’s, and a second look writes nothing', () => {
      const [most, header] = family === 4 ? [1450, 28] : [1430, 48];
      expect(reach('-M', 'do', '-s', String(most - header))).toBe(true);
      const shown = net.in('n1', `ip -d link show ${device}`);
      expect(shown).toMatch(/vxlan id 4096 local \S+ dev eth0 .*dstport 4789 nolearning/s);
      expect(shown).toContain(`mtu ${most} `);
      expect(net.in('n1', `ip neigh show dev ${device}`)).toMatch(/lladdr 66:00:00:00:00:02 PERMANENT *proto 71/);
      expect(set(1)).toEqual([]);
    });

    test('a peer with a new MAC, a new own MAC, one peer less', () => {
      set(1, { peers: [{ ...tunnel(1).peers[0]!, mac: mac(9) }] });
      expect(net.in('n1', `ip neigh show dev ${device}`)).toContain('lladdr 66:00:00:00:00:09 PERMANENT');
      expect(net.in('n1', `bridge fdb show dev ${device}`)).not.toContain('66:00:00:00:00:02');
      expect(reach()).toBe(false);
      // the other node takes that MAC: the device lives on
      const index = nodes[2].kernel.netlink.link(device)!.index;
      set(2, { mac: mac(9) });
      expect(nodes[2].kernel.netlink.link(device)!.index).toBe(index);
      expect(reach()).toBe(true);
      // while a route goes through the node its entries stay
      set(1, { peers: [] });
      expect(parts[1]!.lookAgainMs()).toBeGreaterThan(0);
      expect(reach()).toBe(true);
      net.in('n1', `ip -${family} route del ${block(2)}`);
      pass(parts[1]!);
      expect(net.in('n1', `ip neigh show nud permanent dev ${device}`)).not.toContain('66:');
      expect(parts[1]!.lookAgainMs()).toBeUndefined();
      sides.forEach((n) => set(n));
      expect(reach()).toBe(true);
    });

    const harms: [string, string][] = [
      ['deleted', `ip link del ${device}`],
      ['down', `ip link set ${device} down`],
      [
        'without neighbours',
        `ip neigh flush dev ${device} nud permanent; bridge fdb del 66:00:00:00:00:02 dev ${device}`,
      ],
      ['learning', `ip link del ${device}; ip link add ${device} type vxlan id 4096 dstport 4789 dev eth0`],
    ];
    test.each(harms)('%s: put right', (_what, harm) => {
      net.in('n1', harm);
      expect(set(1).length).toBeGreaterThan(0);
      expect(set(1)).toEqual([]);
      expect(reach()).toBe(true);
    });

    test('another port makes another device; not wanted, it goes when no route uses it', () => {
      sides.forEach((n) => set(n, { port: 8472 }));
      expect(net.in('n1', `ip -d link show ${device}`)).toContain('dstport 8472');
      expect(reach()).toBe(true);
      const part = parts[1]!;
      part.setDesired('absent');
      expect(pass(part)).toEqual([]);
      net.in('n1', `ip -${family} route del ${block(2)}`);
      expect(pass(part)[0]).toBe(`ip link del ${device}`);
      expect(pass(part)).toEqual([]);
      expect(net.in('n1', 'ip link show; nft list ruleset')).not.toMatch(/vxlan|godwit/);
    });

    test('somebody else’s device of that name is left alone when none is wanted', () => {
      net.in('n1', `ip link add ${device} type vxlan id 9 dstport 4789 dev eth0`);
      expect(pass(parts[1]!)).toEqual([]);
      net.in('n1', `ip link del ${device}`);
    });
  });
});
