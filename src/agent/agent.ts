/**
 * The node agent: a shell around one or two networks. It has what is there once on a node (the kernel, the caretaker of
 * its settings, the one writer of routes, the pods' server, this node's addresses) and tells the networks what it sees;
 * they tell the writers what they want. Nothing here writes to the kernel itself, and nothing is taken back when the
 * agent ends: pods go on without it.
 */
import { readFileSync } from 'node:fs';
import { err, printable, sleep, systemClock, Wakeup } from '../base/mod.ts';
import type { Clock, Logger, Result } from '../base/mod.ts';
import type { BlockAccess } from '../cni/mod.ts';
import {
  Caretaker,
  MasqueradePart,
  natTable,
  ReversePaths,
  ROUTED_PREFIX,
  RouteReconciler,
  SysctlPart,
} from '../dataplane/mod.ts';
import type { SysctlWish } from '../dataplane/mod.ts';
import { openDatastore } from '../datastore/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import type { NatRules, PodNetwork } from '../desired/mod.ts';
import { isLinkLocal } from '../net/mod.ts';
import type { MigrationKeeper } from '../migrate/mod.ts';
import type { KernelEvent } from '../netlink/mod.ts';
import { KernelError } from '../sys/mod.ts';
import type { NetworkNamespace } from '../sys/mod.ts';
import { ADDRESS_GRACE_MS, followAddress } from './address.ts';
import type { AddressState } from './address.ts';
import type { AgentConfig, NetworkKind } from './config.ts';
import type { HostSnapshot } from './detect.ts';
import { keepMemorySmall } from './housekeeping.ts';
import { serveAddress, serveSocket } from './http.ts';
import { openNodeKernel } from './kernel.ts';
import type { NodeKernel } from './kernel.ts';
import { lockNode } from './lock.ts';
import { methodFor } from './method.ts';
import type { AgentNetwork, NetworkContext, NodeView } from './network.ts';
import { underLease } from './leased.ts';
import { Publisher } from './publisher.ts';
import { publishedOf, reportOf, statusOf } from './report.ts';
import { createPodServer } from './pods.ts';
import type { PodServer } from './pods.ts';
import type { NodeStatus, PodStatus, Readiness } from '../status/mod.ts';

/** News come in bunches: this long is waited for the rest of a bunch, milliseconds. */
const GATHER_MS = 2;
/** After a plan, no other for this many times its duration. */
const PLAN_PAUSE = 3;
const FAMILIES = [4, 6] as const;
/** An agent that is gone for longer has no status any more, seconds. */
const STATUS_SECONDS = 60;

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly log: Logger;
  /** The node's network namespace; the one this thread is in when absent. */
  readonly namespace?: NetworkNamespace;
  readonly clock?: Clock;
  /** Opens the datastore of the configuration in another way: tests put faults between. */
  readonly openStore?: () => Promise<Datastore>;
}

export class Agent {
  readonly config: AgentConfig;
  readonly log: Logger;
  readonly clock: Clock;
  readonly caretaker: Caretaker;
  readonly routes: RouteReconciler;
  readonly pods: PodServer;
  readonly startedAt: number;
  readonly addresses = new Map<4 | 6, AddressState>();
  /** Made when the agent runs; what one kind needs is not loaded for the other. */
  networks: readonly AgentNetwork[] = [];
  private readonly kernel: NodeKernel;
  readonly masquerade: MasqueradePart;
  private readonly sysctls: SysctlPart;
  private readonly sysctlWishes = new Map<NetworkKind, readonly SysctlWish[]>();
  private readonly natWishes = new Map<NetworkKind, NatRules | 'absent'>();
  private blockAccess: BlockAccess | undefined;
  /** With two networks: which of them new pods come from. */
  private migration: MigrationKeeper | undefined;
  private readonly openStore: (() => Promise<Datastore>) | undefined;
  private readonly wakeup = new Wakeup();
  private readonly publisher: Publisher;
  /** The last look at the host, and whether something was told since. */
  private host: HostSnapshot | undefined;
  private hostChanged = true;

  /** Opens the kernel's sockets; throws KernelError. */
  constructor(options: AgentOptions) {
    const { config, log } = options;
    this.config = config;
    this.log = log;
    this.openStore = options.openStore;
    this.clock = options.clock ?? systemClock;
    this.startedAt = this.clock.now();
    const refreshMs = config.resyncSeconds * 1000;
    this.kernel = openNodeKernel(options.namespace);
    this.caretaker = new Caretaker({ log, clock: this.clock, refreshMs });
    this.sysctls = new SysctlPart(this.kernel.sysctls);
    this.masquerade = new MasqueradePart(() => this.kernel.nft());
    for (const part of [this.sysctls, this.masquerade]) this.caretaker.add(part);
    this.routes = new RouteReconciler({
      ...{ kernel: this.kernel.routes, protocol: config.routeProtocol, log, clock: this.clock, refreshMs },
    });
    this.publisher = new Publisher(() => publishedOf(this), this.clock);
    this.pods = createPodServer({
      ...{ config, log, clock: this.clock },
      network: () => this.podNetwork(),
      // also without blocks: routed pods of yesterday keep their routes
      routed: { routes: this.routes, blocks: () => this.blockAccess },
      onChange: () => {
        for (const network of this.networks) network.podsChanged();
        this.publisher.notify();
      },
    });
  }

  /** Runs until aborted; leaves kernel, datastore and pods as they are. Throws GodwitError when this node has an agent. */
  async run(signal: AbortSignal): Promise<void> {
    using _kernel = this.kernel;
    using _lock = this.kernel.inside(() => lockNode(this.config.runDir));
    using _socket = serveSocket(this);
    this.networks = await this.loadNetworks();
    this.migration = await this.loadMigration();
    await using store = await this.open();
    using _events = this.kernel.watch((event) => this.onKernelEvent(event));
    using _forwarding = this.kernel.watchForwarding(() => this.caretaker.notify());
    using _tables = this.watchTables();
    using _routed = this.routes.onPass(() => this.publisher.notify());
    using _kept = this.caretaker.onPass(() => this.publisher.notify());
    const failed = new AbortController();
    const until = AbortSignal.any([signal, failed.signal]);
    const parts: Record<string, Promise<void>> = {
      planning: this.planning(until),
      ...Object.fromEntries(this.networks.map((network) => [network.kind, network.run(store, until)])),
      status: this.publishing(store, until),
      caretaker: this.caretaker.run(until),
      memory: keepMemorySmall(until, this.clock),
      routes: this.kernel.inside(() => this.routes.run(until)),
      pods: this.kernel.inside(() => this.pods.run(until)),
      ...(this.migration && { migration: this.migration.run(store, until) }),
      ...(this.config.listen && { health: serveAddress(this, until) }),
    };
    // a part that ends early takes the agent down: whoever started it starts it anew, and nothing is lost meanwhile
    const guarded = Object.entries(parts).map(async ([name, part]) => {
      try {
        await part;
        if (!until.aborted) throw new Error(`the agent’s part "${name}" ended by itself`);
      } finally {
        failed.abort();
      }
    });
    const outcomes = await Promise.allSettled(guarded);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** What is wanted and not there, as text; the lines of a dry run. Reads kernel and datastore, writes nothing. */
  async dryRun(signal: AbortSignal): Promise<readonly string[]> {
    using _kernel = this.kernel;
    this.networks = await this.loadNetworks();
    await using store = await this.open();
    if (this.networks.length > 1 && (await (await import('../migrate/mod.ts')).readDecisions(store)).finished)
      this.networks = this.networks.filter((network) => !network.retire);
    const { describeChanges } = await import('./dry-run.ts');
    return await describeChanges(this, store, this.viewOf(this.lookAtHost()), signal);
  }

  readiness(): Readiness {
    const { ready, reasons, warnings } = reportOf(this);
    return { ready, reasons, warnings };
  }

  status(): NodeStatus {
    return statusOf(this);
  }

  /** Runs a synchronous stretch in the node's namespace. */
  inside<T>(action: () => T): T {
    return this.kernel.inside(action);
  }

  /** In the order of the configuration. */
  private loadNetworks(): Promise<AgentNetwork[]> {
    const { config, log, clock, kernel, caretaker, routes } = this;
    const reversePaths = new ReversePaths(kernel.sysctls, `${config.runDir}/reverse-paths.json`);
    return Promise.all(
      config.network.map(async (kind): Promise<AgentNetwork> => {
        const context: NetworkContext = {
          ...{ config, log, clock, kernel, caretaker, routes, reversePaths },
          changed: () => this.wakeup.notify(),
          statusChanged: () => this.publisher.notify(),
          pods: () => this.pods.pods(),
          podsKnown: () => this.pods.ready,
          setPodMtu: (mtu) => this.setPodMtu(mtu),
          offerBlocks: (access) => (this.blockAccess = access),
          wantNat: (rules) => this.wantNat(kind, rules),
          wantSysctls: (wishes) => this.wantSysctls(kind, wishes),
        };
        if (kind === 'blocks') return new (await import('./blocks/mod.ts')).BlockNetwork(context);
        return new (await import('./subnets/network.ts')).SubnetNetwork(context);
      }),
    );
  }

  private setPodMtu(mtu: number): boolean {
    if (this.pods.ready) this.pods.setMtu(mtu);
    return this.pods.ready;
  }

  /** One table for all networks: between them addresses stay as they are. */
  private wantNat(kind: NetworkKind, rules: NatRules | 'absent' | undefined): void {
    if (rules === undefined || Bun.deepEquals(this.natWishes.get(kind), rules)) return;
    this.natWishes.set(kind, rules);
    if (this.natWishes.size < this.config.network.length) return;
    const wanted = [...this.natWishes.values()].filter((wish) => wish !== 'absent');
    const all = <K extends keyof NatRules>(field: K) => [...new Set(wanted.flatMap((wish) => [...wish[field]]))];
    const merged = { sources: all('sources'), inside: all('inside'), hosts: all('hosts') } as NatRules;
    this.masquerade.setDesired(wanted.length === 0 ? 'absent' : natTable(merged));
    this.caretaker.notify();
  }

  private wantSysctls(kind: NetworkKind, wishes: readonly SysctlWish[]): void {
    if (Bun.deepEquals(this.sysctlWishes.get(kind), wishes)) return;
    this.sysctlWishes.set(kind, wishes);
    const byName = new Map([...this.sysctlWishes.values()].flat().map((wish) => [wish.name, wish]));
    this.sysctls.setDesired([...byName.values()]);
    this.caretaker.notify();
  }

  /** This node's word in the datastore, and its turns for all nodes, for as long as it lives. */
  private publishing(store: Datastore, signal: AbortSignal): Promise<void> {
    const { clock, log } = this;
    return underLease({ store, clock, log, seconds: STATUS_SECONDS }, signal, async (lease, until) => {
      const turns = this.networks.map((network) => network.leased(store, lease, until));
      await Promise.all([this.publisher.run(store, lease, until), ...turns]);
    });
  }

  private open(): Promise<Datastore> {
    if (this.openStore) return this.openStore();
    const { datastore, datastoreCa, datastoreCert, datastoreKey, datastoreUser } = this.config;
    const files = { caFile: datastoreCa, certFile: datastoreCert, keyFile: datastoreKey };
    return openDatastore(datastore, { ...files, username: datastoreUser, password: this.password() });
  }

  private password(): string | undefined {
    const file = this.config.datastorePasswordFile;
    return file === undefined ? undefined : readFileSync(file, 'utf8').trimEnd();
  }

  private watchTables(): Disposable | undefined {
    if (!this.config.ipMasq) return undefined;
    try {
      return this.kernel.watchNft(() => this.caretaker.notify());
    } catch {
      return undefined; // no netfilter: the masquerade part says so
    }
  }

  /** Looks and plans whenever something was told, and now and then without. */
  private async planning(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const started = this.clock.now();
      const soon = this.replan();
      const spent = this.clock.now() - started;
      const patience = soon ? ADDRESS_GRACE_MS / 4 : this.config.resyncSeconds * 1000;
      const waiting = this.clock.now();
      await this.wakeup.wait(signal, patience);
      if (this.clock.now() - waiting >= patience) this.hostChanged = true;
      // in a storm of changes, planning takes a quarter of the time at most
      const rest = started + (1 + PLAN_PAUSE) * spent - this.clock.now();
      await sleep(Math.max(GATHER_MS, rest), signal, this.clock);
    }
  }

  /** One look at the host and one plan, handed to the writers. True when the next look should be soon. */
  private replan(): boolean {
    // a lease that came says nothing about this host
    try {
      if (this.hostChanged || !this.host) this.host = this.lookAtHost();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      // interfaces that change faster than they can be read; what was seen before holds until the next look
      this.log.warn({ error: error.message }, 'the interfaces cannot be read; trying again');
      this.hostChanged = true;
      return true;
    }
    const view = this.viewOf(this.host);
    this.hostChanged = view.missingAddress;
    for (const network of this.networks) this.planFor(network, view);
    this.publisher.notify();
    return this.hostChanged;
  }

  /** With two networks nothing is made for leases before it is known whether they are wanted at all. */
  private planFor(network: AgentNetwork, view: NodeView): void {
    const { migration } = this;
    if (!network.retire || !migration) return network.replan(view);
    if (migration.stage === undefined) return;
    if (!migration.finished) network.replan(view);
    // pods of an earlier life are users as well
    else if (this.pods.ready) network.retire(view);
  }

  private viewOf(host: HostSnapshot): NodeView {
    const missingAddress = [...this.addresses.values()].some((state) => state.missingSince !== undefined);
    return { host, addresses: this.addresses, missingAddress };
  }

  /** Reads interfaces and follows this node's addresses through them. */
  private lookAtHost(): HostSnapshot {
    const { config } = this;
    const methods = FAMILIES.map((family) => methodFor(config, family));
    const host = this.kernel.snapshot({ routes: methods.some((method) => method.type === 'can-reach') });
    for (const [i, family] of FAMILIES.entries()) {
      const before = this.addresses.get(family);
      const state = followAddress(before, host, methods[i]!, family, [config.bridge], this.clock.now());
      this.addresses.set(family, state);
      if (before?.current?.address === state.current?.address) continue;
      const fields = { family, address: state.current?.address, device: state.current?.device };
      this.log.info({ ...fields, reason: state.detection.reason }, 'the address of this node');
    }
    return host;
  }

  /** Pods come and go all the time: only what may concern the uplinks or our own devices is worth a look. */
  private onKernelEvent(event: KernelEvent): void {
    if (event.type === 'link') {
      const { alias, name } = event.link;
      // a routed pod's has its name before it has its mark
      const marked = alias.startsWith('godwit:') && !this.networks.some((network) => network.ownsLink(name));
      const pod = marked || name.startsWith(ROUTED_PREFIX);
      if (pod || (event.link.master !== 0 && !this.isUplink(event.link.index))) return;
    }
    // every interface that comes up gets one, and none of them is ever a node's or a gateway's
    if (event.type === 'address' && isLinkLocal(event.address.address)) return;
    this.hostChanged = true;
    this.caretaker.notify();
    this.wakeup.notify();
  }

  private isUplink(index: number): boolean {
    return [...this.addresses.values()].some((state) => state.current?.index === index);
  }

  /** The kind of network that new pods come from; undefined while that is not known. */
  podNetworkKind(): NetworkKind | undefined {
    return this.config.network.length > 1 && this.networks.length > 0 ? this.migration?.stage : this.config.network[0];
  }

  private async loadMigration(): Promise<MigrationKeeper | undefined> {
    const { config, log, clock } = this;
    if (config.network.length < 2) return undefined;
    const { MigrationKeeper: Keeper } = await import('../migrate/mod.ts');
    const changed = () => this.wakeup.notify();
    return new Keeper({
      ...{ node: config.node, networks: config.network, log, clock, changed },
      look: () => this.standing(),
    });
  }

  /** How this node stands between its networks. */
  private standing() {
    const { wanted, installed, waitingFor } = this.routes.status();
    let reason: string | undefined;
    const finished = this.migration?.finished === true;
    for (const network of this.networks) {
      const state = network.podNetwork();
      if (!state.ok && !(finished && network.retire)) reason ??= `${network.kind}: ${state.error}`;
    }
    if (waitingFor.length > 0) reason ??= 'routes: the picture of the network is not complete';
    if (installed < wanted) reason ??= `routes: ${wanted - installed} of ${wanted} are not in the kernel`;
    const pods = this.pods.pods();
    const bridged = pods.filter(({ hostInterface }) => !hostInterface.startsWith(ROUTED_PREFIX));
    const users = [...bridged.map(({ pod, container }) => pod ?? container), ...this.foreignPorts(pods)];
    const left = this.networks.flatMap((network) => network.leftovers?.() ?? []);
    return {
      ...{ ready: reason === undefined, reason, device: this.addresses.get(4)?.current?.device },
      pods: { subnets: bridged.length, blocks: pods.length - bridged.length },
      bridgeUsers: users.map((user) => printable(user)),
      ...(finished && { leftovers: left.map((text) => printable(text)) }),
    };
  }

  /** What others attached to the bridge of the pods. */
  private foreignPorts(pods: readonly PodStatus[]): string[] {
    const { links = [] } = this.host ?? {};
    const bridge = links.find(({ name, kind }) => name === this.config.bridge && kind === 'bridge');
    if (!bridge) return [];
    const ours = new Set(pods.map(({ hostInterface }) => hostInterface));
    const ports = links.filter(({ master, alias }) => master === bridge.index && !alias.startsWith('godwit:'));
    return ports.flatMap(({ name }) => (ours.has(name) ? [] : [`interface ${name}`]));
  }

  /** The network that new pods are attached to, or why there is none yet. */
  private podNetwork(): Result<PodNetwork, string> {
    const kind = this.podNetworkKind();
    const network = this.networks.find((candidate) => candidate.kind === kind);
    if (kind === undefined) return err('the datastore has not said yet which network new pods come from');
    return network?.podNetwork() ?? err('the agent is starting');
  }
}
