// System CPU per packet from a pod to a pod on another node, one way, UDP of 1400 bytes: plainly routed, by a bridge and
// host-gw, through IPIP and through VXLAN, in turn. Only ratios of one run mean anything: the sender pays for the whole way,
// as packets between namespaces are carried on by whoever sent them.
import { IpipPart, VxlanPart } from '../src/dataplane/mod.ts';
import { addressBytes, ip } from '../src/net/mod.ts';
import type { MacAddress } from '../src/net/mod.ts';
import { AF, bindSocket, openSocket, sendTo, SOCK } from '../src/sys/mod.ts';
import { until } from '../tests/support/netns.ts';
import { pass, RoutedNodes } from '../tests/support/routed-nodes.ts';
import { median } from './lib/figures.ts';

const ROUNDS = 9;
const PACKETS = 40_000;
const PORT = 9;
const sockaddr = (address: string) =>
  Uint8Array.of(AF.INET, 0, 0, PORT, ...addressBytes(ip(address)), ...new Uint8Array(8));

if (process.argv[2] === 'send') {
  using socket = openSocket(AF.INET, SOCK.DGRAM, 0);
  const to = sockaddr(process.argv[3]!);
  const packet = new Uint8Array(1400 - 28);
  const send = (count: number) => {
    for (let i = 0; i < count; i++) sendTo(socket, packet, to);
  };
  send(PACKETS / 4);
  const before = process.cpuUsage();
  send(PACKETS);
  console.log(process.cpuUsage(before).system / PACKETS);
  process.exit(0);
}

using net = new RoutedNodes();
const nodes = [net.add(1, 1), net.add(2, 1)] as const;
const ways = {
  routed: { from: 'p1', to: '10.233.2.2' },
  bridge: { from: 'b1', to: '10.244.2.2' },
  ipip: { from: 'p1', to: '10.235.0.2' },
  vxlan: { from: 'p1', to: '10.236.0.2' },
} as const;
for (const [i, node] of nodes.entries()) {
  const [n, other] = [i + 1, 2 - i];
  const peer = nodes[1 - i]!.address;
  net.addPod(n);
  // the bridge's layout beside the routed one
  net.spaces.add(`b${n}`);
  net.in(
    node.name,
    `ip link add cni0 type bridge; ip link set cni0 up; ip addr add 10.244.${n}.1/24 dev cni0
     ip link add veth0 type veth peer name eth0 netns ${net.spaces.name(`b${n}`)}; ip link set veth0 master cni0 up
     ip route add 10.244.${other}.0/24 via ${peer}; ip route add 10.233.${other}.0/26 via ${peer}`,
  );
  net.in(`b${n}`, `ip link set eth0 up; ip addr add 10.244.${n}.2/24 dev eth0; ip route add default via 10.244.${n}.1`);
  const ipip = new IpipPart(node.kernel);
  ipip.setDesired({
    ...{ device: 'tunl0', uplink: 'eth0', mtu: 1480, local: ip(node.address), address: ip(`10.233.${n}.1`) },
    peers: new Set([ip(peer)]),
  });
  const vxlan = new VxlanPart(node.kernel, 'vxlan.calico');
  const mac = (m: number) => `66:00:00:00:00:0${m}` as MacAddress;
  vxlan.setDesired({
    ...{ device: 'vxlan.calico', vni: 4096, port: 4789, uplink: 'eth0', mtu: 1450, mac: mac(n) },
    ...{ local: ip(node.address), address: ip(`10.236.${n}.1`) },
    peers: [{ node: ip(peer), gateway: ip(`10.236.${other}.1`), mac: mac(other) }],
  });
  for (const part of [ipip, vxlan]) pass(part);
  if (n === 1)
    net.in(
      node.name,
      `ip route add ${ways.ipip.to} via ${peer} dev tunl0 onlink
       ip route add ${ways.vxlan.to} via 10.236.2.1 dev vxlan.calico onlink`,
    );
  else
    for (const { to } of [ways.ipip, ways.vxlan]) {
      net.in('p2', `ip addr add ${to}/32 dev eth0`);
      net.in(node.name, `ip route add ${to} dev cali2 scope link`);
    }
}
// somebody must be there, or every packet is answered; what is not read is dropped
const sinks = ['p2', 'b2'].map((pod) => {
  const socket = net.spaces.get(pod).run(() => openSocket(AF.INET, SOCK.DGRAM, 0));
  bindSocket(socket, sockaddr('0.0.0.0'));
  return socket;
});

type Way = keyof typeof ways;
const names = Object.keys(ways) as Way[];
const times: Record<Way, number[]> = { routed: [], bridge: [], ipip: [], vxlan: [] };
for (const name of names) await until(`${name} reaches it`, () => net.ping(ways[name].from, ways[name].to));
for (let round = 0; round < ROUNDS; round++) {
  for (const name of names) {
    const { from, to } = ways[name];
    const text = net.spaces.run(from, 'taskset', '-c', '1', process.execPath, import.meta.path, 'send', to);
    times[name].push(Number(text));
  }
}
for (const socket of sinks) socket.close();
const ratio = (a: Way, b: Way) => median(times[a].map((time, i) => time / times[b][i]!)).toFixed(2);
for (const name of names) console.log(`${name.padEnd(8)} ${median(times[name]).toFixed(2)} µs of system CPU a packet`);
console.log(`routed / bridge ${ratio('routed', 'bridge')} (goal 0.95)`);
console.log(`IPIP / routed   ${ratio('ipip', 'routed')} (goal 1.30)`);
console.log(`VXLAN / routed  ${ratio('vxlan', 'routed')}`);
process.exit(0);
