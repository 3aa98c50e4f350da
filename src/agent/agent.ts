/**
 * The node agent: wiring. Knowledge comes in from two sides (the datastore's network, the kernel's interfaces), becomes one
 * plan, and the plan is handed to the writers of kernel state, each of which keeps its own part true against everybody
 * else. Nothing here writes to the kernel itself, and nothing is taken back when the agent ends: pods go on without it.
 */
import { readFileSync } from 'node:fs';
import { err, GodwitError, ok, printable, sleep, systemClock, Wakeup } from '../base/mod.ts';
import type { Clock, Logger, Result } from '../base/mod.ts';
import { BridgePart, Caretaker, MasqueradePart, RouteReconciler, SysctlPart } from '../dataplane/mod.ts';
import { openDatastore } from '../datastore/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import type { BridgeNetwork } from '../desired/mod.ts';
import { followNetwork, readSubnetEnv } from '../ipam/mod.ts';
import type { SubnetLease } from '../ipam/mod.ts';
import { isLinkLocal } from '../net/mod.ts';
import type { KernelEvent } from '../netlink/mod.ts';
import { KernelError } from '../sys/mod.ts';
import type { NetworkNamespace } from '../sys/mod.ts';
import { ADDRESS_GRACE_MS, followAddress } from './address.ts';
import type { AddressState } from './address.ts';
import type { AgentConfig } from './config.ts';
import type { HostSnapshot, NodeAddress } from './detect.ts';
import { serveAddress, serveSocket } from './http.ts';
import { openNodeKernel } from './kernel.ts';
import type { NodeKernel } from './kernel.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { lockNode } from './lock.ts';
import { methodFor } from './method.ts';
import { Ownership } from './ownership.ts';
import { BACKEND, planNode } from './plan.ts';
import type { NodePlan } from './plan.ts';
import { readinessOf, statusOf } from './report.ts';
import { SubnetFilePart } from './subnet-file.ts';
import { createPodServer } from './pods.ts';
import type { PodServer } from './pods.ts';
import type { NodeStatus, Readiness } from '../status/mod.ts';

/** The producer of lease routes, as the route reconciler knows it. */
const LEASES = 'leases';
/** Leases come in bunches: this long is waited for the rest of a bunch, milliseconds. */
const GATHER_MS = 2;
/** After a plan, no other for this many times its duration. */
const PLAN_PAUSE = 3;
const FAMILIES = [4, 6] as const;

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
  readonly ownership = new Ownership();
  readonly caretaker: Caretaker;
  readonly routes: RouteReconciler;
  readonly masquerade: MasqueradePart;
  readonly pods: PodServer;
  readonly startedAt: number;
  /** What the plan is made from, and the plan; for the report. */
  readonly addresses = new Map<4 | 6, AddressState>();
  plan: NodePlan | undefined;
  leases: LeaseKeeper | undefined;
  /** Whether the routes of all other nodes were in place once. */
  routedOnce = false;
  private readonly kernel: NodeKernel;
  private readonly bridge: BridgePart;
  private readonly sysctls: SysctlPart;
  private readonly subnetFile: SubnetFilePart;
  private readonly openStore: (() => Promise<Datastore>) | undefined;
  private readonly wakeup = new Wakeup();
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
    this.bridge = new BridgePart(this.kernel.netlink);
    this.masquerade = new MasqueradePart(() => this.kernel.nft());
    this.subnetFile = new SubnetFilePart(config.subnetFile);
    for (const part of [this.sysctls, this.bridge, this.masquerade, this.subnetFile]) this.caretaker.add(part);
    this.routes = new RouteReconciler({
      ...{ kernel: this.kernel.routes, protocol: config.routeProtocol, log, clock: this.clock, refreshMs },
    });
    this.routes.expect(LEASES);
    this.pods = createPodServer({
      ...{ config, log, clock: this.clock },
      network: () => this.podNetwork(),
      // a pod that came or went changes nothing here
      onChange: () => {},
    });
  }

  /** Runs until aborted; leaves kernel, lease and pods as they are. Throws GodwitError when this node has an agent. */
  async run(signal: AbortSignal): Promise<void> {
    using _kernel = this.kernel;
    using _lock = this.kernel.inside(() => lockNode(this.config.runDir));
    using _socket = serveSocket(this);
    await using store = await this.open();
    this.leases = new LeaseKeeper({
      ...{ store, log: this.log, networkPrefix: this.config.etcdPrefix },
      previous: readSubnetEnv(this.config.subnetFile),
      renewMarginMinutes: this.config.leaseRenewMinutes,
      onChange: () => this.wakeup.notify(),
    });
    using _events = this.kernel.watch((event) => this.onKernelEvent(event));
    using _forwarding = this.kernel.watchForwarding(() => this.caretaker.notify());
    using _tables = this.watchTables();
    using _passes = this.routes.onPass(() => this.onRoutes());
    const failed = new AbortController();
    const until = AbortSignal.any([signal, failed.signal]);
    const parts: Record<string, Promise<void>> = {
      planning: this.planning(until),
      datastore: this.following(store, until),
      lease: this.leases.run(until),
      caretaker: this.caretaker.run(until),
      routes: this.kernel.inside(() => this.routes.run(until)),
      pods: this.kernel.inside(() => this.pods.run(until)),
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

  /** What is wanted and not there, as text; the sections of a dry run. Reads kernel and datastore, writes nothing. */
  async dryRun(signal: AbortSignal): Promise<readonly string[]> {
    using _kernel = this.kernel;
    await using store = await this.open();
    const { describeChanges } = await import('./dry-run.ts');
    const stop = new AbortController();
    for await (const update of followNetwork(store, AbortSignal.any([signal, stop.signal]), this.config.etcdPrefix)) {
      this.ownership.apply(update);
      if (update.type === 'inSync') break;
      if (update.type !== 'stale') continue;
      const hint = 'without it nobody can say what would be changed';
      throw new GodwitError('datastore', `the datastore does not answer: ${update.reason}`, { hint });
    }
    stop.abort();
    return describeChanges(this, this.lookAtHost(), readSubnetEnv(this.config.subnetFile));
  }

  readiness(): Readiness {
    return readinessOf(this);
  }

  status(): NodeStatus {
    return statusOf(this);
  }

  /** Runs a synchronous stretch in the node's namespace. */
  inside<T>(action: () => T): T {
    return this.kernel.inside(action);
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

  /** The datastore's network, for ever. */
  private async following(store: Datastore, signal: AbortSignal): Promise<void> {
    for await (const update of followNetwork(store, signal, this.config.etcdPrefix)) {
      if (update.type === 'stale' && this.ownership.stale === undefined) {
        this.log.warn({ reason: printable(update.reason) }, 'the datastore is out of reach; everything stays as it is');
      } else if (update.type === 'rejected') {
        this.log.warn({ key: printable(update.key), reason: update.reason }, 'a key in the datastore cannot be used');
      }
      if (this.ownership.apply(update)) this.wakeup.notify();
      this.leases?.observe(update);
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
    this.hostChanged = this.missingAddress();
    const addresses = this.neededAddresses();
    if (addresses) this.planWith(addresses, this.host);
    return this.hostChanged;
  }

  /** One address for each family of the network, the IPv4 one first; undefined while one is not known. */
  private neededAddresses(): NodeAddress[] | undefined {
    const network = this.ownership.config;
    if (!network) return undefined;
    const families = FAMILIES.filter((family) => (family === 4 ? network.ipv4 : network.ipv6) !== undefined);
    const addresses = families.flatMap((family) => this.addresses.get(family)?.current ?? []);
    return addresses.length === families.length ? addresses : undefined;
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

  private missingAddress(): boolean {
    return [...this.addresses.values()].some((state) => state.missingSince !== undefined);
  }

  /** For the dry run: the writers learn what is wanted, and none of them runs. */
  preview(ownLease: SubnetLease | undefined, host: HostSnapshot): NodePlan | undefined {
    const addresses = this.neededAddresses();
    if (addresses) this.hand(ownLease, addresses, host);
    return this.plan;
  }

  private planWith(addresses: readonly NodeAddress[], host: HostSnapshot): void {
    const { ownership } = this;
    const [first] = addresses;
    this.leases?.setNode({
      publicIp: ownership.config?.ipv4 ? first?.address : undefined,
      publicIpv6: ownership.config?.ipv6 ? addresses.at(-1)?.address : undefined,
      backendType: BACKEND,
    });
    // an address that is away for a moment takes no route with it
    if (this.missingAddress() && this.plan) return;
    this.hand(this.leases?.held?.lease, addresses, host);
  }

  /** Makes the plan and hands it to the writers. */
  private hand(ownLease: SubnetLease | undefined, addresses: readonly NodeAddress[], host: HostSnapshot): void {
    const { ownership, config } = this;
    const plan = planNode({
      ...{ ...config, network: ownership.config, leases: ownership.leases, addresses, host, ownLease },
      before: this.plan,
    });
    const changed = !Bun.deepEquals(partsOf(this.plan), partsOf(plan));
    this.plan = plan;
    this.sysctls.setDesired(plan.sysctls);
    this.bridge.setDesired(plan.bridge);
    this.masquerade.setDesired(plan.masquerade);
    this.subnetFile.setDesired(plan.subnetEnv);
    if (changed) this.caretaker.invalidate();
    if (!ownership.complete) return;
    this.routes.setDesired(LEASES, plan.routes.routes);
    this.routes.markInSync(LEASES);
  }

  /** Pods come and go all the time: only what may concern the uplinks or the bridge is worth a look. */
  private onKernelEvent(event: KernelEvent): void {
    if (event.type === 'link') {
      const pod = event.link.alias.startsWith('godwit:') && event.link.name !== this.config.bridge;
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

  private onRoutes(): void {
    if (this.routedOnce || this.routes.status().waitingFor.length > 0) return;
    this.routedOnce = true;
    this.log.info({ routes: this.routes.status().installed }, 'the routes to the other nodes are in place');
  }

  /** The network pods are attached to, or why there is none yet. */
  private podNetwork(): Result<BridgeNetwork, string> {
    const bridge = this.plan?.bridge;
    if (!bridge || !this.routedOnce) {
      const [reason] = this.readiness().reasons;
      return err(reason ?? 'the routes to the other nodes are not in place yet');
    }
    const part = this.caretaker.status().find(({ name }) => name === this.bridge.name);
    return part?.inSync === true ? ok(bridge) : err(`bridge ${bridge.bridge}: ${part?.problem ?? 'not there yet'}`);
  }
}

/** What the caretaker's parts are told of a plan. */
const partsOf = (plan: NodePlan | undefined) => [plan?.sysctls, plan?.bridge, plan?.masquerade, plan?.subnetEnv];
