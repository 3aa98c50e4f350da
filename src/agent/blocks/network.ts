/**
 * Calico's network on this node. Resources and this node's own blocks come from the datastore; the node's own resource goes
 * there; routes to the other nodes' blocks come and go by BGP, through the embedded speaker. Nothing that was put into the
 * kernel is swept before the datastore and every neighbour have told everything.
 */
import { err, GodwitError, messageOf, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { effectiveBgp, natRules, tunnelSettings } from '../../calc/mod.ts';
import type { BgpResources, NodeBgp, Uplink } from '../../calc/mod.ts';
import { TcpNetwork } from '../../bgp/speaker/mod.ts';
import type { Network, SpeakerEvent } from '../../bgp/speaker/mod.ts';
import type { ViewRoute } from '../../bgp/fib/mod.ts';
import { SourceCheckPart } from '../../dataplane/mod.ts';
import type { SysctlWish } from '../../dataplane/mod.ts';
import type { Datastore, LeaseId } from '../../datastore/mod.ts';
import { openBlockAccess } from '../../cni/mod.ts';
import type { NatRules, PodNetwork, Route } from '../../desired/mod.ts';
import { encodeStored, resourceKey } from '../../model/mod.ts';
import type { ResourceChange } from '../../model/mod.ts';
import { BlockIpam, CONFIG_KEY, FollowedSettings } from '../../ipam/blocks/mod.ts';
import {
  addressFromBytes,
  familyOf,
  hostPrefix,
  parseInterfaceAddress,
  prefixContains,
  prefixCovers,
} from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { ReflectorKeeper } from '../../reflectors/mod.ts';
import type { AgentNetwork, NetworkContext, NetworkReport, NodeView } from '../network.ts';
import type { NodeKernel } from '../kernel.ts';
import { speakerPlan } from './bgp-config.ts';
import type { SpeakerPlan } from './bgp-config.ts';
import { collectLeaks } from './collector.ts';
import { awaitConfirmation } from './confirmation.ts';
import type { ConfirmationView } from './confirmation.ts';
import { Departed } from './departed.ts';
import { BgpFib } from './fib.ts';
import { Knowledge } from './knowledge.ts';
import { NextHops } from './next-hops.ts';
import { NodeResourceKeeper, saysSo, withFacts } from './node-resource.ts';
import type { NodeFacts } from './node-resource.ts';
import { Owners } from './owners.ts';
import { publishedBlocks, reportOf, sessionsOf } from './report.ts';
import { localPrefOf } from './rules.ts';
import { secretsIn } from './secrets.ts';
import { SpeakerKeeper } from './speaker.ts';
import type { Announcement } from './speaker.ts';
import { topologyView } from './topology.ts';
import { Tunnels } from './tunnels.ts';

/** The producer of the routes that end what is sent to nobody's address in this node's own blocks. */
const BLACKHOLE = 'blackhole';
/** The producer of routes to peers that are behind a gateway of their own. */
const PEERS = 'peers';
/** The producer of routes through VXLAN devices. */
const VXLAN = 'vxlan';
/** Felix's normal priority, which Calico nodes find in LOCAL_PREF. */
const PRIORITY = 1024;
/** How long neighbours that are not there, or have not told everything, keep what is stale, beyond the speaker's own wait. */
const SWEEP_PATIENCE_MS = 30_000;
/** After this, neighbours that are not there do not keep this node from being ready. */
const START_PATIENCE_MS = 15_000;
/** After this, pods are attached although some neighbours are not there. */
const POD_PATIENCE_MS = 5_000;
/** Pods come in bunches: their addresses are looked at once, milliseconds. */
const PODS_MS = 5;

export class BlockNetwork implements AgentNetwork {
  readonly kind = 'blocks';
  readonly context: NetworkContext;
  readonly knowledge: Knowledge;
  readonly nodeResource: NodeResourceKeeper;
  readonly speaker: SpeakerKeeper;
  readonly reflectors: ReflectorKeeper;
  readonly fib: BgpFib;
  readonly tunnels: Tunnels;
  private readonly sourceCheck: SourceCheckPart;
  plan: SpeakerPlan | undefined;
  bgp: NodeBgp | undefined;
  /** Generation of the plan of reflectors that the sessions were made from; 0 without one. */
  generation = 0;
  /** What neighbours have not confirmed of this node's blocks; undefined once they have. */
  unconfirmed: string | undefined = 'the neighbours were not asked yet for this node’s blocks';
  /** Whether everything was as it should be once, or neighbours that are not there were waited for long enough. */
  settled = false;
  /** Whether the neighbours have told everything once. */
  routedOnce = false;
  private readonly nextHops: NextHops;
  private readonly departed: Departed;
  private readonly owners: Owners;
  private readonly secret: ReturnType<typeof secretsIn>;
  /** Resources that sessions are made from were changed. */
  private bgpChanged = true;
  /** Own blocks, as the sessions' policies know them. */
  private guarded: readonly Prefix[] = [];
  /** What tunnels are made from was changed. */
  private tunnelsChanged = true;
  private uplinks: Readonly<Partial<Record<Family, Uplink>>> = {};
  private ipam: BlockIpam | undefined;
  private vxlanRoutes: readonly Route[] = [];
  private mtuDone: number | undefined;
  private podsLook: Disposable | undefined;
  private patience: Disposable | undefined;

  /** Throws KernelError. */
  constructor(context: NetworkContext) {
    const { config, log, clock, kernel, routes } = context;
    this.context = context;
    this.secret = secretsIn(config.secretsDir);
    this.knowledge = new Knowledge(config.node, {
      resources: (change) => this.onResource(change),
      blocks: () => this.onBlocks(),
      stale: (reason) => {
        if (reason !== undefined && this.knowledge.complete)
          log.warn({ reason }, 'the datastore is out of reach; everything stays as it is');
        context.changed();
      },
    });
    this.nodeResource = new NodeResourceKeeper(config.node, () => this.knowledge.self, log);
    this.fib = new BgpFib(routes, {
      clock,
      isAway: (neighbor) => {
        const peer = this.speaker.speaker?.peers.get(neighbor);
        return peer !== undefined && peer.config.enabled && peer.session?.active !== true;
      },
      onComplete: () => this.lookRouted(),
    });
    this.owners = new Owners(() => this.handVxlanRoutes());
    for (const producer of [BLACKHOLE, PEERS, VXLAN]) routes.expect(producer);
    const bgpChanged = () => {
      this.bgpChanged = true;
      context.changed();
    };
    this.departed = new Departed(clock, bgpChanged);
    this.nextHops = new NextHops(kernel.routes, config.routeProtocol, {
      ...{ clock, changed: bgpChanged, extra: () => reachableBy(this.plan) },
    });
    this.tunnels = new Tunnels({
      ...{ node: config.node, resources: this.knowledge.resources, log, clock, kernel, caretaker: context.caretaker },
      changed: () => {
        this.tunnelsChanged = true;
        context.changed();
      },
    });
    this.sourceCheck = new SourceCheckPart(() => kernel.nft());
    context.caretaker.add(this.sourceCheck);
    this.speaker = new SpeakerKeeper({
      ...{ log, clock, resolver: this.nextHops.resolver, network: networkIn(kernel, clock) },
      sink: () => this.fib.life(),
      // what an earlier life left in the kernel forwards still
      restarting: kernel.routes.routes(config.routeProtocol).length > 0,
      onEvent: (event) => this.onSpeaker(event),
    });
    this.reflectors = new ReflectorKeeper({
      ...{ node: config.node, log, clock },
      resources: () => (this.knowledge.complete ? this.bgpResources() : undefined),
      view: () => topologyView(this),
      changed: bgpChanged,
    });
  }

  families(): readonly Family[] {
    const families = new Set<Family>(
      [...this.knowledge.resources.list('IPPool')].map(({ spec }) => familyOf(spec.cidr)),
    );
    // a node of Calico's has an IPv4 address unless everything is IPv6
    return families.size === 1 && families.has(6) ? [6] : families.has(6) ? [4, 6] : [4];
  }

  ownsLink(name: string): boolean {
    return this.tunnels.ownsLink(name);
  }

  async run(store: Datastore, signal: AbortSignal): Promise<void> {
    using _nextHops = this.nextHops.follow();
    using settings = new FollowedSettings(this.knowledge.resources, this.context.clock);
    const { clock, log, config } = this.context;
    const { node } = config;
    const ipam = new BlockIpam({ store, node, settings, clock, log });
    this.ipam = ipam;
    this.context.offerBlocks(openBlockAccess({ ipam, store, node, clock, log }));
    await Promise.all([
      this.knowledge.run(store, signal),
      settings.run(store.follow(CONFIG_KEY, signal)),
      this.nodeResource.run(store, signal),
      this.owners.run(store, signal),
      this.tunnels.run(ipam, signal),
      this.speaker.run(signal),
      this.confirming(store, signal),
      this.reflectors.run(store, signal),
    ]);
  }

  private async confirming(store: Datastore, signal: AbortSignal): Promise<void> {
    const { clock, log, statusChanged } = this.context;
    await awaitConfirmation({ store, clock, log, view: () => this.confirmationView() }, signal, (missing) => {
      this.unconfirmed = missing;
      this.settled = missing === undefined;
      statusChanged();
    });
    await untilAborted(signal);
  }

  private confirmationView(): ConfirmationView {
    const sessions = sessionsOf(this);
    const arrived = sessions.every(({ state, endOfRib, inStep }) => state === 'Established' && endOfRib && inStep);
    // what filters of a BGPPeer leave of this node's blocks is nobody's fault
    const meshed = [...(this.plan?.sessions.values() ?? [])].filter(({ peer }) => peer === undefined);
    const up = new Set(meshed.map(({ neighbor }) => neighbor));
    const told = (prefix: Prefix) => {
      const around = this.bgp?.pools.filter(({ cidr }) => prefixCovers(cidr, prefix)) ?? [];
      return around.length > 0 && around.every((pool) => pool.export);
    };
    const nodes = [...this.knowledge.resources.list('Node')].filter(({ spec }) =>
      [spec.bgp?.ipv4Address, spec.bgp?.ipv6Address].some((found) => found !== undefined && up.has(found.address)),
    );
    const announced = new Map<IpAddress, Prefix[]>();
    for (const prefix of this.knowledge.blocks().filter(told)) {
      const uplink = this.uplinks[familyOf(prefix)]?.address.address;
      if (uplink !== undefined) announced.set(uplink, [...(announced.get(uplink) ?? []), prefix]);
    }
    const { speaker } = this.speaker;
    const waited = speaker !== undefined && this.context.clock.wallNow() - speaker.startedAt > START_PATIENCE_MS;
    const known = speaker !== undefined && this.knowledge.complete && (arrived || waited);
    return { announced, neighbors: known ? nodes.map(({ name }) => name) : undefined };
  }

  published() {
    return { inUse: Object.values(this.tunnels.addresses), blocks: publishedBlocks(this) };
  }

  leased(store: Datastore, lease: LeaseId, signal: AbortSignal): Promise<void> {
    const { ipam } = this;
    const { clock, log } = this.context;
    return ipam ? collectLeaks({ store, ipam, lease, clock, log }, signal) : untilAborted(signal);
  }

  private onResource(change: ResourceChange | undefined): void {
    if (change?.kind === 'Node') {
      if ((change.after ?? change.before)?.name === this.context.config.node) this.nodeResource.look();
      this.departed.note(change);
    }
    this.bgpChanged = true;
    this.tunnelsChanged = true;
    this.context.changed();
  }

  podsChanged(): void {
    this.podsLook ??= this.context.clock.after(PODS_MS, () => {
      this.podsLook = undefined;
      this.speaker.setAnnouncements(this.announcements(this.knowledge.blocks()));
    });
  }

  /** Straight to the neighbours: a new block is waited for by its first pod. */
  private onBlocks(): void {
    if (!this.knowledge.complete) return;
    const blocks = this.knowledge.blocks();
    this.speaker.setAnnouncements(this.announcements(blocks));
    this.handBlackholes(blocks);
    if (!this.plan || Bun.deepEquals(blocks, this.guarded)) return;
    this.bgpChanged = true;
    this.context.changed();
  }

  private handBlackholes(blocks: readonly Prefix[]): void {
    const { routes } = this.context;
    const wanted = blocks.map((destination): Route => {
      return { destination, class: 'blackhole', type: 'blackhole', nextHops: [] };
    });
    routes.setDesired(BLACKHOLE, wanted);
    routes.markInSync(BLACKHOLE);
  }

  /** Own blocks, addresses here that are of others' blocks, ranges of services. */
  private announcements(blocks: readonly Prefix[]): Announcement[] {
    const here = this.context.pods().flatMap(({ addresses }) => addresses.map(addressIn));
    const outside = [...here, ...Object.values(this.tunnels.addresses)].filter(
      (address) => address !== undefined && !blocks.some((block) => prefixContains(block, address)),
    ) as IpAddress[];
    const pools = [...this.knowledge.resources.list('IPPool')].map(({ spec }) => spec.cidr);
    const borrowed = outside.filter((address) => pools.some((pool) => prefixContains(pool, address)));
    const prefixes = [...blocks, ...borrowed.map(hostPrefix), ...(this.bgp?.serviceRanges ?? [])];
    return prefixes.map((prefix) => ({ prefix, localPref: localPrefOf(PRIORITY) }));
  }

  replan(view: NodeView): void {
    const families = this.families();
    this.context.wantSysctls(sysctlsFor(families));
    if (!this.knowledge.complete) return;
    // no pod before the check is there
    if (this.sourceCheck.setDesired(families.includes(6) ? 'ipv6' : 'absent')) this.context.caretaker.invalidate();
    if (!view.missingAddress) this.replanTunnels(view);
    this.settleMtu();
    const facts = this.factsOf(view, families);
    if (facts && !view.missingAddress) this.nodeResource.setFacts(facts);
    // a plan that is not known yet must not be taken for a mesh
    if (!this.reflectors.complete) return;
    // sessions wait until the others can know of them, and are not touched while this node's address is in doubt
    if (!facts || view.missingAddress || !saysSo(this.knowledge.self, facts)) return;
    // a problem may be a secret that is missing, and it may have come
    if (!this.bgpChanged && this.plan && this.plan.problems.length === 0) return;
    this.bgpChanged = false;
    this.replanBgp();
  }

  private replanTunnels(view: NodeView): void {
    const uplinks = uplinksOf(view, this.families());
    if (!this.tunnelsChanged && Bun.deepEquals(uplinks, this.uplinks)) return;
    this.tunnelsChanged = false;
    this.uplinks = uplinks;
    const encapsulation = this.tunnels.replan(uplinks);
    this.fib.setRouteMaker((destination, paths) => encapsulation.bgpRoute(destination, paths));
    this.context.wantNat(this.natRules());
    if (encapsulation.needed.has('vxlan') || encapsulation.needed.has('vxlan6')) this.owners.want();
    this.handVxlanRoutes();
    this.context.caretaker.notify();
  }

  /** VXLAN does not go by BGP: who owns what is read from the datastore. */
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

  /** The MTU of pods; those that run are brought to it. */
  private settleMtu(): void {
    const mtu = this.podMtu();
    if (mtu !== undefined && mtu !== this.mtuDone && this.context.setPodMtu(mtu)) this.mtuDone = mtu;
  }

  private podMtu(): number | undefined {
    const { mtu } = this.context.config;
    return mtu === 'auto' ? this.tunnels.encapsulation?.podMtu() : mtu;
  }

  private replanBgp(): void {
    const { plan } = this.reflectors;
    const resources = this.bgpResources();
    const nodes = [...resources.nodes, ...this.departed.list()];
    this.bgp = effectiveBgp(this.context.config.node, { ...resources, nodes }, plan);
    if (!this.bgp) return;
    this.guarded = this.knowledge.blocks();
    const { bgp: node, guarded: blocks, secret } = this;
    this.plan = speakerPlan({ node, blocks, routerId: this.routerId(), secret });
    this.onBlocks();
    this.nextHops.refresh();
    this.handPeerRoutes();
    this.speaker.setConfig(this.plan.config);
    this.generation = plan?.generation ?? 0;
    this.reflectors.notify();
  }

  private bgpResources(): BgpResources {
    const { resources } = this.knowledge;
    return {
      nodes: [...resources.list('Node')],
      gateways: this.nextHops.gateways,
      peers: [...resources.list('BGPPeer')],
      configurations: [...resources.list('BGPConfiguration')],
      filters: [...resources.list('BGPFilter')],
      pools: [...resources.list('IPPool')],
    };
  }

  /** Peers that are reached through a gateway of their own. */
  private handPeerRoutes(): void {
    const { routes } = this.context;
    const wanted = reachableBy(this.plan).flatMap(({ destination, hops }): Route[] => {
      const [gateway] = hops;
      const found = gateway?.via === undefined ? undefined : this.nextHops.resolver.resolve(gateway.via);
      const via = found?.reachable === true ? found.hops : [];
      return via.length === 0 ? [] : [{ destination, class: 'bgp', type: 'unicast', nextHops: via }];
    });
    routes.setDesired(PEERS, wanted);
    routes.markInSync(PEERS);
  }

  /** Of a node without an IPv4 address: made from its name, the same at every start. */
  private routerId(): IpAddress {
    const digest = new Bun.CryptoHasher('sha256').update(this.context.config.node).digest();
    return addressFromBytes(Uint8Array.of(1 + (digest[0]! % 223), digest[1]!, digest[2]!, digest[3]!));
  }

  private factsOf(view: NodeView, families: readonly Family[]): NodeFacts | undefined {
    const of = (family: Family) => {
      const found = view.addresses.get(family)?.current;
      return families.includes(family) && found
        ? { address: found.address, prefixLength: found.prefixLength }
        : undefined;
    };
    const tunnels = this.tunnels.encapsulation?.published();
    const facts = { ipv4: of(4), ipv6: of(6), tunnels };
    return families.every((family) => facts[family === 4 ? 'ipv4' : 'ipv6']) ? facts : undefined;
  }

  private onSpeaker(event: SpeakerEvent): void {
    if (event.type === 'state' || event.type === 'end-of-rib') this.context.statusChanged();
    this.reflectors.notify();
    if (event.type === 'end-of-rib' || event.type === 'removed') this.lookRouted();
  }

  /**
   * What no neighbour told again may go when all of them have told everything. Those that restart together with this node
   * say so only after they have waited for each other, and those that are not there are not waited for without end.
   */
  private lookRouted(late = false): void {
    const { speaker } = this.speaker;
    if (!speaker || !this.fib.said) return;
    const told = [...speaker.peers.values()].every(({ config, session }) => {
      return !config.enabled || (session?.active === true && session.families.every((f) => session.finished.has(f)));
    });
    if (!told && !late) {
      this.patience ??= this.context.clock.after(SWEEP_PATIENCE_MS, () => this.lookRouted(true));
      return;
    }
    this.patience?.[Symbol.dispose]();
    this.patience = undefined;
    this.fib.sweep();
    if (this.routedOnce) return;
    this.routedOnce = true;
    this.context.log.info({}, told ? 'the neighbours have told all their routes' : 'not all neighbours are there');
    this.context.changed();
  }

  podNetwork(): Result<PodNetwork, string> {
    const mtu = this.podMtu();
    // a report is made of everything: not for each pod
    const reason = (otherwise: string) => err(this.report().reasons[0] ?? otherwise);
    if (mtu === undefined || !this.speaker.speaker) return reason('the node is being set up');
    const missing = this.tunnels.status().find(({ needed, inPlace }) => needed && !inPlace);
    if (missing) return err(`tunnel ${missing.device}: ${missing.problem ?? 'not in place yet'}`);
    const check = this.context.caretaker.status().find(({ name }) => name === this.sourceCheck.name);
    if (check?.inSync !== true) return err(`the source check of pods: ${check?.problem ?? 'not in place yet'}`);
    if (!this.routedOnce && !this.mayStart()) return reason('the neighbours have not told everything yet');
    return ok({ mtu, families: this.families() });
  }

  /** Neighbours that are not there do not hold up pods for long. */
  private mayStart(): boolean {
    const { speaker } = this.speaker;
    if (!speaker || this.context.clock.wallNow() - speaker.startedAt < POD_PATIENCE_MS) return false;
    return [...speaker.peers.values()].every(
      ({ session }) => session?.active !== true || session.families.every((family) => session.finished.has(family)),
    );
  }

  report(): NetworkReport {
    return reportOf(this);
  }

  async preview(store: Datastore, view: NodeView): Promise<readonly string[]> {
    const { node } = this.context.config;
    try {
      await this.knowledge.read(store);
    } catch (error) {
      const hint = 'without it nobody can say what would be changed';
      throw new GodwitError('datastore', `the datastore does not answer: ${messageOf(error)}`, { hint });
    }
    const lines: string[] = [];
    this.context.wantSysctls(sysctlsFor(this.families()));
    this.replanTunnels(view);
    const facts = this.factsOf(view, this.families());
    if (!facts) return ['# node: no address: neither its resource nor a session would be made'];
    const { self, resources } = this.knowledge;
    if (!saysSo(self, facts)) {
      const wanted = withFacts(node, self, facts);
      lines.push(`# node: ${self ? 'change' : 'create'} Node ${node}: ${JSON.stringify(wanted.raw['spec'])}`);
      resources.apply({
        type: 'put',
        kv: { key: resourceKey('Node', node), value: encodeStored(wanted), modRevision: 1 },
      });
    }
    const blocks = this.knowledge.blocks();
    lines.push(`# blocks: ${blocks.join(', ') || 'none; the first pod claims one'}`);
    this.replanBgp();
    for (const session of this.plan?.sessions.values() ?? []) {
      lines.push(`# session: ${session.name} AS ${session.remoteAs}${session.passive ? ', waits for it' : ''}`);
    }
    for (const problem of this.plan?.problems ?? []) lines.push(`# ${problem}`);
    lines.push('# routes to other nodes come by BGP: they cannot be foretold without the sessions');
    return lines;
  }
}

/** A speaker's sockets, opened in the node's namespace. */
function networkIn(kernel: NodeKernel, clock: NetworkContext['clock']): Network {
  const tcp = new TcpNetwork(clock);
  return {
    listen: (...args) => kernel.inside(() => tcp.listen(...args)),
    dial: (...args) => kernel.inside(() => tcp.dial(...args)),
  };
}

function sysctlsFor(families: readonly Family[]): SysctlWish[] {
  return families.map((family) =>
    family === 4 ? { name: 'net/ipv4/ip_forward', value: '1' } : { name: 'net/ipv6/conf/all/forwarding', value: '1' },
  );
}

const addressIn = (text: string): IpAddress | undefined => parseInterfaceAddress(text)?.address;

function uplinksOf({ addresses }: NodeView, families: readonly Family[]): Partial<Record<Family, Uplink>> {
  const uplinks: Partial<Record<Family, Uplink>> = {};
  for (const family of families) {
    const found = addresses.get(family)?.current;
    if (found) {
      const { address, prefixLength, device, mtu } = found;
      uplinks[family] = { address: { address, prefixLength }, device, mtu };
    }
  }
  return uplinks;
}

/** The peers that are to be reached through a gateway, as routes that next hops may go through. */
function reachableBy(plan: SpeakerPlan | undefined): ViewRoute[] {
  return [...(plan?.sessions.values() ?? [])].flatMap(({ neighbor, reachableBy: via }): ViewRoute[] =>
    // which device leads to the gateway is for the resolver to find
    via === undefined ? [] : [{ destination: hostPrefix(neighbor), metric: 0, hops: [{ via, device: '' }] }],
  );
}

/** `after`, with the very objects of `before` where nothing changed: what takes them sees at once what to look at. */
function keepRoutes(before: readonly Route[], after: readonly Route[]): Route[] {
  const old = new Map(before.map((route) => [route.destination, route]));
  return after.map((route) => {
    const same = old.get(route.destination);
    return same && Bun.deepEquals(same, route) ? same : route;
  });
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
