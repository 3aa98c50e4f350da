/**
 * Calico's network on this node: the parts and what they tell each other. Resources and this node's own blocks come from the
 * datastore (`knowledge.ts`); the node's own resource goes there; routes to the other nodes' blocks come and go by BGP
 * (`bgp.ts`), or through tunnels (`overlay.ts`). Nothing that was put into the kernel is swept before the datastore and
 * every neighbour have told everything. A start without the datastore goes on from the copy of what it said last.
 */
import { err, GodwitError, messageOf, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { openBlockAccess } from '../../cni/mod.ts';
import { SourceCheckPart } from '../../dataplane/mod.ts';
import type { SysctlWish } from '../../dataplane/mod.ts';
import { LastKnown } from '../../datastore/mod.ts';
import type { Datastore, LeaseId } from '../../datastore/mod.ts';
import type { PodNetwork, Route } from '../../desired/mod.ts';
import { BlockIpam, CONFIG_KEY, FollowedSettings } from '../../ipam/blocks/mod.ts';
import { encodeStored, resourceKey } from '../../model/mod.ts';
import type { ResourceChange } from '../../model/mod.ts';
import { familyOf, parseInterfaceAddress, prefixCovers } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { RTN } from '../../netlink/mod.ts';
import type { AgentNetwork, NetworkContext, NetworkReport, NodeView } from '../network.ts';
import { NodeBgpRunner } from './bgp.ts';
import { collectLeaks } from './collector.ts';
import { awaitConfirmation } from './confirmation.ts';
import type { ConfirmationView } from './confirmation.ts';
import { Knowledge } from './knowledge.ts';
import { NodeResourceKeeper, saysSo, withFacts } from './node-resource.ts';
import type { NodeFacts } from './node-resource.ts';
import { Overlay } from './overlay.ts';
import { reportOf } from './report.ts';

/** The producer of the routes that end what is sent to nobody's address in this node's own blocks. */
const BLACKHOLE = 'blackhole';
/** After this, neighbours that are not there do not keep this node from being ready. */
const START_PATIENCE_MS = 15_000;
/** Pods come in bunches: their addresses are looked at once, milliseconds. */
const PODS_MS = 5;

export class BlockNetwork implements AgentNetwork {
  readonly kind = 'blocks';
  readonly context: NetworkContext;
  readonly knowledge: Knowledge;
  readonly nodeResource: NodeResourceKeeper;
  readonly bgp: NodeBgpRunner;
  readonly overlay: Overlay;
  /** What neighbours have not confirmed of this node's blocks; undefined once they have. */
  unconfirmed: string | undefined = 'the neighbours were not asked yet for this node’s blocks';
  /** Whether everything was as it should be once, or neighbours that are not there were waited for long enough. */
  settled = false;
  private readonly sourceCheck: SourceCheckPart;
  private check: 'ipv6' | 'absent' | undefined;
  private ipam: BlockIpam | undefined;
  private podsLook: Disposable | undefined;

  /** Throws KernelError. */
  constructor(context: NetworkContext) {
    const { config, log, kernel, routes, caretaker } = context;
    this.context = context;
    this.knowledge = new Knowledge(config.node, {
      resources: (change) => this.onResource(change),
      blocks: () => this.onBlocks(),
      stale: (reason) => {
        if (reason !== undefined && this.knowledge.complete)
          log.warn({ reason }, 'the datastore is out of reach; everything stays as it is');
        context.changed();
      },
      copied: (at) => {
        const fields = { copyOf: at.toISOString(), reason: this.knowledge.stale };
        log.warn(fields, 'the datastore does not answer: running from the copy of what it said last');
        const ours = kernel.routes.routes(config.routeProtocol);
        return ours.flatMap(({ type, destination }) => (type === RTN.BLACKHOLE ? [destination] : []));
      },
    });
    this.nodeResource = new NodeResourceKeeper(config.node, () => this.knowledge.self, log);
    this.overlay = new Overlay(context, this.knowledge);
    this.bgp = new NodeBgpRunner(context, this.knowledge, () => this.tunnelEnds());
    this.sourceCheck = new SourceCheckPart(() => kernel.nft());
    caretaker.add(this.sourceCheck);
    routes.expect(BLACKHOLE);
  }

  families(): readonly Family[] {
    const families = new Set<Family>(
      [...this.knowledge.resources.list('IPPool')].map(({ spec }) => familyOf(spec.cidr)),
    );
    // a node of Calico's has an IPv4 address unless everything is IPv6
    return families.size === 1 && families.has(6) ? [6] : families.has(6) ? [4, 6] : [4];
  }

  ownsLink(name: string): boolean {
    return this.overlay.tunnels.ownsLink(name);
  }

  async run(store: Datastore, signal: AbortSignal): Promise<void> {
    const { clock, log, config } = this.context;
    const { node } = config;
    using settings = new FollowedSettings(this.knowledge.resources, clock);
    const ipam = new BlockIpam({ store, node, settings, clock, log });
    this.ipam = ipam;
    this.context.offerBlocks(openBlockAccess({ ipam, store, node, clock, log }));
    const known = new LastKnown(store, {
      ...{ file: `${config.stateDir}/last-known.json`, node, clock, log },
      prefixes: [...this.knowledge.followed, ...this.bgp.reflectors.followed],
    });
    const follow = (prefix: string) => known.follow(prefix, signal);
    // what is not kept is at least not taken from before what is
    const uncopied = (prefix: string) => store.follow(prefix, signal, known.since);
    await Promise.all([
      known.run(signal),
      this.knowledge.run(follow),
      settings.run(uncopied(CONFIG_KEY)),
      this.nodeResource.run(store, signal),
      this.overlay.run(uncopied, ipam, signal),
      this.bgp.run(store, follow, signal),
      this.confirming(store, signal),
    ]);
  }

  private onResource(change: ResourceChange | undefined): void {
    const { node } = this.context.config;
    if (change?.kind === 'Node' && (change.after ?? change.before)?.name === node) this.nodeResource.look();
    this.bgp.onResource(change);
    this.overlay.onResource();
    this.context.changed();
  }

  private onBlocks(): void {
    if (!this.knowledge.complete) return;
    this.bgp.announce();
    const { routes } = this.context;
    const wanted = this.knowledge.blocks().map((destination): Route => {
      return { destination, class: 'blackhole', type: 'blackhole', nextHops: [] };
    });
    routes.setDesired(BLACKHOLE, wanted);
    // without this nothing is swept, whoever put it there: a copy may lack the last that was learned
    if (this.knowledge.live) routes.markInSync(BLACKHOLE);
  }

  podsChanged(): void {
    this.podsLook ??= this.context.clock.after(PODS_MS, () => {
      this.podsLook = undefined;
      this.bgp.announce();
      // the last pod with IPv6 may have gone
      if (this.knowledge.complete && this.wantedCheck(this.families()) !== this.check) this.context.changed();
    });
  }

  tunnelEnds(): readonly IpAddress[] {
    return Object.values(this.overlay.tunnels.addresses);
  }

  replan(view: NodeView): void {
    const families = this.families();
    this.context.wantSysctls(sysctlsFor(families));
    if (!this.knowledge.complete) return;
    // no pod before the check is there
    this.check = this.wantedCheck(families);
    if (this.check && this.sourceCheck.setDesired(this.check)) this.context.caretaker.invalidate();
    if (!view.missingAddress && this.replanOverlay(view, families)) this.overlay.tunnels.bringUp();
    this.overlay.settleMtu();
    const facts = this.factsOf(view, families);
    if (facts && !view.missingAddress && this.knowledge.live) this.nodeResource.setFacts(facts);
    // a plan that is not known yet must not be taken for a mesh
    if (!this.bgp.reflectors.complete) return;
    // sessions wait until the others can know of them, and are not touched while this node's address is in doubt
    if (facts && !view.missingAddress && saysSo(this.knowledge.self, facts)) this.bgp.replan();
  }

  /** Pods keep their addresses when a pool goes; undefined while it is not known whether there are any. */
  private wantedCheck(families: readonly Family[]): 'ipv6' | 'absent' | undefined {
    const { pods, podsKnown } = this.context;
    if (families.includes(6)) return 'ipv6';
    if (!podsKnown()) return undefined;
    const ofPods = pods().flatMap(({ addresses }) => addresses.flatMap((text) => parseInterfaceAddress(text) ?? []));
    return ofPods.some(({ address }) => familyOf(address) === 6) ? 'ipv6' : 'absent';
  }

  /** True when something is other than before. */
  private replanOverlay(view: NodeView, families: readonly Family[]): boolean {
    const encapsulation = this.overlay.replan(view, families);
    if (encapsulation) this.bgp.fib.setRouteMaker((prefix, paths) => encapsulation.bgpRoute(prefix, paths));
    return encapsulation !== undefined;
  }

  private factsOf(view: NodeView, families: readonly Family[]): NodeFacts | undefined {
    const of = (family: Family) => {
      const found = view.addresses.get(family)?.current;
      return families.includes(family) && found
        ? { address: found.address, prefixLength: found.prefixLength }
        : undefined;
    };
    const facts = { ipv4: of(4), ipv6: of(6), tunnels: this.overlay.tunnels.encapsulation?.published() };
    return families.every((family) => facts[family === 4 ? 'ipv4' : 'ipv6']) ? facts : undefined;
  }

  podNetwork(): Result<PodNetwork, string> {
    const mtu = this.overlay.podMtu;
    // a report is made of everything: not for each pod
    const reason = (otherwise: string) => err(this.report().reasons[0] ?? otherwise);
    // addresses are given by what the datastore says now
    if (mtu === undefined || !this.knowledge.live || !this.bgp.speaker.speaker)
      return reason('the node is being set up');
    const missing = this.overlay.tunnels.status().find(({ needed, inPlace }) => needed && !inPlace);
    if (missing) return err(`tunnel ${missing.device}: ${missing.problem ?? 'not in place yet'}`);
    const check = this.context.caretaker.status().find(({ name }) => name === this.sourceCheck.name);
    if (check?.inSync !== true) return err(`the source check of pods: ${check?.problem ?? 'not in place yet'}`);
    if (!this.bgp.mayStart) return reason('the neighbours have not told everything yet');
    return ok({ mtu, families: this.families() });
  }

  report(): NetworkReport {
    return reportOf(this);
  }

  leased(store: Datastore, lease: LeaseId, signal: AbortSignal): Promise<void> {
    const { ipam } = this;
    const { clock, log } = this.context;
    return ipam ? collectLeaks({ store, ipam, lease, clock, log }, signal) : untilAborted(signal);
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

  /** Undefined while neighbours are still to come. */
  private confirmationView(): ConfirmationView | undefined {
    const { bgp, knowledge, overlay, context } = this;
    const { speaker } = bgp.speaker;
    if (!speaker || !knowledge.live) return undefined;
    const waited = context.clock.wallNow() - speaker.startedAt > START_PATIENCE_MS;
    if (!waited && !bgp.arrived) return undefined;
    // what filters of a BGPPeer leave of this node's blocks is nobody's fault
    const meshed = [...(bgp.plan?.sessions.values() ?? [])].filter(({ peer }) => peer === undefined);
    const up = new Set(meshed.map(({ neighbor }) => neighbor));
    const nodes = [...knowledge.resources.list('Node')].filter(({ spec }) =>
      [spec.bgp?.ipv4Address, spec.bgp?.ipv6Address].some((found) => found !== undefined && up.has(found.address)),
    );
    const told = (prefix: Prefix) => {
      const around = bgp.node?.pools.filter(({ cidr }) => prefixCovers(cidr, prefix)) ?? [];
      return around.length > 0 && around.every((pool) => pool.export);
    };
    const announced = new Map<IpAddress, Prefix[]>();
    for (const prefix of knowledge.blocks().filter(told)) {
      const uplink = overlay.uplinks[familyOf(prefix)]?.address.address;
      if (uplink !== undefined) announced.set(uplink, [...(announced.get(uplink) ?? []), prefix]);
    }
    return { announced, neighbors: nodes.map(({ name }) => name) };
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
    const families = this.families();
    this.context.wantSysctls(sysctlsFor(families));
    this.replanOverlay(view, families);
    const facts = this.factsOf(view, families);
    if (!facts) return ['# node: no address: neither its resource nor a session would be made'];
    const { self, resources } = this.knowledge;
    if (!saysSo(self, facts)) {
      const wanted = withFacts(node, self, facts);
      lines.push(`# node: ${self ? 'change' : 'create'} Node ${node}: ${JSON.stringify(wanted.raw['spec'])}`);
      const kv = { key: resourceKey('Node', node), value: encodeStored(wanted), modRevision: 1 };
      resources.apply({ type: 'put', kv });
    }
    lines.push(`# blocks: ${this.knowledge.blocks().join(', ') || 'none; the first pod claims one'}`);
    this.bgp.replan();
    for (const session of this.bgp.plan?.sessions.values() ?? []) {
      lines.push(`# session: ${session.name} AS ${session.remoteAs}${session.passive ? ', waits for it' : ''}`);
    }
    for (const problem of this.bgp.plan?.problems ?? []) lines.push(`# ${problem}`);
    lines.push('# routes to other nodes come by BGP: they cannot be foretold without the sessions');
    return lines;
  }
}

function sysctlsFor(families: readonly Family[]): SysctlWish[] {
  return families.map((family) =>
    family === 4 ? { name: 'net/ipv4/ip_forward', value: '1' } : { name: 'net/ipv6/conf/all/forwarding', value: '1' },
  );
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
