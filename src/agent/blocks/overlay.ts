/**
 * What lies between pods and the underlay: how packets get to other nodes (plainly, by IPIP, by VXLAN), how large they may
 * be, and whose source addresses are hidden. VXLAN's routes are made here, from who owns what: they do not go by BGP.
 */
import { keepRoute, natRules, tunnelSettings } from '../../calc/mod.ts';
import type { Encapsulation, Uplink } from '../../calc/mod.ts';
import type { Update } from '../../datastore/mod.ts';
import type { NatRules, Route } from '../../desired/mod.ts';
import type { BlockIpam } from '../../ipam/blocks/mod.ts';
import type { Family } from '../../net/mod.ts';
import { podDevices } from '../network.ts';
import type { NetworkContext, NodeView } from '../network.ts';
import type { Knowledge } from './knowledge.ts';
import { Owners } from './owners.ts';
import { Tunnels } from './tunnels.ts';

/** The producer of routes through VXLAN devices, as the route reconciler knows it. */
const VXLAN = 'vxlan';

export class Overlay {
  readonly tunnels: Tunnels;
  uplinks: Readonly<Partial<Record<Family, Uplink>>> = {};
  private readonly context: NetworkContext;
  private readonly knowledge: Knowledge;
  private readonly owners: Owners;
  /** What tunnels are made from was changed. */
  private stale = true;
  private vxlanRoutes: readonly Route[] = [];
  /** The MTU that running pods were brought to. */
  private mtuDone: number | undefined;

  constructor(context: NetworkContext, knowledge: Knowledge) {
    const { config, log, clock, kernel, caretaker, routes } = context;
    this.context = context;
    this.knowledge = knowledge;
    this.owners = new Owners(() => this.handVxlanRoutes());
    routes.expect(VXLAN);
    this.tunnels = new Tunnels({
      ...{ node: config.node, resources: knowledge.resources, log, clock, kernel, caretaker },
      quietMs: config.tunnelQuietSeconds * 1000,
      reversePaths: context.reversePaths,
      pods: podDevices(config),
      changed: () => {
        this.stale = true;
        context.changed();
      },
    });
  }

  async run(follow: (prefix: string) => AsyncIterable<Update>, ipam: BlockIpam, signal: AbortSignal): Promise<void> {
    await Promise.all([this.owners.run(follow, signal), this.tunnels.run(ipam, signal)]);
  }

  /** A resource that tunnels may be made from was changed. */
  onResource(): void {
    this.stale = true;
  }

  /** Makes everything anew if what it is made from has changed: then gives how packets travel from now on. */
  replan(view: NodeView, families: readonly Family[]): Encapsulation | undefined {
    const uplinks = uplinksOf(view, families);
    if (!this.stale && Bun.deepEquals(uplinks, this.uplinks)) return undefined;
    this.stale = false;
    this.uplinks = uplinks;
    const encapsulation = this.tunnels.replan(uplinks);
    this.context.wantNat(this.natRules());
    if (encapsulation.needed.has('vxlan') || encapsulation.needed.has('vxlan6')) this.owners.want();
    this.handVxlanRoutes();
    this.context.caretaker.notify();
    return encapsulation;
  }

  private handVxlanRoutes(): void {
    const { encapsulation } = this.tunnels;
    const { routes } = this.context;
    if (!encapsulation || (this.owners.wanted && !this.owners.complete)) return;
    const { owned } = this.owners;
    const wanted = encapsulation.vxlanRoutes(owned.owned(), (block) => owned.borrowed(block));
    this.vxlanRoutes = keepRoutes(this.vxlanRoutes, wanted);
    routes.setDesired(VXLAN, this.vxlanRoutes);
    routes.markInSync(VXLAN);
  }

  private natRules(): NatRules | 'absent' {
    const { config } = this.context;
    if (!config.ipMasq) return 'absent';
    const { resources } = this.knowledge;
    const settings = tunnelSettings(config.node, resources.list('FelixConfiguration'));
    const pools = [...resources.list('IPPool')].map(({ spec }) => spec);
    return natRules({ pools, nodes: resources.list('Node'), settings });
  }

  /** Bytes; undefined while it is not known. */
  get podMtu(): number | undefined {
    const { mtu } = this.context.config;
    return mtu === 'auto' ? this.tunnels.encapsulation?.podMtu() : mtu;
  }

  /** Brings pods that run to the MTU, once they can be. */
  settleMtu(): void {
    const { podMtu } = this;
    if (podMtu !== undefined && podMtu !== this.mtuDone && this.context.setPodMtu(podMtu)) this.mtuDone = podMtu;
  }
}

function uplinksOf({ addresses }: NodeView, families: readonly Family[]): Partial<Record<Family, Uplink>> {
  const uplinks: Partial<Record<Family, Uplink>> = {};
  for (const family of families) {
    const found = addresses.get(family)?.current;
    if (!found) continue;
    const { address, prefixLength, device, mtu } = found;
    uplinks[family] = { address: { address, prefixLength }, device, mtu };
  }
  return uplinks;
}

/** `after`, with the very objects of `before` where nothing changed: what takes them sees at once what to look at. */
function keepRoutes(before: readonly Route[], after: readonly Route[]): Route[] {
  const old = new Map(before.map((route) => [route.destination, route]));
  return after.map((route) => keepRoute(old.get(route.destination), route));
}
