/** What of a lab runs: every process with its number, its memory and the processor time it took, as `/proc` has them. */
import { isAlive, processorSeconds } from '../sys/mod.ts';
import { summarizeLab } from './lab.ts';
import type { Lab, LabSummary } from './lab.ts';
import { memoryOf, processesOf, programsOf, stateOf } from './roster.ts';
import type { MemoryUse, Program, ProgramState } from './roster.ts';

export interface ProgramStatus extends Program {
  readonly state: ProgramState;
  /** Those that are alive; FRR is two. */
  readonly pids: readonly number[];
  readonly memory?: MemoryUse;
  /** Of all its processes, since they started. */
  readonly cpuSeconds: number;
}

export interface LabStatus extends Omit<LabSummary, 'programs'> {
  readonly programs: readonly ProgramStatus[];
  /** Hosts of the scenario that are not there: `lab add` brings them. */
  readonly absent: readonly string[];
}

export function statusOf({ layout, manifest, topology }: Lab): LabStatus {
  const programs = programsOf(topology).map((program): ProgramStatus => {
    const alive = processesOf(manifest, program).filter(isAlive);
    const pids = alive.map(({ pid }) => pid);
    const memory = memoryOf(manifest, program);
    const cpuSeconds = alive.reduce((sum, id) => sum + processorSeconds(id), 0);
    return { ...program, state: stateOf(manifest, program), pids, ...(memory && { memory }), cpuSeconds };
  });
  return { ...summarizeLab(layout.name), programs, absent: manifest.absent };
}
