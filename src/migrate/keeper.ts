/**
 * An agent's part in a move between networks: it follows its node's stage, and says under a lease how the node stands. Only
 * agents that run both kinds of network have one.
 */
import { Backoff, messageOf, printable, sleep, Wakeup } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { DatastoreError } from '../datastore/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { encodeMigrationReport, MIGRATION_KEY, migrationReportKey, parseDecisions } from './records.ts';
import type { Decisions, MigrationReport, Stage } from './records.ts';

const LEASE_SECONDS = 15;
const LOOK_MS = 1000;

export interface MigrationKeeperOptions {
  readonly node: string;
  /** In the order of the agent's configuration; the first is where new pods come from while nobody says otherwise. */
  readonly networks: readonly Stage[];
  readonly log: Logger;
  readonly clock: Clock;
  readonly look: () => Omit<MigrationReport, 'networks' | 'stage'>;
  /** The stage is another, or the migration is finished. */
  readonly changed: () => void;
}

export class MigrationKeeper {
  /** Where new pods come from; undefined until the datastore was asked. */
  stage: Stage | undefined;
  /** Whether the leases' network is given up; false until the datastore was asked. */
  finished = false;
  private readonly options: MigrationKeeperOptions;
  private readonly wakeup = new Wakeup();

  constructor(options: MigrationKeeperOptions) {
    this.options = options;
  }

  /** Until aborted. The stage holds on while the datastore is away. */
  async run(store: Datastore, signal: AbortSignal): Promise<void> {
    await Promise.all([this.follow(store, signal), this.reporting(store, signal)]);
  }

  private async follow(store: Datastore, signal: AbortSignal): Promise<void> {
    let told: Decisions | undefined;
    const { log, node, networks, changed } = this.options;
    for await (const update of store.follow(MIGRATION_KEY, signal)) {
      if (update.type === 'stale') continue;
      if (update.type === 'put' && update.kv.key === MIGRATION_KEY) {
        const parsed = parseDecisions(update.kv.value);
        if (parsed.ok) told = parsed.value;
        else log.warn({ key: MIGRATION_KEY, reason: printable(parsed.error) }, 'the stages of nodes cannot be read');
      } else if (update.type === 'delete' && update.key === MIGRATION_KEY) told = undefined;
      else if (update.type !== 'inSync') continue;
      // what is told before the list is complete may be old, but a stage that was never told is not known
      if (update.type !== 'inSync' && this.stage === undefined) continue;
      const finished = this.finished || told?.finished === true;
      const stage = finished ? 'blocks' : (told?.stages.get(node) ?? networks[0]);
      if (stage !== this.stage) log.info({ stage }, 'where new pods come from');
      if (finished && !this.finished) log.info({}, 'the migration is finished: the network of leases is given up');
      this.stage = stage;
      this.finished = finished;
      changed();
      this.wakeup.notify();
    }
  }

  private async reporting(store: Datastore, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(500, 5_000);
    while (!signal.aborted) {
      try {
        await this.reportUnderLease(store, signal);
      } catch (error) {
        if (!(error instanceof DatastoreError)) throw error;
        if (error.kind !== 'unavailable' && error.kind !== 'lease-not-found')
          this.options.log.warn({ error: messageOf(error) }, 'this node’s stage cannot be told; trying again');
        await sleep(backoff.next(), signal);
      }
    }
  }

  private async reportUnderLease(store: Datastore, signal: AbortSignal): Promise<void> {
    const { clock, node, networks, look } = this.options;
    const { id } = await store.grantLease(LEASE_SECONDS);
    let told = '';
    let renewed = clock.now();
    while (!signal.aborted) {
      const { stage } = this;
      const text = stage === undefined ? told : encodeMigrationReport({ networks, stage, ...look() });
      if (text !== told) await store.put(migrationReportKey(node), text, id);
      told = text;
      if (clock.now() - renewed > (LEASE_SECONDS * 1000) / 3) {
        await store.keepAliveLease(id);
        renewed = clock.now();
      }
      await this.wakeup.wait(signal, LOOK_MS, clock);
    }
  }
}
