// node1 - router - 1400 bytes - router - node2: nothing may vanish in the tunnel.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { Encapsulation, tunnelSettings } from '../../src/calc/mod.ts';
import type { EncapsulationView } from '../../src/calc/mod.ts';
import { IpipPart, openRouteKernel, PathMtus, RouteReconciler, VxlanPart } from '../../src/dataplane/mod.ts';
import { ip, prefix } from '../../src/net/mod.ts';
import { ipPool, nodeResource } from '../support/calico-resources.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { pass, RoutedNodes } from '../support/routed-nodes.ts';
import type { RoutedNode } from '../support/routed-nodes.ts';

const here = have('path MTU of tunnels', 'ip', 'tc', 'ping', 'nc', '/dev/net/tun');

describe.skipIf(!here)('an underlay with a smaller MTU', () => {
  let net: RoutedNodes;
  const ended = new AbortController();
  const close: Disposable[] = [];
  beforeAll(() => {
    net = new RoutedNodes();
    net.bottleneck(2, 1400);
    for (const n of [1, 2] as const) {
      const node = net.add(n);
      net.addPod(n);
      tunnel(n, node);
    }
  });
  afterAll(() => {
    ended.abort();
    for (const one of close) one[Symbol.dispose]();
    net[Symbol.dispose]();
  });

  /** IPIP for 10.233.0.0/16 and VXLAN for 10.234.0.0/16, wired as the agent does it. */
  function tunnel(n: 1 | 2, { space, kernel }: RoutedNode): void {
    const other = n === 1 ? 2 : 1;
    const view: EncapsulationView = {
      node: `n${n}`,
      pools: [ipPool('10.233.0.0/16', { ipipMode: 'Always' }), ipPool('10.234.0.0/16', { vxlanMode: 'Always' })],
      nodes: [nodeResource(`n${other}`, `192.168.${other}.2/24`, { ipv4VXLANTunnelAddr: `10.234.${other}.1` })],
      settings: tunnelSettings(`n${n}`, []),
      uplinks: { 4: { address: { address: ip(`192.168.${n}.2`), prefixLength: 24 }, device: 'eth0', mtu: 1500 } },
      addresses: { ipip: ip(`10.233.${n}.1`), vxlan: ip(`10.234.${n}.1`) },
      inPlace: new Set(),
    };
    const routes = space.run(() => new RouteReconciler({ kernel: openRouteKernel() }));
    const mtus = new PathMtus({ changed: () => plan() });
    const ipip = new IpipPart(kernel);
    const vxlan = new VxlanPart(kernel, 'vxlan.calico', 4);
    const plan = () => {
      const encapsulation = new Encapsulation({ ...view, pathMtus: mtus.values() });
      ipip.setDesired(encapsulation.ipip() ?? 'absent');
      vxlan.setDesired(encapsulation.vxlan(4) ?? 'absent');
      mtus.setTunnel(encapsulation.ipip());
      const path = { nextHop: ip(`192.168.${other}.2`), hops: [{ via: ip(`192.168.${n}.1`), device: 'eth0' }] };
      const byBgp = encapsulation.bgpRoute(prefix(`10.233.${other}.0/26`), [path])!;
      const byBlock = encapsulation.vxlanRoutes([[prefix(`10.234.${other}.0/26`), `n${other}`]]);
      routes.setDesired('all', [byBgp, ...byBlock]);
      pass(ipip);
      pass(vxlan);
    };
    plan();
    close.push(
      ipip,
      space.run(() => mtus.watch()),
    );
    void space.run(() => routes.run(ended.signal));
  }

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
    const told = net.in('p1', 'ping -c 1 -W 1 -M do -s 1432 10.233.2.2 || true');
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

  test('VXLAN: the router cuts the outer packet, and the other node puts it together', async () => {
    await until('the route', () => net.in('n1', 'ip route').includes('dev vxlan.calico'));
    expect(net.ping('n1', '10.234.2.1', '-M', 'do', '-s', '1422')).toBe(true);
  });
});
