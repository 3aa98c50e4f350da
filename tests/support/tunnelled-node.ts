/** A node's tunnels and the routes through them, wired as the agent does it, with what is learned of path sizes. */
import { Encapsulation, tunnelSettings } from '../../src/calc/mod.ts';
import type { EncapsulationView } from '../../src/calc/mod.ts';
import { IpipPart, openRouteKernel, PathMtus, RouteReconciler, VxlanPart } from '../../src/dataplane/mod.ts';
import { ip, prefix } from '../../src/net/mod.ts';
import { ipPool, nodeResource } from './calico-resources.ts';
import { pass } from './routed-nodes.ts';
import type { RoutedNode } from './routed-nodes.ts';

export class TunnelledNode implements Disposable {
  private readonly ended = new AbortController();
  private readonly close: Disposable[] = [];

  /** Node `n` of two, 192.168.N.2: IPIP for 10.233.0.0/16, VXLAN for 10.234.0.0/16. */
  constructor(n: 1 | 2, { space, kernel }: Pick<RoutedNode, 'space' | 'kernel'>) {
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
    this.close.push(
      ipip,
      space.run(() => mtus.watch()),
    );
    void space.run(() => routes.run(this.ended.signal));
  }

  [Symbol.dispose](): void {
    this.ended.abort();
    for (const one of this.close) one[Symbol.dispose]();
  }
}
