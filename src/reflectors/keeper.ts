/**
 * This node's part in automatic route reflectors: it follows the configuration and the plan, says under its own lease
 * whether the plan's target carries everything, and makes the next plan when it is the one to do so. While nothing is
 * configured and no plan is in force it writes nothing at all.
 */
import { Backoff, messageOf, printable, sleep, Wakeup } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { Cluster, isPlainMesh, syncOf } from '../calc/mod.ts';
import type { BgpResources, ReflectorPlan, SpeakerView } from '../calc/mod.ts';
import { DatastoreError } from '../datastore/mod.ts';
import type { CopiedUpdate, Datastore, LeaseId } from '../datastore/mod.ts';
import { kindPrefix, ResourceStore } from '../model/mod.ts';
import type { RouteReflectorSettings } from '../model/mod.ts';
import { Coordinator } from './coordinator.ts';
import type { PlanView } from './coordinator.ts';
import { COORDINATOR_KEY, encodeReport, parsePlan, PLAN_KEY, reportKey } from './records.ts';

/** A node that is gone is known to be so after this long, seconds. */
const LEASE_SECONDS = 15;
/** How often this node's word is looked at without being told of anything; on the way to another plan, and at rest. */
const TURN_MS = 300;
const REST_MS = 5000;
/** All want to be the coordinator at once when there is none: who tries first is chance, milliseconds. */
const JITTER_MS = 1000;

/** What the node's speaker knows and does. */
export interface TopologyView extends SpeakerView {
  /** Generation of the plan that the speaker's sessions were made from; 0 without a plan. */
  readonly generation: number;
  /** Whether this node would do as a reflector. */
  readonly ready: boolean;
}

export interface ReflectorKeeperOptions {
  readonly node: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Nodes and BGPConfigurations as the datastore tells them; undefined while it has not. */
  readonly resources: () => Pick<BgpResources, 'nodes' | 'configurations'> | undefined;
  /** undefined while there is no speaker. */
  readonly view: () => TopologyView | undefined;
  /** The plan changed: sessions are to be made anew. */
  readonly changed: () => void;
}

export class ReflectorKeeper {
  plan: ReflectorPlan | undefined;
  /** Whether plan and configuration were told once, be it from a copy; sessions wait for it. */
  get complete(): boolean {
    return this.followed.every((prefix) => this.synced.has(prefix) || this.copied.has(prefix));
  }
  /** Whether the datastore itself has told them once. */
  get live(): boolean {
    return this.synced.size === this.followed.length;
  }
  private readonly options: ReflectorKeeperOptions;
  private readonly configuration = new ResourceStore();
  readonly followed = [PLAN_KEY, kindPrefix('ClusterConfiguration')] as const;
  private readonly synced = new Set<string>();
  private readonly copied = new Set<string>();
  private readonly wakeup = new Wakeup();
  private revision = 0;

  constructor(options: ReflectorKeeperOptions) {
    this.options = options;
  }

  get settings(): RouteReflectorSettings | undefined {
    return this.configuration.get('ClusterConfiguration', 'default')?.spec.routeReflectors;
  }

  /** Objects of the datastore that cannot be used, as `ResourceStore.broken`. */
  get broken() {
    return this.configuration.broken;
  }

  /** Something changed that this node's word depends on. */
  notify(): void {
    this.wakeup.notify();
  }

  /**
   * Until aborted. Leaves plan and sessions as they are; the report goes with its lease. `follow` tells of a key or prefix
   * among `followed`, until aborted as well.
   */
  async run(
    store: Datastore,
    follow: (prefix: string) => AsyncIterable<CopiedUpdate>,
    signal: AbortSignal,
  ): Promise<void> {
    await Promise.all([
      ...this.followed.map((prefix) => this.take(prefix, follow(prefix))),
      this.taking(store, signal),
    ]);
  }

  /** Whether there is anything to say or to plan. */
  private get active(): boolean {
    const atRest = this.plan === undefined || (isPlainMesh(this.plan.target) && !this.plan.keep);
    return this.complete && (this.settings?.mode === 'auto' || !atRest);
  }

  private async take(prefix: string, updates: AsyncIterable<CopiedUpdate>): Promise<void> {
    for await (const update of updates) {
      if (update.type === 'inSync' || update.type === 'copy') {
        const { complete, live } = this;
        (update.type === 'copy' ? this.copied : this.synced).add(prefix);
        if (this.complete !== complete || this.live !== live) this.options.changed();
      } else if (prefix !== PLAN_KEY) this.configuration.apply(update);
      else if (update.type === 'put' && update.kv.key === PLAN_KEY)
        this.takePlan(update.kv.value, update.kv.modRevision);
      else if (update.type === 'delete' && update.key === PLAN_KEY) this.takePlan(undefined, 0);
      this.wakeup.notify();
    }
  }

  private takePlan(text: string | undefined, revision: number): void {
    this.revision = revision;
    const parsed = text === undefined ? undefined : parsePlan(text);
    if (parsed?.ok === false) {
      this.options.log.warn(
        { key: PLAN_KEY, reason: printable(parsed.error) },
        'the plan of reflectors cannot be read',
      );
      return;
    }
    this.plan = parsed?.value;
    this.options.changed();
  }

  /** Has a lease whenever there is anything to do, and does it. */
  private async taking(store: Datastore, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(500, 5_000);
    while (!signal.aborted) {
      if (!this.active) {
        await this.wakeup.wait(signal);
        continue;
      }
      const stop = new AbortController();
      const until = AbortSignal.any([signal, stop.signal]);
      try {
        const { id } = await store.grantLease(LEASE_SECONDS);
        backoff.reset();
        await firstToEnd(stop, [
          this.keepLease(store, id, until),
          this.reporting(store, id, until),
          this.coordinating(store, id, until),
        ]);
        if (!signal.aborted) await store.revokeLease(id);
      } catch (error) {
        if (!(error instanceof DatastoreError)) throw error;
        if (error.kind !== 'unavailable' && error.kind !== 'lease-not-found')
          this.options.log.warn(
            { error: messageOf(error) },
            'this node’s part in reflectors cannot be done; trying again',
          );
        await sleep(backoff.next(), signal);
      } finally {
        stop.abort();
      }
    }
  }

  /** Ends when there is nothing to do any more. */
  private async keepLease(store: Datastore, id: LeaseId, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.active) {
      await sleep((LEASE_SECONDS * 1000) / 3, signal, this.options.clock);
      if (!signal.aborted) await store.keepAliveLease(id);
    }
  }

  private async reporting(store: Datastore, id: LeaseId, signal: AbortSignal): Promise<void> {
    const { node, clock } = this.options;
    let told = '';
    while (!signal.aborted && this.active) {
      const text = this.report();
      if (text !== undefined && text !== told) {
        await store.put(reportKey(node), text, id);
        told = text;
      }
      await sleep(TURN_MS, signal, clock);
      if (!this.plan?.keep) await this.wakeup.wait(signal, REST_MS, clock);
    }
  }

  private report(): string | undefined {
    const resources = this.options.resources();
    const view = resources && this.options.view();
    if (!view) return undefined;
    const { generation, ready } = view;
    // sessions that were made from another plan say nothing about this one
    const plan = this.plan?.generation === generation ? this.plan : undefined;
    const { state, missing } = syncOf(this.options.node, new Cluster(resources).speakers, plan, view);
    return encodeReport({ generation: plan?.generation ?? 0, state, missing, ready });
  }

  /** Coordinates whenever nobody else does. */
  private async coordinating(store: Datastore, id: LeaseId, signal: AbortSignal): Promise<void> {
    const { node, clock, log } = this.options;
    for await (const update of store.follow(COORDINATOR_KEY, signal)) {
      if (update.type !== 'delete' && update.type !== 'inSync') continue;
      await sleep(Math.random() * JITTER_MS, signal, clock);
      const { succeeded } = await store.transaction({
        if: [{ key: COORDINATOR_KEY, version: 0 }],
        do: [{ op: 'put', key: COORDINATOR_KEY, value: node, lease: id }],
      });
      if (!succeeded) continue;
      log.info({}, 'this node makes the plans of reflectors');
      return new Coordinator(store, clock, log, () => this.planView()).run(signal);
    }
  }

  private planView(): PlanView {
    const { plan, revision } = this;
    const resources = this.options.resources();
    if (!resources || !this.live) return { plan, revision, cluster: undefined };
    const cluster = new Cluster(resources);
    return {
      ...{ plan, revision },
      cluster: {
        settings: this.settings,
        speakers: [...cluster.speakers.values()],
        as: cluster.as,
        meshEnabled: cluster.global?.nodeToNodeMeshEnabled !== false,
      },
    };
  }
}

/** Waits for the first to end or fail, ends the others, and waits for them. */
async function firstToEnd(stop: AbortController, tasks: readonly Promise<void>[]): Promise<void> {
  try {
    await Promise.race(tasks);
  } finally {
    stop.abort();
    await Promise.allSettled(tasks);
  }
}
