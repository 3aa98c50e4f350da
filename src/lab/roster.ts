/**
 * Every program of a lab by name: the datastore, an agent by its host's name, a routing program by its machine's, an announcer
 * by its own. Here each is started and waited for, so that bringing up, restarting and adding are one and the same.
 */
import { existsSync, readFileSync } from 'node:fs';
import { GodwitError, printable } from '../base/mod.ts';
import { isAlive, isStopped } from '../sys/mod.ts';
import type { ProcessId } from '../sys/mod.ts';
import type { LabLayout } from './layout.ts';
import type { Manifest } from './manifest.ts';
import type { Daemon } from './process.ts';
import { agentTimeoutMs, datastoreUrl, openWhenReady, startAgent, startDatastore, waitForAgent } from './programs.ts';
import { answers, startAnnouncer, startRouting } from './routers.ts';
import { usesDatastore } from './topology.ts';
import type { Topology } from './topology.ts';

export interface Program {
  readonly who: string;
  /** The machine it runs on; the datastore has a namespace of its own. */
  readonly machine: string | undefined;
  readonly kind: 'datastore' | 'agent' | 'gateway' | 'frr' | 'bird' | 'godwit';
}

export function programsOf(topology: Topology): Program[] {
  const { machines, announcers } = topology;
  const programs: Program[] = usesDatastore(topology)
    ? [{ who: 'datastore', machine: undefined, kind: 'datastore' }]
    : [];
  for (const { name, agent, bgp } of machines) {
    if (agent) programs.push({ who: name, machine: name, kind: 'agent' });
    else if (bgp) programs.push({ who: name, machine: name, kind: bgp.program });
  }
  return [...programs, ...announcers.map(({ name, host }): Program => ({ who: name, machine: host, kind: 'gateway' }))];
}

/** By name; throws GodwitError `absent` with the names there are. */
export function programOf(topology: Topology, who: string): Program {
  const programs = programsOf(topology);
  const found = programs.find((program) => program.who === who);
  if (found) return found;
  const hint = `there is ${programs.map((program) => program.who).join(', ') || 'none'}`;
  throw new GodwitError('absent', `no program of this lab is called ${printable(who, 60)}`, { hint });
}

/** `started` is called for each process as soon as it is there. */
export async function startProgram(
  layout: LabLayout,
  topology: Topology,
  { who, kind }: Program,
  started: (name: string, daemon: Daemon) => void,
): Promise<void> {
  const url = datastoreUrl(layout, topology.datastore);
  const machine = topology.machines.find(({ name }) => name === who);
  if (kind === 'datastore') started(who, startDatastore(layout, topology.datastore));
  else if (kind === 'agent') started(who, startAgent(layout, topology, machine!, url));
  else if (kind !== 'gateway') await startRouting(layout, topology, machine!, started);
  else
    started(
      who,
      startAnnouncer(
        layout,
        topology,
        topology.announcers.find(({ name }) => name === who)!,
        url,
      ),
    );
}

/** Waits until it does its work; throws when it ends first, or takes too long. */
export async function waitForProgram(
  layout: LabLayout,
  topology: Topology,
  program: Program,
  daemons: readonly Daemon[],
  signal: AbortSignal,
): Promise<void> {
  if (program.kind === 'datastore') {
    const url = datastoreUrl(layout, topology.datastore);
    await using _store = await openWhenReady(url, daemons[0]!, layout.datastoreLog, signal);
  } else if (program.kind === 'agent') {
    const nodes = topology.machines.filter(({ agent }) => agent).length;
    await waitForAgent(layout, program.who, daemons[0]!, signal, agentTimeoutMs(nodes));
  } else await answers(layout, program.who, program.kind, daemons, signal);
}

/** What of it the manifest knows to have been started: FRR is two, `gw1.zebra` and `gw1.bgpd`. */
export const processesOf = (manifest: Manifest, { who }: Program): ProcessId[] =>
  Object.entries(manifest.processes).flatMap(([name, id]) => (name === who || name.startsWith(`${who}.`) ? [id] : []));

/** `killed`: by the lab itself, when asked to; `stopped`: by SIGSTOP, or a debugger: it lives, and does nothing. */
export type ProgramState = 'running' | 'stopped' | 'killed' | 'gone';

export function stateOf(manifest: Manifest, program: Program): ProgramState {
  if (manifest.killed.includes(program.who)) return 'killed';
  const ids = processesOf(manifest, program);
  if (ids.length === 0 || !ids.every(isAlive)) return 'gone';
  return ids.some(isStopped) ? 'stopped' : 'running';
}

/** Memory of a program's processes, KiB. */
export interface MemoryUse {
  /** All that is in memory, the executable's pages too, which all its processes share. */
  readonly resident: number;
  /** What is this program's alone. */
  readonly own: number;
}

/** Undefined when none of its processes runs. */
export function memoryOf(manifest: Manifest, program: Program): MemoryUse | undefined {
  const processes = processesOf(manifest, program).filter(isAlive);
  if (processes.length === 0) return undefined;
  const use = { resident: 0, own: 0 };
  for (const { pid } of processes) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'latin1');
      use.resident += Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0);
      use.own += Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0);
    } catch {
      // it ended just now
    }
  }
  return use;
}

/** Where it writes its log. */
export function logFile(layout: LabLayout, { who, kind }: Program): string {
  if (kind === 'datastore') return layout.datastoreLog;
  const path = kind === 'agent' ? layout.agentLog(who) : `${layout.programDirectory(who)}/log`;
  if (!existsSync(path)) throw new GodwitError('absent', `${who} has written no log yet`);
  return path;
}
