/** What `godwit lab check` shows people. */
import type { CheckReport, DrillReport, LabStatus, LabSummary, NodeReport, PairReport } from '../lab/mod.ts';
import { printable } from '../base/mod.ts';
import { ROUTE_PROTOCOL } from '../dataplane/mod.ts';
import { painter, table, terminalWidth } from './output.ts';
import type { Cell, Row } from './output.ts';

export function viewDrill({ steps, ok, sent, lost }: DrillReport): string {
  const paint = painter();
  const rows = steps.map((step): Row => [
    step.step,
    { text: step.ok ? 'ok' : 'NOT OK', style: step.ok ? 'green' : 'red' },
    `${step.seconds.toFixed(2)} s`,
    String(step.traffic.reduce((sum, stream) => sum + stream.sent, 0)),
    String(step.traffic.reduce((sum, stream) => sum + stream.lost, 0)),
  ]);
  const verdict = ok ? paint('green', 'ok') : paint('red', 'NOT OK');
  const problems = steps.flatMap((step) => step.problems.map((p) => `  ${paint('red', '✗')} ${step.step}: ${p}`));
  return [
    table(['DRILL', '', 'SETTLED AFTER', 'SENT', 'LOST'], rows),
    '',
    `drill: ${verdict}, ${lost} of ${sent} packets lost`,
    ...problems,
  ].join('\n');
}

export function viewReport(report: CheckReport): string {
  const paint = painter();
  const { passed, total } = report.reachability;
  const parts = [viewNodes(report.nodes)];
  if (report.nodes.some(({ owns }) => owns !== undefined)) {
    parts[0] += `\n${paint('dim', `proto ${ROUTE_PROTOCOL} marks the routes godwit made`)}`;
  }
  if (report.pods.length > 0) {
    const rows = report.pods.map(({ name, host, addresses }): Row => [
      name,
      host,
      addresses.length > 0 ? addresses.join(', ') : { text: 'none', style: 'red' },
    ]);
    parts.push(table(['POD', 'HOST', 'ADDRESS'], rows));
  }
  parts.push(viewMatrix(report.reachability.pairs));
  const down = report.programs.filter(({ state }) => state !== 'running');
  if (down.length > 0) {
    const rows = down.map(({ who, kind, state }): Row => [who, kind, { text: state, style: 'yellow' }]);
    parts.push(table(['PROGRAM', 'KIND', 'STATE'], rows));
  }
  parts.push(viewMemory(report));
  const verdict = report.ok ? paint('green', 'ok') : paint('red', 'NOT OK');
  const summary = `${report.lab}: ${verdict}, ${passed} of ${total} pairs reach each other by ICMP and TCP`;
  const problems = report.problems.map((problem) => `  ${paint('red', '✗')} ${problem}`);
  return [...parts, [summary, ...problems].join('\n')].filter((part) => part !== '').join('\n\n');
}

const mib = (kib: number) => `${(kib / 1024).toFixed(0)} MiB`;

/** How much memory the agents take, where there are many. */
function viewMemory({ programs }: CheckReport): string {
  const agents = programs.flatMap(({ kind, memory }) => (kind === 'agent' && memory ? [memory] : []));
  if (agents.length < 10) return '';
  const mean = (key: keyof (typeof agents)[number]) => agents.reduce((sum, use) => sum + use[key], 0) / agents.length;
  const most = mib(Math.max(...agents.map(({ resident }) => resident)));
  return `memory of the ${agents.length} agents: ${mib(mean('resident'))} resident each, ${most} at most; ${mib(mean('own'))} of it their own`;
}

/** Each node with its routes, as `ip route` prints them; what the scenario demands and is not there stands among them. */
function viewNodes(nodes: readonly NodeReport[]): string {
  const paint = painter();
  return nodes
    .map(({ name, role, addresses, owns, routes, missing, table: own }) => {
      const what = owns === undefined ? (role === 'router' ? '  router' : '') : `  pods in ${owns.join(', ')}`;
      const lines = routes.map(({ line, expected }) => `  ${expected ? line : paint('dim', line)}`);
      const lacks = missing.map((line) => `  ${paint('red', `missing: ${line}`)}`);
      const theirs = own
        ? [paint('dim', `  ${own.command}:`), ...own.text.split('\n').map((line) => `  ${printable(line)}`)]
        : [];
      return [`${paint('bold', name)}  ${addresses.join(', ')}${what}`, ...lines, ...lacks, ...theirs].join('\n');
    })
    .join('\n');
}

function viewMatrix(pairs: readonly PairReport[]): string {
  const names = [...new Set(pairs.map(({ from }) => from))];
  if (names.length === 0) return '';
  const cells = new Map<string, Cell>();
  const both = new Set(pairs.map(({ family }) => family)).size > 1;
  for (const pair of pairs) {
    const key = `${pair.from} ${pair.to}`;
    // of two families the one that fails is shown
    if (!pair.ok || !cells.has(key)) cells.set(key, cellOf(pair, both));
  }
  const rows = names.map((from): Row => [
    { text: from, style: 'bold' },
    ...names.map((to): Cell => cells.get(`${from} ${to}`) ?? { text: '·', style: 'dim' }),
  ]);
  const matrix = table(['FROM \\ TO', ...names], rows);
  const width = Math.max(...matrix.split('\n').map((line) => Bun.stringWidth(line)));
  if (width <= terminalWidth()) return matrix;
  return `(the reachability matrix of ${names.length} × ${names.length} is wider than this terminal; -o json has it)`;
}

function cellOf({ family, icmp, tcp, ok }: PairReport, tellFamily: boolean): Cell {
  if (ok) return { text: 'ok', style: 'green' };
  const which = tellFamily ? ` v${family}` : '';
  if (icmp.ok && tcp.ok) return { text: `translated${which}`, style: 'yellow' };
  return { text: `${icmp.ok ? 'no TCP' : tcp.ok ? 'no ICMP' : 'FAIL'}${which}`, style: 'red' };
}

export function viewLabs(labs: readonly LabSummary[]): string {
  if (labs.length === 0) return 'no lab is up';
  const rows = labs.map(({ name, scenario, state, hosts, pods, running, programs, created, owner, problem }): Row => [
    name,
    { text: state, style: state === 'up' ? 'green' : state === 'broken' ? 'red' : 'yellow' },
    scenario,
    String(hosts),
    String(pods),
    { text: `${running} of ${programs}`, style: running === programs ? 'green' : 'yellow' },
    created === undefined ? '' : ageOf(created),
    problem ?? (owner === undefined ? '' : `held by process ${owner}`),
  ]);
  return table(['LAB', 'STATE', 'SCENARIO', 'HOSTS', 'PODS', 'RUNNING', 'AGE', 'NOTE'], rows);
}

export function viewStatus(status: LabStatus): string {
  const { programs, absent } = status;
  const rows = programs.map(({ who, kind, machine, state, pids, memory, cpuSeconds }): Row => [
    who,
    kind,
    machine ?? '',
    { text: state, style: state === 'running' ? 'green' : state === 'gone' ? 'red' : 'yellow' },
    pids.join(', '),
    memory ? mib(memory.resident) : '',
    memory ? mib(memory.own) : '',
    pids.length > 0 ? `${cpuSeconds.toFixed(2)} s` : '',
  ]);
  const heads = ['PROGRAM', 'KIND', 'ON', 'STATE', 'PID', 'RESIDENT', 'ITS OWN', 'CPU'];
  return [
    viewLabs([{ ...status, programs: programs.length }]),
    ...(rows.length > 0 ? [table(heads, rows)] : ['no program runs in it']),
    ...(absent.length > 0 ? [`not there: ${absent.join(', ')} (lab add)`] : []),
  ].join('\n\n');
}

function ageOf(created: string): string {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(created)) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)}h` : `${Math.round(seconds / 86_400)}d`;
}
