/** Processes without the race of reused ids: a pidfd stands for one process, however long ago its number was read. */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { errno, KernelError } from './errno.ts';
import { Fd } from './fd.ts';
import { NR, syscall } from './syscall.ts';

/** A process for good: its number, and when it started (clock ticks after boot), which a reused number does not share. */
export interface ProcessId {
  readonly pid: number;
  readonly started: number;
}

/** What `/proc` says of a process, from its state on (proc_pid_stat(5), field 3); undefined when there is none. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // the program's name stands in parentheses and may hold anything, so fields are counted after the last one
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** The process of that number now; undefined when there is none, or only a zombie. */
export function processId(pid: number): ProcessId | undefined {
  const fields = statOf(pid);
  return !fields || fields[0] === 'Z' || fields[0] === 'X' ? undefined : { pid, started: Number(fields[19]) };
}

/** Whether it is held, by SIGSTOP or a debugger. */
export const isStopped = ({ pid }: ProcessId): boolean => /^[Tt]$/.test(statOf(pid)?.[0] ?? '');

/** Clock ticks as programs see them are hundredths of a second on every Linux. */
const TICKS_PER_SECOND = 100;

/** Processor time it took so far, user and system; 0 when it is gone. */
export function processorSeconds({ pid }: ProcessId): number {
  const fields = statOf(pid);
  return fields ? (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND : 0;
}

export const isAlive = (id: ProcessId): boolean => processId(id.pid)?.started === id.started;

/** Sends a signal; false when that process is gone. Throws KernelError when it is not ours to signal. */
export function signalProcess(id: ProcessId, signal: 'SIGTERM' | 'SIGKILL' | 'SIGINT'): boolean {
  const number = syscall(NR.pidfd_open, id.pid, 0);
  if (number === -errno.ESRCH || number === -errno.EINVAL) return false;
  if (number < 0) throw new KernelError(`pidfd_open ${id.pid}`, -number);
  using fd = new Fd(number);
  // the descriptor is bound now: what /proc says after this is said of the same process
  if (!isAlive(id)) return false;
  const result = syscall(NR.pidfd_send_signal, fd.number, constants.signals[signal], 0, 0);
  if (result === -errno.ESRCH) return false;
  if (result < 0) throw new KernelError(`${signal} to process ${id.pid}`, -result);
  return true;
}

/** The command that is this program: the executable itself, or the runtime with the source. */
export function selfCommand(): string[] {
  const compiled = Bun.main.startsWith('/$bunfs/');
  return compiled ? [process.execPath] : [process.execPath, Bun.main];
}
