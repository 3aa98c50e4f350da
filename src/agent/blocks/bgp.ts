/**
 * BGP on this node: from the cluster's resources to the sessions of the embedded speaker, from its best paths to routes.
 * What is stale goes only when every neighbour has told everything, or was waited for long enough.
 */
import { SweepGate, TcpNetwork } from '../../bgp/speaker/mod.ts';
import type { Network, SpeakerEvent } from '../../bgp/speaker/mod.ts';
import type { ViewRoute } from '../../bgp/fib/mod.ts';
import { effectiveBgp } from '../../calc/mod.ts';
import type { BgpResources, NodeBgp } from '../../calc/mod.ts';
import type { CopiedUpdate, Datastore } from '../../datastore/mod.ts';
import type { Route } from '../../desired/mod.ts';
import type { ResourceChange } from '../../model/mod.ts';
import { addressFromBytes, hostPrefix, parseInterfaceAddress, prefixContains } from '../../net/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { ReflectorKeeper } from '../../reflectors/mod.ts';
import type { NodeKernel } from '../kernel.ts';
import type { NetworkContext } from '../network.ts';
import { speakerPlan } from './bgp-config.ts';
import type { SpeakerPlan } from './bgp-config.ts';
import { Departed } from './departed.ts';
import { BgpFib } from './fib.ts';
import type { Knowledge } from './knowledge.ts';
import { NextHops } from './next-hops.ts';
import { localPrefOf } from './rules.ts';
import { secretsIn } from './secrets.ts';
import { SpeakerKeeper } from './speaker.ts';
import type { Announcement } from './speaker.ts';
import { topologyView } from './topology.ts';

/** The producer of routes to peers that are behind a gateway of their own. */
const PEERS = 'peers';
/** Felix's normal priority, which Calico nodes find in LOCAL_PREF. */
const PRIORITY = 1024;
/** After this, pods are attached although some neighbours are not there. */
const POD_PATIENCE_MS = 5_000;

export class NodeBgpRunner {
  readonly context: NetworkContext;
  readonly speaker: SpeakerKeeper;
  readonly reflectors: ReflectorKeeper;
  readonly fib: BgpFib;
  plan: SpeakerPlan | undefined;
  /** What the resources ask of this node; undefined until it has a resource of its own. */
  node: NodeBgp | undefined;
  /** Generation of the plan of reflectors that the sessions were made from; 0 without one. */
  generation = 0;
  /** Whether the neighbours have told everything once. */
  routedOnce = false;
  private readonly knowledge: Knowledge;
  /** Addresses of this node that may be of others' blocks: its tunnels' ends. */
  private readonly ends: () => readonly IpAddress[];
  private readonly nextHops: NextHops;
  private readonly gate: SweepGate;
  private readonly departed: Departed;
  private readonly secret: ReturnType<typeof secretsIn>;
  /** What sessions are made from was changed. */
  private stale = true;
  /** Whether the sessions are those that the datastore asks for, and not a copy of it. */
  private live = false;
  /** Own blocks, as the sessions' policies know them. */
  private guarded: readonly Prefix[] = [];

  /** Throws KernelError. */
  constructor(context: NetworkContext, knowledge: Knowledge, ends: () => readonly IpAddress[]) {
    const { config, log, clock, kernel, routes } = context;
    this.context = context;
    this.knowledge = knowledge;
    this.ends = ends;
    this.secret = secretsIn(config.secretsDir);
    const changed = () => this.changed();
    this.departed = new Departed(clock, changed);
    this.nextHops = new NextHops(kernel.routes, config.routeProtocol, {
      ...{ clock, changed, extra: () => reachableBy(this.plan) },
    });
    this.gate = new SweepGate({
      clock,
      speaker: () => this.speaker.speaker,
      // whom a copy of the datastore does not know may still come
      ready: () => this.live && this.fib.said,
      open: (told) => this.sweep(told),
    });
    this.fib = new BgpFib(routes, {
      ...{ clock, isAway: (neighbor) => this.isAway(neighbor), onComplete: () => this.gate.look() },
    });
    routes.expect(PEERS);
    this.speaker = new SpeakerKeeper({
      ...{ log, clock, resolver: this.nextHops.resolver, network: networkIn(kernel, clock) },
      sink: () => this.fib.life(),
      // what an earlier life left in the kernel forwards still
      restarting: kernel.routes.routes(config.routeProtocol).length > 0,
      onEvent: (event) => this.onSpeaker(event),
    });
    this.reflectors = new ReflectorKeeper({
      ...{ node: config.node, log, clock, changed },
      // what others act on must not come from a copy
      resources: () => (knowledge.live ? this.resources() : undefined),
      view: () => topologyView(this),
    });
  }

  async run(
    store: Datastore,
    follow: (prefix: string) => AsyncIterable<CopiedUpdate>,
    signal: AbortSignal,
  ): Promise<void> {
    using _nextHops = this.nextHops.follow();
    using _gate = this.gate;
    await Promise.all([this.speaker.run(signal), this.reflectors.run(store, follow, signal)]);
  }

  /** A resource that sessions may be made from was changed. */
  onResource(change: ResourceChange | undefined): void {
    if (change) this.departed.note(change);
    this.stale = true;
  }

  private changed(): void {
    this.stale = true;
    this.context.changed();
  }

  /** Tells the neighbours at once what this node has now: a new block is waited for by its first pod. */
  announce(): void {
    const blocks = this.knowledge.blocks();
    this.speaker.setAnnouncements(this.announcements(blocks));
    if (this.plan?.guarding && !Bun.deepEquals(blocks, this.guarded)) this.changed();
  }

  /** Own blocks, addresses here that are of others' blocks, ranges of services. */
  private announcements(blocks: readonly Prefix[]): Announcement[] {
    const here = this.context.pods().flatMap(({ addresses }) => {
      return addresses.flatMap((text) => parseInterfaceAddress(text)?.address ?? []);
    });
    const outside = [...here, ...this.ends()].filter((address) => !isWithin(address, blocks));
    const pools = [...this.knowledge.resources.list('IPPool')].map(({ spec }) => spec.cidr);
    const borrowed = outside.filter((address) => isWithin(address, pools)).map(hostPrefix);
    const prefixes = [...blocks, ...borrowed, ...(this.node?.serviceRanges ?? [])];
    return prefixes.map((prefix) => ({ prefix, localPref: localPrefOf(PRIORITY) }));
  }

  /** Makes the sessions anew if what they are made from has changed. */
  replan(): void {
    // a problem may be a secret that is missing, and it may have come
    if (!this.stale && this.plan && this.plan.problems.length === 0) return;
    const { plan } = this.reflectors;
    const resources = this.resources();
    const nodes = [...resources.nodes, ...this.departed.list()];
    this.stale = false;
    this.node = effectiveBgp(this.context.config.node, { ...resources, nodes }, plan);
    if (!this.node) return;
    this.guarded = this.knowledge.blocks();
    const { node, guarded: blocks, secret } = this;
    this.plan = speakerPlan({ node, blocks, routerId: this.routerId(), secret });
    this.announce();
    this.nextHops.refresh();
    this.handPeerRoutes();
    this.speaker.setConfig(this.plan.config);
    this.generation = plan?.generation ?? 0;
    this.reflectors.notify();
    if (this.live || !this.knowledge.live || !this.reflectors.live) return;
    this.live = true;
    this.gate.lookSoon();
  }

  private resources(): BgpResources {
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

  private isAway(neighbor: IpAddress): boolean {
    const peer = this.speaker.speaker?.peers.get(neighbor);
    return peer !== undefined && peer.config.enabled && peer.session?.active !== true;
  }

  private onSpeaker(event: SpeakerEvent): void {
    if (event.type === 'state' || event.type === 'end-of-rib') this.context.statusChanged();
    this.reflectors.notify();
    this.gate.heard(event);
  }

  /** What no neighbour told again goes. */
  private sweep(told: boolean): void {
    this.fib.sweep();
    if (this.routedOnce) return;
    this.routedOnce = true;
    this.context.log.info({}, told ? 'the neighbours have told all their routes' : 'not all neighbours are there');
    this.context.changed();
  }

  /** Whether every neighbour is there, has told everything, and was told everything. */
  get arrived(): boolean {
    const { speaker } = this.speaker;
    if (!speaker || !this.plan) return false;
    for (const { neighbor, family } of this.plan.sessions.values()) {
      const peer = speaker.peers.get(neighbor);
      if (peer?.session?.active !== true || !peer.session.finished.has(family)) return false;
      if (speaker.rib.counters(peer.id, family)?.behind !== 0) return false;
    }
    return true;
  }

  /** Whether pods may start: neighbours that are not there do not hold them up for long. */
  get mayStart(): boolean {
    if (this.routedOnce) return true;
    const { speaker } = this.speaker;
    if (!speaker || this.context.clock.wallNow() - speaker.startedAt < POD_PATIENCE_MS) return false;
    return [...speaker.peers.values()].every(
      ({ session }) => session?.active !== true || session.families.every((family) => session.finished.has(family)),
    );
  }
}

const isWithin = (address: IpAddress, prefixes: readonly Prefix[]): boolean =>
  prefixes.some((prefix) => prefixContains(prefix, address));

/** A speaker's sockets, opened in the node's namespace. */
function networkIn(kernel: NodeKernel, clock: NetworkContext['clock']): Network {
  const tcp = new TcpNetwork(clock);
  return {
    listen: (...args) => kernel.inside(() => tcp.listen(...args)),
    dial: (...args) => kernel.inside(() => tcp.dial(...args)),
  };
}

/** The peers that are to be reached through a gateway, as routes that next hops may go through. */
function reachableBy(plan: SpeakerPlan | undefined): ViewRoute[] {
  return [...(plan?.sessions.values() ?? [])].flatMap(({ neighbor, reachableBy: via }): ViewRoute[] =>
    // which device leads to the gateway is for the resolver to find
    via === undefined ? [] : [{ destination: hostPrefix(neighbor), metric: 0, hops: [{ via, device: '' }] }],
  );
}
