/**
 * Makes the next plan, while this node is the one that does. It reads all reports, which nobody else needs to, and writes
 * the plan by compare-and-swap on the one it started from. Losing that race, or the datastore, only means to look again.
 */
import { sleep } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { nextPlan } from '../calc/mod.ts';
import type { ReflectorPlan, Situation, TopologyReport } from '../calc/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { encodePlan, parseReport, PLAN_KEY, REPORTS_PREFIX } from './records.ts';

/** How often it looks, when nothing was told: milliseconds. Hold-downs and patience end by this clock. */
const LOOK_MS = 500;

/** What the datastore says, as this node sees it. */
export interface PlanView {
  readonly plan: ReflectorPlan | undefined;
  /** Of the plan's key; 0 when there is none. */
  readonly revision: number;
  /** undefined while the resources are not known. */
  readonly cluster: Pick<Situation, 'settings' | 'speakers' | 'as' | 'meshEnabled'> | undefined;
}

export class Coordinator {
  private readonly store: Datastore;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly view: () => PlanView;
  private readonly reports = new Map<string, TopologyReport>();
  private synced = false;
  private stale = false;
  private readonly absent = new Map<string, number>();
  private readonly unready = new Map<string, number>();
  private generation: number | undefined;
  private generationSince = 0;

  constructor(store: Datastore, clock: Clock, log: Logger, view: () => PlanView) {
    this.store = store;
    this.clock = clock;
    this.log = log;
    this.view = view;
  }

  /** Until aborted. Throws what the datastore throws. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.follow(signal), this.stepping(signal)]);
  }

  private async follow(signal: AbortSignal): Promise<void> {
    for await (const update of this.store.follow(REPORTS_PREFIX, signal)) {
      if (update.type === 'put') {
        const parsed = parseReport(update.kv.value);
        // a report that cannot be read is none
        if (parsed.ok) this.reports.set(nodeOf(update.kv.key), parsed.value);
        else this.reports.delete(nodeOf(update.kv.key));
      } else if (update.type === 'delete') this.reports.delete(nodeOf(update.key));
      else {
        this.stale = update.type === 'stale';
        if (update.type === 'inSync') this.synced = true;
      }
    }
  }

  private async stepping(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(LOOK_MS, signal, this.clock);
      const { plan, revision, cluster } = this.view();
      // what was seen before a datastore went away says nothing about now
      if (signal.aborted || !this.synced || this.stale || !cluster) continue;
      const next = nextPlan(plan, this.situation(plan, cluster));
      if (next === plan || next === undefined) continue;
      const { succeeded } = await this.store.transaction({
        if: [{ key: PLAN_KEY, modRevision: revision }],
        do: [{ op: 'put', key: PLAN_KEY, value: encodePlan(next) }],
      });
      if (succeeded && next.generation !== plan?.generation) {
        const { generation, target, keep } = next;
        this.log.info({ generation, target, keep }, 'a new plan of reflectors');
      }
      // the plan comes back by the watch: nothing is stepped on before
      const until = this.clock.now() + 10 * LOOK_MS;
      while (!signal.aborted && this.view().revision === revision && this.clock.now() < until)
        await sleep(10, signal, this.clock);
    }
  }

  private situation(plan: ReflectorPlan | undefined, cluster: NonNullable<PlanView['cluster']>): Situation {
    const now = this.clock.now();
    const here = new Set([...cluster.speakers].map(({ name }) => name));
    for (const times of [this.absent, this.unready])
      for (const name of times.keys()) if (!here.has(name)) times.delete(name);
    for (const name of here) {
      const report = this.reports.get(name);
      note(this.absent, name, report === undefined, now);
      note(this.unready, name, report?.ready !== true, now);
    }
    if (plan?.generation !== this.generation) {
      this.generation = plan?.generation;
      this.generationSince = now;
    }
    const since = (times: Map<string, number>) => (name: string) => now - (times.get(name) ?? now);
    return {
      ...cluster,
      reports: this.reports,
      ...{ absentFor: since(this.absent), unreadyFor: since(this.unready), planAge: now - this.generationSince },
    };
  }
}

function note(times: Map<string, number>, name: string, is: boolean, now: number): void {
  if (!is) times.delete(name);
  else if (!times.has(name)) times.set(name, now);
}

const nodeOf = (key: string): string => key.slice(REPORTS_PREFIX.length);
