/** Prometheus metrics, made when they are asked for; loaded at the first scrape. */
import { Gauge, Registry } from 'prom-client';
import type { Agent } from './agent.ts';
import type { Sample } from './network.ts';
import { reportOf } from './report.ts';

/** Name, help, and the values now. Counters are gauges here: they are kept elsewhere, and only shown. */
function* samples(agent: Agent): Generator<[string, string, readonly Sample[]]> {
  const report = reportOf(agent);
  const routes = agent.routes.status();
  yield ['godwit_ready', 'Whether the node is ready (1) or not (0).', [{ value: Number(report.ready) }]];
  yield [
    'godwit_warnings',
    'Things that are not right but keep nothing from working.',
    [{ value: report.warnings.length }],
  ];
  yield [
    'godwit_datastore_in_sync',
    'Whether the picture of the datastore is current.',
    [{ value: Number(report.datastore.state === 'in-sync') }],
  ];
  yield ['godwit_datastore_revision', 'Revision of the last full list.', [{ value: report.datastore.revision ?? 0 }]];
  for (const network of report.networks) {
    for (const [name, help, values] of network.metrics()) yield [name, help, values];
  }
  yield [
    'godwit_routes',
    'Routes to other nodes, wanted and in the kernel.',
    [
      { labels: { state: 'wanted' }, value: routes.wanted },
      { labels: { state: 'installed' }, value: routes.installed },
    ],
  ];
  yield [
    'godwit_route_operations_total',
    'Writes to the kernel’s route table, full looks at it, and looks after lost events.',
    Object.entries(routes.counters).map(([operation, value]) => ({ labels: { operation }, value })),
  ];
  const problems = new Map<string, number>();
  for (const { kind } of [...routes.problems, ...report.networks.flatMap((network) => network.problems)]) {
    problems.set(kind, (problems.get(kind) ?? 0) + 1);
  }
  yield [
    'godwit_problems',
    'Routes and leases that are not as they should be.',
    [...problems].map(([kind, value]) => ({ labels: { kind }, value })),
  ];
  const parts = agent.caretaker.status();
  yield [
    'godwit_part_in_sync',
    'Whether a part of the kernel’s state is as it should be.',
    parts.map(({ name, inSync }) => ({ labels: { part: name }, value: Number(inSync) })),
  ];
  yield [
    'godwit_part_changes_total',
    'Changes made to a part of the kernel’s state.',
    parts.map(({ name, changes }) => ({ labels: { part: name }, value: changes })),
  ];
  yield ['godwit_pods', 'Pod interfaces attached to this node.', [{ value: agent.pods.pods().length }]];
  const cpu = process.cpuUsage();
  yield ['process_cpu_seconds_total', 'CPU time used.', [{ value: (cpu.user + cpu.system) / 1e6 }]];
  yield ['process_resident_memory_bytes', 'Resident memory.', [{ value: process.memoryUsage.rss() }]];
}

export async function answerMetrics(agent: Agent): Promise<Response> {
  const registry = new Registry();
  for (const [name, help, values] of samples(agent)) {
    const labelNames = Object.keys(values[0]?.labels ?? {});
    const gauge = new Gauge({ name, help, labelNames, registers: [registry] });
    for (const { labels, value } of values) gauge.set({ ...labels }, value);
  }
  return new Response(await registry.metrics(), { headers: { 'content-type': registry.contentType } });
}
