/** What the kernel says a process uses (proc(5)). */
import { readFileSync } from 'node:fs';

const CLOCK_TICKS = 100;

/** MiB. */
export interface Memory {
  /** All resident pages, those of the executable included, which all its processes share. */
  readonly resident: number;
  /** What this process alone occupies. */
  readonly own: number;
}

export function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
  return { resident: field('VmRSS'), own: field('RssAnon') };
}

/** Seconds of CPU used so far, by all threads. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}
