/** `godwit migrate`: from subnet leases to blocks, node by node, and back; and before that, what it will change. */
import { Option } from 'commander';
import type { Command } from 'commander';
import { GodwitError, systemClock } from '../base/mod.ts';
import {
  finishMigration,
  migrationStatus,
  planFinish,
  planMigration,
  readMigration,
  runMigration,
} from '../migrate/mod.ts';
import type { FinishPlan, MigrationPlan, MigrationStep, Stage } from '../migrate/mod.ts';
import { useDatastore, withDatastore } from './datastore.ts';
import type { DatastoreCommandOptions } from './datastore.ts';
import { integerBetween, print, say, show, table, withOutput } from './output.ts';
import type { OutputOptions } from './output.ts';

interface Options extends DatastoreCommandOptions, OutputOptions {
  readonly etcdPrefix: string;
  readonly nodes?: readonly string[];
  readonly to?: Stage;
  readonly timeout?: number;
  readonly dryRun?: boolean;
}

export function register(command: Command): void {
  const add = (name: string, description: string): Command =>
    withDatastore(command.command(name).description(description)).option(
      '--etcd-prefix <prefix>',
      'where the network of leases is in the datastore',
      process.env['GODWIT_ETCD_PREFIX'] ?? '/coreos.com/network',
    );
  const withNodes = (sub: Command): Command =>
    sub.option('--nodes <names>', 'only these nodes, in this order, with commas between', (text: string) =>
      text.split(',').map((name) => name.trim()),
    );
  const withTimeout = (sub: Command, what = 'how long the cluster may take to be in order after each node', s = 60) =>
    sub.option('--timeout <seconds>', what, integerBetween(1, 3600), s);
  withOutput(withNodes(add('plan', 'every route that will change, on every node; changes nothing')))
    .addOption(new Option('--to <kind>', 'where the move goes').choices(['blocks', 'subnets']).default('blocks'))
    .action((options: Options) => plan(options));
  withTimeout(withNodes(add('run', 'move nodes to blocks, one after the other; may be stopped and run again'))).action(
    (options: Options) => move('blocks', options),
  );
  withTimeout(withNodes(add('rollback', 'move nodes back to leases, at any point; pods keep their addresses'))).action(
    (options: Options) => move('subnets', options),
  );
  withTimeout(
    add('finish', 'take away bridges and leases once no pod uses them; after that there is no way back'),
    'how long agents may take; a tunnel of leases goes a minute after the last packet came by it',
    180,
  )
    .option('--dry-run', 'say what would go, and why not')
    .action((options: Options) => finish(options));
  withOutput(add('status', 'where each node stands')).action((options: Options) => status(options));
}

async function plan(options: Options): Promise<void> {
  const { to = 'blocks', etcdPrefix, nodes } = options;
  const made = await useDatastore(options, async (store) =>
    planMigration(await readMigration(store, { to, etcdPrefix, only: nodes })),
  );
  await show(options, made, () => describe(made, to));
  for (const reason of made.waiting) say(`not just now: ${reason}`);
  if (made.problems.length > 0)
    throw new GodwitError('migrate', `it cannot be done as things are:\n${made.problems.join('\n')}`);
}

function describe({ warnings, steps, afterwards, tables }: MigrationPlan, to: Stage): string {
  const parts: string[] = warnings.map((warning) => `warning: ${warning}`);
  for (const [i, step] of steps.entries()) parts.push(`Step ${i + 1}: ${stepLine(step)}`, changesOf(step.changes));
  if (tables.length === 0) return [...parts, 'There is no node.'].join('\n\n');
  if (steps.length === 0) parts.push(`New pods of all nodes come from ${to} already.`);
  const after = steps.map(({ node }) => node).length > 0 || afterwards.length > 0;
  if (after) {
    const old = to === 'blocks' ? 'lease' : 'block';
    parts.push(
      `Afterwards, when no pod has an address of a ${old} any more, ${to === 'blocks' ? 'by godwit migrate finish' : 'and agents run --network subnets alone'}:`,
      changesOf(afterwards),
    );
  }
  const rows = tables.flatMap(({ node, before, after: later }) =>
    later.map((route) => [node, route, before.includes(route) ? 'stays' : 'new']),
  );
  parts.push('Routes to nodes’ prefixes after the last step:', table(['NODE', 'ROUTE', ''], rows));
  return parts.filter((part) => part !== '').join('\n\n');
}

const stepLine = ({ node, from, to, claims }: MigrationStep): string =>
  `${node}: new pods from ${to} instead of ${from}${claims.length > 0 ? `; it claims ${claims.join(', ')}` : ''}`;

function changesOf(changes: MigrationPlan['afterwards']): string {
  const rows = changes.flatMap(({ node, added, removed }) => [
    ...added.map((route) => [node, '+', route]),
    ...removed.map((route) => [node, '-', route]),
  ]);
  return rows.length === 0 ? '(no route changes)' : table(['NODE', '', 'ROUTE'], rows);
}

async function move(to: Stage, options: Options): Promise<void> {
  const { etcdPrefix, nodes, timeout = 60 } = options;
  const signal = untilStopped();
  await useDatastore(options, async (store) => {
    const done = await runMigration(
      store,
      {
        ...{ to, etcdPrefix, only: nodes, clock: systemClock, patienceMs: timeout * 1000 },
        warn: (warning) => say(`warning: ${warning}`),
        tell: (step, finished) => say(finished ? `  done: ${step.node}` : stepLine(step)),
      },
      signal,
    );
    if (signal.aborted) {
      say('stopped; godwit migrate run goes on, godwit migrate rollback goes back');
      process.exitCode = 1;
      return;
    }
    await print(
      done === 0
        ? `nothing to do: new pods come from ${to} on every node`
        : `${done} node${done === 1 ? '' : 's'} moved to ${to}`,
    );
  });
}

async function finish(options: Options): Promise<void> {
  const { etcdPrefix, timeout = 180, dryRun } = options;
  if (dryRun) {
    const made = await useDatastore(options, (store) => planFinish(store, { etcdPrefix }));
    await print(describeFinish(made));
    if (made.problems.length > 0)
      throw new GodwitError('migrate', `it cannot be done as things are:\n${made.problems.join('\n')}`);
    return;
  }
  const signal = untilStopped();
  await useDatastore(options, (store) =>
    finishMigration(store, { etcdPrefix, clock: systemClock, patienceMs: timeout * 1000 }, signal),
  );
  if (signal.aborted) {
    say('not waited for any longer; what was decided goes on');
    process.exitCode = 1;
    return;
  }
  await print('the migration is finished; agents may run --network blocks alone now');
}

function describeFinish({ nodes, finished }: FinishPlan): string {
  const rows = nodes.flatMap(({ node, removed }) => removed.map((route) => [node, '-', route]));
  return [
    finished
      ? 'It is decided; agents take these away, and their leases, bridges and tunnels:'
      : 'Gone on each node: its lease, its bridge and tunnel of leases, subnet.env, its masquerading, and these routes:',
    rows.length === 0 ? '(no route)' : table(['NODE', '', 'ROUTE'], rows),
    ...(finished ? [] : ['There is no way back after that: rollback will be refused.']),
  ].join('\n\n');
}

function untilStopped(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  return stop.signal;
}

async function status(options: Options): Promise<void> {
  const nodes = await useDatastore(options, (store) => migrationStatus(store));
  await show(options, nodes, () => {
    if (nodes.length === 0)
      return 'No agent runs both networks (--network subnets,blocks), and no node was ever moved.';
    const rows = nodes.map(({ node, stage, wanted, ready, reason, pods }) => [
      node,
      wanted === undefined || wanted === stage ? stage : `${stage} (to be ${wanted})`,
      ...[String(pods.subnets), String(pods.blocks), ready ? 'yes' : 'no', reason],
    ]);
    return table(['NODE', 'NEW PODS FROM', 'PODS ON LEASES', 'PODS IN BLOCKS', 'READY', 'REASON'], rows);
  });
}
