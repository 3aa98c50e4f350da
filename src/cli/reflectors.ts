/** `godwit reflectors`: the plan of automatic route reflectors, and how each node stands to it. */
import type { Command } from 'commander';
import { inForce } from '../calc/mod.ts';
import type { ReflectorPlan, Topology, TopologyReport } from '../calc/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { ResourceClient } from '../model/mod.ts';
import { COORDINATOR_KEY, parsePlan, parseReport, PLAN_KEY, REPORTS_PREFIX } from '../reflectors/mod.ts';
import { useDatastore, withDatastore } from './datastore.ts';
import type { DatastoreCommandOptions } from './datastore.ts';
import { show, table, withOutput } from './output.ts';
import type { OutputOptions } from './output.ts';

interface View {
  readonly mode: 'auto' | 'off';
  /** Absent: the node-to-node mesh, as the resources say. */
  readonly plan?: ReflectorPlan;
  readonly coordinator?: string;
  readonly nodes: readonly ({ readonly node: string; readonly role: string } & Partial<TopologyReport>)[];
}

export function register(command: Command): void {
  withOutput(withDatastore(command)).action(async (options: DatastoreCommandOptions & OutputOptions) => {
    const view = await useDatastore(options, look);
    await show(options, view, () => describe(view));
  });
}

async function look(store: Datastore): Promise<View> {
  const client = new ResourceClient(store);
  const [configuration, nodes, plan, coordinator, reports] = await Promise.all([
    client.get('ClusterConfiguration', 'default'),
    client.list('Node'),
    store.get(PLAN_KEY),
    store.get(COORDINATOR_KEY),
    store.list(REPORTS_PREFIX),
  ]);
  const parsed = plan.kv && parsePlan(plan.kv.value);
  const current = parsed?.ok === true ? parsed.value : undefined;
  const told = new Map(
    reports.kvs.flatMap(({ key, value }) => {
      const report = parseReport(value);
      return report.ok ? [[key.slice(REPORTS_PREFIX.length), report.value] as const] : [];
    }),
  );
  const names = [...new Set([...nodes.items.map(({ name }) => name), ...told.keys()])].sort();
  return {
    mode: (configuration.ok && configuration.value.spec.routeReflectors?.mode) || 'off',
    ...(current && { plan: current }),
    ...(coordinator.kv && { coordinator: coordinator.kv.value }),
    nodes: names.map((node) => ({ node, role: current ? roleOf(node, inForce(current)) : 'mesh', ...told.get(node) })),
  };
}

function roleOf(node: string, { mesh, reflectors, direct }: Topology): string {
  if (reflectors.includes(node)) return 'reflector';
  if (direct.includes(node)) return 'direct';
  return mesh ? 'mesh' : 'client';
}

const topologyLine = ({ mesh, reflectors, direct }: Topology): string =>
  [
    ...(mesh ? ['mesh'] : []),
    ...(reflectors.length > 0 ? [`reflectors ${reflectors.join(', ')}`] : []),
    ...(direct.length > 0 ? [`a session with every other: ${direct.join(', ')}`] : []),
  ].join('; ') || 'no sessions';

function describe({ mode, plan, coordinator, nodes }: View): string {
  const facts = [
    ['mode', mode],
    ['topology', plan ? topologyLine(plan.target) : 'mesh, as the resources say'],
    ...(plan?.keep ? [['kept beside', topologyLine(plan.keep)]] : []),
    ...(plan ? [['generation', String(plan.generation)]] : []),
    ...(coordinator === undefined ? [] : [['planned by', coordinator]]),
  ];
  const rows = nodes.map(({ node, role, ready, state, generation, missing }) => {
    const old = generation !== undefined && plan && generation !== plan.generation ? ` (of ${generation})` : '';
    return [
      node,
      role,
      ready === undefined ? '-' : ready ? 'yes' : 'no',
      `${state ?? '-'}${old}`,
      missing?.join(',') ?? '',
    ];
  });
  return `${table([], facts)}\n\n${table(['NODE', 'ROLE', 'READY', 'STATE', 'MISSING'], rows)}`;
}
