// node1 - router - 1400 bytes - router - node2: nothing may vanish in the tunnel.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { addressBytes, ip } from '../../src/net/mod.ts';
import { AF, openSocket, sendTo, setOption, SOCK } from '../../src/sys/mod.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';
import { udp } from '../support/frames.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { RoutedNodes } from '../support/routed-nodes.ts';
import { TunnelledNode } from '../support/tunnelled-node.ts';

const here = have('path MTU of tunnels', 'ip', 'tc', 'ping', 'nc', '/dev/net/tun');

describe.skipIf(!here)('an underlay with a smaller MTU', () => {
  let net: RoutedNodes;
  const close: Disposable[] = [];
  let host: NetworkNamespace;
  beforeAll(() => {
    net = new RoutedNodes();
    net.bottleneck(2, 1400);
    for (const n of [1, 2] as const) {
      const node = net.add(n);
      net.addPod(n);
      close.push(new TunnelledNode(n, node));
    }
    host = net.add(3, 1).space;
  });
  afterAll(() => {
    for (const one of close) one[Symbol.dispose]();
    net[Symbol.dispose]();
  });

  const routed = () => net.in('n1', 'ip route show 10.233.2.0/26');

  test('IPIP: the pod is told the size that fits, as soon as a router said so', async () => {
    await until('the routes there and back', () => {
      return routed().includes('dev tunl0') && net.in('n2', 'ip route show 10.233.1.0/26').includes('dev tunl0');
    });
    // ports of the routers' bridges forward a while after they are up
    await until('small packets cross', () => net.ping('p1', '10.233.2.2'));
    expect(net.ping('p1', '10.233.2.2', '-M', 'do', '-s', '1352')).toBe(true);
    // 1480 with the outer header: no link on the way to the tunnel objects, the one behind the router does
    net.ping('p1', '10.233.2.2', '-M', 'do', '-s', '1432');
    await until('the route carries the size', () => routed().includes('mtu 1380'));
    const told = net.in('p1', 'ping -c 1 -W 5 -M do -s 1432 10.233.2.2 || true');
    expect(told).toContain('mtu = 1380');
    expect(net.ping('p1', '10.233.2.2', '-M', 'do', '-s', '1352')).toBe(true);
  });

  test('IPIP: what may be cut is cut before the tunnel, and streams pass', async () => {
    // the first answers teach the other node
    await until('large packets cross both ways', () => net.ping('p1', '10.233.2.2', '-M', 'dont', '-s', '4000'));
    const server = Bun.spawn([
      'ip',
      'netns',
      'exec',
      net.spaces.name('p2'),
      'sh',
      '-c',
      'head -c 3000000 /dev/zero | nc -l -p 7000 -q 1',
    ]);
    const received = net.in(
      'p1',
      'for i in 1 2 3 4 5; do nc -w 10 10.233.2.2 7000 </dev/null | wc -c | grep -v ^0 && break; sleep 0.2; done',
    );
    server.kill();
    expect(Number(received)).toBe(3_000_000);
  });

  test('IPIP: what a router has cut is put together, if a node sent it', async () => {
    const rules = ['10.233.1.2', '10.233.1.99'].map(
      (source) => `add rule inet t in ip saddr ${source} udp dport 4001 counter`,
    );
    const chain = 'add table inet t\nadd chain inet t in { type filter hook input priority 0; }';
    net.in('p2', `nft -f - <<'EOF'\n${[chain, ...rules].join('\n')}\nEOF`);
    const came = (source: string) =>
      Number(
        new RegExp(`saddr ${source.replaceAll('.', '\\.')} .*packets (\\d+)`).exec(
          net.in('p2', 'nft list table inet t'),
        )![1],
      );
    /** As a node with the kernel's form does it: an outer packet that may be cut. */
    const send = (from: NetworkNamespace, source: string, bytes: number) => {
      const [SOL_IP, IP_MTU_DISCOVER, DONT] = [0, 10, 0];
      using socket = from.run(() => openSocket(AF.INET, SOCK.RAW, 4));
      setOption(socket, SOL_IP, IP_MTU_DISCOVER, DONT);
      const to = Uint8Array.of(AF.INET, 0, 0, 0, ...addressBytes(ip('192.168.2.2')), ...new Uint8Array(8));
      sendTo(socket, Uint8Array.from(udp(ip(source), ip('10.233.2.2'), bytes - 28)), to);
    };
    const node = net.spaces.get('n1');
    for (const [i, bytes] of [1480, 1381, 4000].entries()) {
      send(host, '10.233.1.99', bytes);
      send(node, '10.233.1.2', bytes);
      await until(`a packet of ${bytes} bytes`, () => came('10.233.1.2') === i + 1);
    }
    expect(came('10.233.1.99')).toBe(0);
  });

  test('VXLAN: the router cuts the outer packet, and the other node puts it together', async () => {
    await until('the route', () => net.in('n1', 'ip route').includes('dev vxlan.calico'));
    expect(net.ping('n1', '10.234.2.1', '-M', 'do', '-s', '1422')).toBe(true);
  });
});
