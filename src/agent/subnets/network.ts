/**
 * Subnet leases, Flannel's way: one lease a node, pods on a bridge, a route to every other node's subnet, by its
 * node's address (host-gw) or through a tunnel to it (vxlan). What is known of this node becomes one plan, which is handed to the writers. A lease of another node changes no more
 * than its own route: it goes past the plan, from the datastore to the writer of routes.
 */
import { err, GodwitError, ok, printable } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { LeaseTable } from '../../calc/mod.ts';
import type { RouteChanges } from '../../calc/mod.ts';
import { BridgePart, NeighbourWatch, ROUTED_PREFIX } from '../../dataplane/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import type { BridgeNetwork } from '../../desired/mod.ts';
import { followNetwork, isOwn, readSubnetEnv, subnetList } from '../../ipam/mod.ts';
import type { NetworkUpdate, SubnetLease } from '../../ipam/mod.ts';
import type { Family } from '../../net/mod.ts';
import type { NodeAddress } from '../detect.ts';
import { podDevices } from '../network.ts';
import type { AgentNetwork, NetworkContext, NetworkReport, NodeView } from '../network.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { isSetAside, leaseFact, leaseName, Ownership } from './ownership.ts';
import { planNode } from './plan.ts';
import type { NodePlan } from './plan.ts';
import { reportOf } from './report.ts';
import { SubnetFilePart } from './subnet-file.ts';
import { backendAttributes, VxlanDevices } from './vxlan.ts';

/** The producer of lease routes, as the route reconciler knows it. */
const LEASES = 'leases';
const FAMILIES = [4, 6] as const;

export class SubnetNetwork implements AgentNetwork {
  readonly kind = 'subnets';
  readonly context: NetworkContext;
  readonly ownership = new Ownership();
  readonly table = new LeaseTable();
  leases: LeaseKeeper | undefined;
  plan: NodePlan | undefined;
  view: NodeView | undefined;
  /** Whether the writer of routes has the whole table, so that changes of it are enough. */
  private handed = false;
  /** Whether the routes of all other nodes were in place once. */
  private routedOnce = false;
  private readonly bridge: BridgePart;
  private readonly subnetFile: SubnetFilePart;
  private readonly vxlan: VxlanDevices;
  private vxlanWasInPlace = false;
  /** What `retire` was asked for: it waits for pods, or is under way. */
  retired: 'waiting' | 'leaving' | undefined;

  constructor(context: NetworkContext) {
    this.context = context;
    const { kernel, caretaker, config } = context;
    this.bridge = new BridgePart(kernel.netlink);
    this.subnetFile = new SubnetFilePart(config.subnetFile);
    for (const part of [this.bridge, this.subnetFile]) caretaker.add(part);
    this.vxlan = new VxlanDevices(kernel, caretaker, {
      clock: context.clock,
      quietMs: config.tunnelQuietSeconds * 1000,
      pods: podDevices(config),
      reversePaths: context.reversePaths,
    });
    context.routes.expect(LEASES);
  }

  families(): readonly Family[] {
    if (this.retired) return [];
    const { config } = this.ownership;
    return FAMILIES.filter((family) =>
      family === 4 ? !config || config.ipv4 !== undefined : config?.ipv6 !== undefined,
    );
  }

  ownsLink(name: string): boolean {
    return name === this.context.config.bridge || this.vxlan.owns(name);
  }

  async run(store: Datastore, signal: AbortSignal): Promise<void> {
    const { config, log, changed, routes, caretaker } = this.context;
    this.leases = new LeaseKeeper({
      ...{ store, log, networkPrefix: config.etcdPrefix },
      previous: readSubnetEnv(config.subnetFile),
      renewMarginMinutes: config.leaseRenewMinutes,
      onChange: changed,
    });
    using _passes = routes.onPass(() => this.onRoutes());
    using neighbours = new NeighbourWatch(this.context.kernel, () => caretaker.notify());
    using _looks = caretaker.onPass(() => {
      this.onLook();
      neighbours.follow(this.vxlan.devices);
    });
    await Promise.all([this.following(store, signal), this.leases.run(signal)]);
  }

  /** The datastore's network, for ever. */
  private async following(store: Datastore, signal: AbortSignal): Promise<void> {
    const { log, config, changed } = this.context;
    for await (const update of followNetwork(store, signal, config.etcdPrefix)) {
      if (update.type === 'stale' && this.ownership.stale === undefined) {
        log.warn({ reason: printable(update.reason) }, 'the datastore is out of reach; everything stays as it is');
      } else if (update.type === 'rejected') {
        log.warn({ key: printable(update.key), reason: update.reason }, 'a key in the datastore cannot be used');
      }
      if (this.learn(update)) changed();
      this.leases?.observe(update);
    }
  }

  /** Takes in what the datastore tells; true when it takes a plan. */
  private learn(update: NetworkUpdate): boolean {
    const { ownership, table, context } = this;
    if (!ownership.apply(update)) return false;
    let changes: RouteChanges;
    if (update.type === 'leaseDeleted') changes = table.delete(leaseName(update.lease, context.config.etcdPrefix));
    else if (update.type === 'lease') {
      const fact = leaseFact(update.lease, context.config.etcdPrefix);
      changes = isSetAside(update.lease) ? table.delete(fact.name) : table.set(fact);
    } else return true;
    if (!this.handed) return false;
    if ((changes.peers || changes.nodes) && this.plan?.vxlan && this.plan.vxlan.length > 0) {
      this.vxlan.setDesired(this.plan.vxlan, table.peers, table.nodes);
      this.vxlan.settle();
    }
    for (const route of changes.wanted) context.routes.addDesired(LEASES, route);
    for (const route of changes.unwanted) context.routes.removeDesired(LEASES, route);
    return false;
  }

  replan(view: NodeView): void {
    this.view = view;
    const addresses = this.neededAddresses();
    if (!addresses) return;
    const { ownership } = this;
    const [first] = addresses;
    this.leases?.setNode({
      publicIp: ownership.config?.ipv4 ? first?.address : undefined,
      publicIpv6: ownership.config?.ipv6 ? addresses.at(-1)?.address : undefined,
      ...this.backendAttributes(view),
    });
    // an address that is away for a moment takes no route with it
    if (view.missingAddress && this.plan) return;
    const before = this.plan;
    this.hand(this.leases?.held?.lease, addresses, view);
    if (!Bun.deepEquals([before?.vxlan, before?.view], [this.plan?.vxlan, this.plan?.view])) this.vxlan.settle();
  }

  /** Nothing goes while a pod is on the bridge. What others attached to it keeps the bridge, and nothing else. */
  retire(view: NodeView): void {
    this.view = view;
    const first = this.retired !== 'leaving';
    this.retired ??= 'waiting';
    if (this.podsOnBridge().length > 0) return;
    this.retired = 'leaving';
    const { context, bridge, subnetFile, vxlan, leases } = this;
    this.plan = undefined;
    this.handed = false;
    bridge.remove(context.config.bridge);
    subnetFile.setDesired('absent');
    context.wantNat('absent');
    context.wantSysctls([]);
    vxlan.adopt(view.host);
    vxlan.setDesired([], [], []);
    context.routes.setDesired(LEASES, []);
    context.routes.markInSync(LEASES);
    const address = (family: Family) => view.addresses.get(family)?.current?.address;
    if (first) context.caretaker.invalidate();
    if (!view.missingAddress) leases?.giveUp({ publicIp: address(4), publicIpv6: address(6) });
  }

  leftovers(): readonly string[] {
    if (!this.retired) return ['it has not begun'];
    const { context, bridge, subnetFile, vxlan } = this;
    const parts = context.caretaker.status().filter(({ name }) => [bridge.name, subnetFile.name].includes(name));
    return [
      ...this.podsOnBridge().map((pod) => `pod ${pod}`),
      ...(this.leases?.gone === true ? [] : ['its lease']),
      ...parts.filter(({ inSync }) => !inSync).map(({ name, problem }) => `${name}: ${problem}`),
      ...vxlan.leftovers,
      ...(context.routes.status().waitingFor.includes(LEASES) ? ['routes'] : []),
    ];
  }

  private podsOnBridge(): string[] {
    const pods = this.context.pods().filter(({ hostInterface }) => !hostInterface.startsWith(ROUTED_PREFIX));
    return pods.map(({ pod, container }) => pod ?? printable(container, 16));
  }

  /** The lease names the tunnel's end once it is there: from then on the others send to it. A new lease has no pods yet. */
  private backendAttributes({ host }: NodeView) {
    const { ownership, leases, context } = this;
    const tells = this.vxlan.inPlace || leases?.held === undefined;
    const vxlan = tells ? ownership.config?.vxlan : undefined;
    return backendAttributes(vxlan, context.config.node, this.families(), host);
  }

  private onLook(): void {
    const { inPlace } = this.vxlan;
    if (inPlace !== this.vxlanWasInPlace) this.context.changed();
    this.vxlanWasInPlace = inPlace;
  }

  /** One address for each family of the network, the IPv4 one first; undefined while one is not known. */
  private neededAddresses(): NodeAddress[] | undefined {
    if (!this.ownership.config) return undefined;
    const families = this.families();
    const addresses = families.flatMap((family) => this.view?.addresses.get(family)?.current ?? []);
    return addresses.length === families.length ? addresses : undefined;
  }

  /** Makes the plan and hands it to the writers. */
  private hand(ownLease: SubnetLease | undefined, addresses: readonly NodeAddress[], { host }: NodeView): void {
    const { ownership, context } = this;
    const plan = planNode({
      ...{ ...context.config, network: ownership.config, addresses, host, ownLease },
    });
    const changed = !Bun.deepEquals(partsOf(this.plan), partsOf(plan));
    this.plan = plan;
    this.bridge.setDesired(plan.bridge);
    context.wantNat(plan.masquerade);
    this.subnetFile.setDesired(plan.subnetEnv);
    context.wantSysctls(plan.sysctls);
    if (changed) context.caretaker.invalidate();
    this.table.setView(plan.view);
    if (!ownership.complete) return;
    this.vxlan.adopt(host);
    this.vxlan.setDesired(plan.vxlan, this.table.peers, this.table.nodes);
    context.routes.setDesired(LEASES, this.table.routes);
    context.routes.markInSync(LEASES);
    this.handed = true;
  }

  private onRoutes(): void {
    const { routes, log } = this.context;
    if (this.routedOnce || !this.ownership.complete || routes.status().waitingFor.includes(LEASES)) return;
    this.routedOnce = true;
    log.info({ routes: routes.status().installed }, 'the routes to the other nodes are in place');
  }

  podsChanged(): void {
    // nothing of a lease depends on who uses it, but its end
    if (this.retired === 'waiting') this.context.changed();
  }

  /** The network pods are attached to, or why there is none yet. */
  podNetwork(): Result<BridgeNetwork, string> {
    if (this.retired) return err('the migration to blocks is finished');
    const bridge = this.plan?.bridge;
    if (!bridge || !this.routedOnce) {
      const [reason] = this.report().reasons;
      return err(reason ?? 'the routes to the other nodes are not in place yet');
    }
    const part = this.context.caretaker.status().find(({ name }) => name === this.bridge.name);
    return part?.inSync === true ? ok(bridge) : err(`bridge ${bridge.bridge}: ${part?.problem ?? 'not there yet'}`);
  }

  report(): NetworkReport {
    return reportOf(this);
  }

  async leased(): Promise<void> {
    // a lease is its node's own business
  }

  async preview(store: Datastore, view: NodeView, signal: AbortSignal): Promise<readonly string[]> {
    const { config } = this.context;
    this.view = view;
    const stop = new AbortController();
    for await (const update of followNetwork(store, AbortSignal.any([signal, stop.signal]), config.etcdPrefix)) {
      this.learn(update);
      if (update.type === 'inSync') break;
      if (update.type !== 'stale') continue;
      const hint = 'without it nobody can say what would be changed';
      throw new GodwitError('datastore', `the datastore does not answer: ${update.reason}`, { hint });
    }
    stop.abort();
    if (!this.ownership.config)
      return [`# network: no usable ${config.etcdPrefix}/config: nothing would be changed for it`];
    const lines: string[] = [];
    const own = this.findOwnLease(view);
    if (own) lines.push(`# lease: ${subnetList(own.subnets).join(', ')} is this node’s`);
    else
      lines.push(
        '# lease: none carries this node’s address; a subnet would be taken, and bridge and pods follow from it',
      );
    const addresses = this.neededAddresses();
    if (!addresses)
      return [...lines, '# routes: this node has no address of the network’s families: nothing would be changed'];
    this.hand(own, addresses, view);
    for (const problem of this.table.problems) lines.push(`# lease ${problem.lease}: ${problem.reason}`);
    return lines;
  }

  /** The lease this node has in the datastore, found by its address. */
  private findOwnLease({ addresses }: NodeView): SubnetLease | undefined {
    const previous = readSubnetEnv(this.context.config.subnetFile);
    const node = { publicIp: addresses.get(4)?.current?.address, publicIpv6: addresses.get(6)?.current?.address };
    const mine = this.ownership.leases.filter((lease) => isOwn(lease, node));
    return mine.find((lease) => lease.subnets.ipv4 === previous?.ipv4) ?? mine[0];
  }
}

/** What the caretaker's parts are told of a plan. */
const partsOf = (plan: NodePlan | undefined) => [
  ...[plan?.sysctls, plan?.bridge, plan?.masquerade, plan?.subnetEnv],
  plan?.vxlan,
];
