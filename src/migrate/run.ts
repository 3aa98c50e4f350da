/**
 * Carries a plan out, one node at a time, and waits after each until the cluster says that it is in order. Everything is
 * in the datastore: a run that is stopped is taken up by the next one, and turning around at any point is the same run with
 * the other end.
 */
import { GodwitError, sleep } from '../base/mod.ts';
import type { Clock } from '../base/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { affinitiesOf, claimBlock, hostOwner, releaseAffinity, settingsFrom } from '../ipam/blocks/mod.ts';
import { planMigration } from './plan.ts';
import type { MigrationStep } from './plan.ts';
import { readDecisions, readMigration, readReports } from './read.ts';
import type { ReadOptions } from './read.ts';
import { encodeDecisions, MIGRATION_KEY } from './records.ts';
import type { Stage } from './records.ts';

const LOOK_MS = 200;

export interface RunOptions extends ReadOptions {
  readonly clock: Clock;
  /** How long the cluster may take to be in order after a step. */
  readonly patienceMs: number;
  /** Told before and after each step. */
  readonly tell: (step: MigrationStep, done: boolean) => void;
  /** Told once, before anything is done: what the plan warns of. */
  readonly warn: (warning: string) => void;
}

/**
 * Throws GodwitError with every reason when it cannot begin, or when a step does not settle; then nothing is undone. What
 * comes up on the way (an agent that is started anew, a node that is added) gets the time to pass.
 */
export async function runMigration(store: Datastore, options: RunOptions, signal: AbortSignal): Promise<number> {
  let done = 0;
  let begun = false;
  let since = options.clock.now();
  for (;;) {
    const picture = await readMigration(store, options);
    const { problems, waiting, steps, warnings } = planMigration(picture);
    const wrong = [...problems, ...(steps.length > 0 ? waiting : [])];
    if (wrong.length > 0 && !signal.aborted) {
      if ((!begun && problems.length > 0) || options.clock.now() - since > options.patienceMs)
        throw new GodwitError('migrate', wrong.join('\n'), { hint: 'Nothing was changed now.' });
      await sleep(LOOK_MS, signal, options.clock);
      continue;
    }
    // back in the other order: the last that went is the first that comes back
    const step = options.to === 'blocks' ? steps[0] : steps.at(-1);
    if (!step || signal.aborted) return done;
    if (!begun) for (const warning of warnings) options.warn(warning);
    begun = true;
    options.tell(step, false);
    let claimed = true;
    for (const cidr of step.claims) {
      claimed &&= await claimBlock(store, hostOwner(step.node), cidr, options.clock.wallNow());
    }
    // somebody was faster: another block it is, by a new plan
    if (!claimed) continue;
    const stages = new Map(picture.stages);
    for (const [name, { stage }] of picture.reports) if (!stages.has(name)) stages.set(name, stage);
    stages.set(step.node, options.to);
    const { succeeded } = await store.transaction({
      if: [{ key: MIGRATION_KEY, modRevision: picture.revision }],
      do: [{ op: 'put', key: MIGRATION_KEY, value: encodeDecisions({ stages, finished: false }) }],
    });
    if (!succeeded) continue;
    await settle(store, step.node, options, signal);
    if (options.to === 'subnets') await giveBack(store, step.node, options.clock);
    options.tell(step, true);
    done++;
    since = options.clock.now();
  }
}

/** Waits until the node does as its stage says and all nodes are ready. */
async function settle(
  store: Datastore,
  node: string,
  { to, clock, patienceMs }: RunOptions,
  signal: AbortSignal,
): Promise<void> {
  const until = clock.now() + patienceMs;
  for (;;) {
    const reports = await readReports(store);
    // on the way back only the node itself matters: what else is wrong may be the reason to go back
    const wrong = [...reports]
      .filter(([name, { ready }]) => !ready && (to === 'blocks' || name === node))
      .map(([name, { reason }]) => `node ${name}: ${reason ?? 'not ready'}`);
    const stage = reports.get(node)?.stage;
    if (stage !== to)
      wrong.unshift(
        `node ${node}: ${stage === undefined ? 'its agent does not answer' : `new pods still come from ${stage}`}`,
      );
    if (wrong.length === 0 || signal.aborted) return;
    if (clock.now() > until) {
      throw new GodwitError('migrate', `after ${node} was moved the cluster is not in order:\n${wrong.join('\n')}`, {
        hint: 'Everything that ran runs on. Go on with godwit migrate run, or back with godwit migrate rollback.',
      });
    }
    await sleep(LOOK_MS, signal, clock);
  }
}

/** Blocks that no pod of the node uses, after its new pods come from its lease again. */
async function giveBack(store: Datastore, node: string, clock: Clock): Promise<void> {
  const owner = hostOwner(node);
  const { ipCooldownSeconds: cooldownSeconds } = (await settingsFrom(store).current()).config;
  for (const cidr of await affinitiesOf(store, owner))
    await releaseAffinity(store, owner, cidr, { requireEmpty: true, cooldownSeconds, now: clock.wallNow() });
}

/** How far it is, node by node. */
export interface MigrationStatus {
  readonly node: string;
  readonly stage: Stage | 'unknown';
  /** What the datastore says it shall be; undefined where it says nothing. */
  readonly wanted: Stage | undefined;
  readonly ready: boolean;
  readonly reason: string;
  readonly pods: { readonly subnets: number; readonly blocks: number };
  /** Who uses the bridge. */
  readonly bridgeUsers: readonly string[];
  /** Once the migration is finished: what of the leases' network is still there, as far as the agent has said. */
  readonly leftovers?: readonly string[] | undefined;
}

export async function migrationStatus(store: Datastore): Promise<MigrationStatus[]> {
  const [{ stages, finished }, reports] = await Promise.all([readDecisions(store), readReports(store)]);
  const names = [...new Set([...stages.keys(), ...reports.keys()])].sort();
  return names.map((node) => {
    const report = reports.get(node);
    return {
      ...{
        node,
        stage: report?.stage ?? 'unknown',
        wanted: finished ? 'blocks' : stages.get(node),
        ready: report?.ready ?? false,
      },
      reason: report ? (report.reason ?? '') : 'its agent does not answer',
      pods: report?.pods ?? { subnets: 0, blocks: 0 },
      bridgeUsers: report?.bridgeUsers ?? [],
      ...(finished && { leftovers: report?.leftovers }),
    };
  });
}
