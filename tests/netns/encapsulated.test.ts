// Packets that pretend to come out of a tunnel: from pods, whose node masquerades them, and from hosts that are no nodes.
// node1 192.168.1.2 - router - 192.168.2.2 node2; pod p1 of node1; x is another host beside node1.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { IpipPart, VxlanPart } from '../../src/dataplane/mod.ts';
import { addressBytes, familyOf, ip, macBytes } from '../../src/net/mod.ts';
import type { Family, IpAddress, MacAddress } from '../../src/net/mod.ts';
import { AF, openSocket, sendTo, SOCK } from '../../src/sys/mod.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';
import { udp } from '../support/frames.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { pass, RoutedNodes } from '../support/routed-nodes.ts';
import type { RoutedNode } from '../support/routed-nodes.ts';

const here = have('encapsulated packets that nobody may send', 'ip', 'tc', 'nft', 'ping', '/dev/net/tun');
const [IPIP, UDP] = [4, 17];
const PORT = 4789;
const MASQUERADE = 'add chain ip t post { type nat hook postrouting priority 100; }; add rule ip t post masquerade';
type Side = 1 | 2;
const other = { 1: 2, 2: 1 } as const;
const mac = (n: number) => `66:00:00:00:00:0${n}` as MacAddress;
const device: Readonly<Record<Family, string>> = { 4: 'vxlan.calico', 6: 'vxlan-v6.calico' };

function sockaddr(address: IpAddress, port: number): Uint8Array {
  const ports = [port >> 8, port & 0xff];
  if (familyOf(address) === 4)
    return Uint8Array.of(AF.INET, 0, ...ports, ...addressBytes(address), ...new Uint8Array(8));
  return Uint8Array.of(AF.INET6, 0, ...ports, 0, 0, 0, 0, ...addressBytes(address), 0, 0, 0, 0);
}

/** What a liar wants to have delivered: from a pod of node1's that is not it, to node2's end of the tunnel. */
const inner = udp(ip('10.233.1.99'), ip('10.233.2.1'));
const inVxlan = [8, 0, 0, 0, 0, 0x10, 0, 0, ...macBytes(mac(2)), ...macBytes(mac(1)), 8, 0, ...inner];

function send(space: NetworkNamespace, protocol: number, to: IpAddress, port = PORT): void {
  const family = familyOf(to) === 4 ? AF.INET : AF.INET6;
  using socket = space.run(() => openSocket(family, protocol === UDP ? SOCK.DGRAM : SOCK.RAW, protocol));
  sendTo(socket, Uint8Array.from(protocol === UDP ? inVxlan : inner), sockaddr(to, protocol === UDP ? port : 0));
}

describe.skipIf(!here)('encapsulated packets that nobody may send', () => {
  let net: RoutedNodes;
  let nodes: Record<Side, RoutedNode>;
  let [pod, host]: NetworkNamespace[] = [];
  const parts: { [Symbol.dispose]?: () => void }[] = [];

  beforeAll(() => {
    net = new RoutedNodes();
    nodes = { 1: net.add(1), 2: net.add(2) };
    host = net.add(3, 1).space;
    pod = net.addPod(1);
    net.in('n1', `nft -f - <<'EOF'\nadd table ip t\n${MASQUERADE}\nEOF`);
    for (const n of [1, 2] as const) {
      const peer = nodes[other[n]];
      const ipip = new IpipPart(nodes[n].kernel);
      ipip.setDesired({
        ...{ device: 'tunl0', uplink: 'eth0', mtu: 1480, local: ip(nodes[n].address), address: ip(`10.233.${n}.1`) },
        peers: new Set([ip(peer.address)]),
      });
      pass(ipip);
      parts.push(ipip);
      for (const family of [4, 6] as const) {
        const address = (side: Side) => (family === 4 ? ip(nodes[side].address) : ip(`fd00:${side}::2`));
        const end = (side: Side) => (family === 4 ? ip(`10.234.${side}.1`) : ip(`fc00:${side}::1`));
        const vxlan = new VxlanPart(nodes[n].kernel, device[family], family);
        vxlan.setDesired({
          ...{ device: device[family], vni: 4096, port: PORT, uplink: 'eth0', mtu: 1430, mac: mac(n) },
          ...{ local: address(n), address: end(n), from: new Set([address(other[n])]) },
          peers: [{ node: address(other[n]), gateway: end(other[n]), mac: mac(other[n]) }],
        });
        pass(vxlan);
      }
    }
    net.in('n1', 'ip route add 10.233.2.0/24 via 192.168.2.2 dev tunl0 onlink');
    // counts what comes out of the tunnels: a TUN device does not
    const counters = ['tunl0', device[4], device[6]].map(
      (name) => `add rule inet t in iifname ${name} udp dport 4001 counter`,
    );
    const chain = 'add table inet t\nadd chain inet t in { type filter hook prerouting priority -400; }';
    net.in('n2', `ip addr add 192.168.2.99/24 dev eth0; nft -f - <<'EOF'\n${[chain, ...counters].join('\n')}\nEOF`);
  });
  afterAll(() => {
    for (const part of parts) part[Symbol.dispose]?.();
    net[Symbol.dispose]();
  });

  const came = (name: string) =>
    Number(new RegExp(`"${name}".* packets (\\d+)`).exec(net.in('n2', 'nft list table inet t'))![1]);
  /** What a stranger sends does not come in, though what the node sends after it does. */
  async function refused(stranger: NetworkNamespace, protocol: number, to: IpAddress, by: string): Promise<void> {
    const before = came(by);
    send(stranger, protocol, to);
    // by the tunnel itself where conntrack would take it for the stranger's flow
    if (protocol === IPIP) send(nodes[1].space, UDP, ip('10.233.2.1'), 4001);
    else send(nodes[1].space, UDP, familyOf(to) === 6 ? ip('fd00:2::2') : ip('192.168.2.2'));
    await until('what the node sends', () => came(by) > before);
    expect(came(by)).toBe(before + 1);
  }
  async function taken(stranger: NetworkNamespace, protocol: number, to: IpAddress, by: string): Promise<void> {
    const before = came(by);
    send(stranger, protocol, to);
    await until('the stranger’s packet', () => came(by) > before);
  }

  const kinds: [string, number, string, string, string][] = [
    ['IPIP', IPIP, '192.168.2.2', 'tunl0', 'ip godwit-ipip'],
    ['VXLAN', UDP, '192.168.2.2', device[4], `ip godwit-${device[4]}`],
  ];
  test.each(kinds)(
    '%s from a pod whose node masquerades it; without its node’s guard it would come in',
    async (...row) => {
      const [, protocol, to, by, table] = row;
      await refused(pod!, protocol, ip(to), by);
      net.in('n1', `nft delete table ${table}`);
      await taken(pod!, protocol, ip(to), by);
    },
  );

  test.each([
    ['IPIP', IPIP, '192.168.2.2', 'tunl0'],
    ['VXLAN', UDP, '192.168.2.2', device[4]],
    ['VXLAN over IPv6', UDP, 'fd00:2::2', device[6]],
  ] as const)('%s from a host that is no node', async (_name, protocol, to, by) => {
    await refused(host!, protocol, ip(to), by);
  });

  test('to another address of the node’s, as nobody knows it for one', async () => {
    for (const [protocol, by] of [
      [IPIP, 'tunl0'],
      [UDP, device[4]],
    ] as const)
      await refused(nodes[1].space, protocol, ip('192.168.2.99'), by);
  });

  test('without the guard a host that is no node would be taken for one', async () => {
    net.in('n2', `nft delete table ip godwit-${device[4]}; nft delete table ip6 godwit-${device[6]}`);
    await taken(host!, UDP, ip('192.168.2.2'), device[4]);
    await taken(host!, UDP, ip('fd00:2::2'), device[6]);
  });
});
