/**
 * The end of a move to blocks, after which there is no way back: bridges, leases and all that came with them go. It is
 * decided once for the whole cluster, in one write, when nobody uses a bridge any more; then each agent does it on its
 * node, also one that was down meanwhile. Run again it only waits for those that are not done.
 */
import { GodwitError, sleep } from '../base/mod.ts';
import type { Clock } from '../base/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { planMigration } from './plan.ts';
import type { RouteChange } from './plan.ts';
import { readMigration } from './read.ts';
import type { MigrationPicture, ReadOptions } from './read.ts';
import { encodeDecisions, MIGRATION_KEY } from './records.ts';

const LOOK_MS = 200;

export interface FinishPlan {
  /** Why it cannot be done; nothing is done while there are any. */
  readonly problems: readonly string[];
  /** Whether it is decided already, and agents are at it. */
  readonly finished: boolean;
  /** What goes on each node. */
  readonly nodes: readonly { readonly node: string; readonly removed: readonly string[] }[];
}

export interface FinishOptions extends Omit<ReadOptions, 'to' | 'only'> {
  readonly clock: Clock;
  /** How long agents may take. */
  readonly patienceMs: number;
}

export async function planFinish(store: Datastore, { etcdPrefix }: Pick<FinishOptions, 'etcdPrefix'>) {
  return finishPlan(await readMigration(store, { to: 'blocks', etcdPrefix }));
}

/** Pure. */
export function finishPlan(picture: MigrationPicture): FinishPlan {
  const { problems, waiting, steps, afterwards } = planMigration({ ...picture, to: 'blocks' });
  const moving = steps.map(({ node }) => `node ${node}: its new pods still come from its lease: godwit migrate run`);
  const users = [...picture.reports].flatMap(([name, { bridgeUsers, pods }]) => {
    if (bridgeUsers.length === 0 && pods.subnets === 0) return [];
    return [`node ${name}: its bridge is used by ${bridgeUsers.join(', ') || `${pods.subnets} pods`}`];
  });
  const nodes = afterwards.map(({ node, removed }: RouteChange) => ({ node, removed }));
  if (picture.finished) return { problems: [], finished: true, nodes };
  return { problems: [...problems, ...waiting, ...moving, ...users.sort()], finished: false, nodes };
}

/** Throws GodwitError with every reason when it cannot be done, or when agents are not done in time. */
export async function finishMigration(store: Datastore, options: FinishOptions, signal: AbortSignal): Promise<void> {
  const { clock, patienceMs } = options;
  for (;;) {
    const picture = await readMigration(store, { ...options, to: 'blocks' });
    const { problems, finished } = finishPlan(picture);
    if (problems.length > 0)
      throw new GodwitError('migrate', problems.join('\n'), { hint: 'Nothing was changed now.' });
    if (finished) break;
    const { succeeded } = await store.transaction({
      if: [{ key: MIGRATION_KEY, modRevision: picture.revision }],
      do: [{ op: 'put', key: MIGRATION_KEY, value: encodeDecisions({ stages: picture.stages, finished: true }) }],
    });
    if (succeeded) break;
  }
  const until = clock.now() + patienceMs;
  while (!signal.aborted) {
    const left = leftOver(await readMigration(store, { ...options, to: 'blocks' }));
    if (left.length === 0) return;
    if (clock.now() > until)
      throw new GodwitError('migrate', `still there:\n${left.join('\n')}`, {
        hint: 'It is decided, and agents go on by themselves; godwit migrate finish waits for them again.',
      });
    await sleep(LOOK_MS, signal, clock);
  }
}

/** What is not gone yet, node by node. An agent that says nothing may be down, or run blocks alone: its lease tells. */
function leftOver({ nodes, reports, leases }: MigrationPicture): string[] {
  return nodes.flatMap(({ name, addresses }) => {
    const report = reports.get(name);
    if (report) {
      const { leftovers = ['its agent has not begun'] } = report;
      return leftovers.length === 0 ? [] : [`node ${name}: ${leftovers.join('; ')}`];
    }
    const lease = leases.find(({ node }) => node !== undefined && Object.values(addresses).includes(node));
    return lease ? [`node ${name}: lease ${lease.subnet}, and its agent does not answer`] : [];
  });
}
