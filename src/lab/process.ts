/**
 * The lab's processes. Each runs in a session of its own, so that a terminal's Ctrl-C does not reach it, and in one of
 * the lab's namespaces, which is how it is found again: a process that was started a moment before its starter was killed
 * is on no list, but it is in a namespace.
 */
import { openSync, closeSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, sleep } from '../base/mod.ts';
import { isAlive, processId, signalProcess } from '../sys/mod.ts';
import type { NetworkNamespace, ProcessId } from '../sys/mod.ts';

/** Nothing of the user's settings for Godwit, nor of his shell, reaches a lab's programs. */
export function cleanEnvironment(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/', LANG: 'C.UTF-8' };
}

export interface Daemon {
  readonly id: ProcessId;
  /** Resolves to how it ended, in words. */
  readonly ended: Promise<string>;
}

/** Starts a program that stays, its output appended to a file. Throws when it cannot be started at all. */
export function startDaemon(
  namespace: NetworkNamespace,
  command: readonly string[],
  options: { readonly log: string; readonly cwd?: string },
): Daemon {
  mkdirSync(dirname(options.log), { recursive: true });
  const log = openSync(options.log, 'a', 0o600);
  try {
    const child = namespace.run(() =>
      Bun.spawn([...command], {
        cwd: options.cwd ?? '/',
        env: cleanEnvironment(),
        stdio: ['ignore', log, log],
        detached: true,
      }),
    );
    child.unref();
    const id = processId(child.pid) ?? { pid: child.pid, started: -1 };
    const ended = child.exited.then(() => {
      return child.signalCode === null ? `exit status ${child.exitCode}` : `signal ${child.signalCode}`;
    });
    return { id, ended };
  } finally {
    closeSync(log);
  }
}

/** Everything that runs in one of these namespaces (by `identity`), but for this process. */
export function processesIn(namespaces: ReadonlySet<string>): ProcessId[] {
  const found: ProcessId[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const { dev, ino } = statSync(`/proc/${pid}/ns/net`);
      if (!namespaces.has(`${dev}:${ino}`)) continue;
    } catch {
      continue; // it ended, or is not ours to look at, so not ours to end
    }
    const id = processId(pid);
    if (id) found.push(id);
  }
  return found;
}

/**
 * Ends what `find` finds: SIGTERM, after `graceMs` (or when `force` aborts) SIGKILL, until nothing is found. Gives what
 * would not go.
 */
export async function endProcesses(
  find: () => ProcessId[],
  options: { readonly graceMs: number; readonly force?: AbortSignal },
): Promise<string[]> {
  const asked = new Set<string>();
  const killAt = performance.now() + options.graceMs;
  const giveUpAt = killAt + 5_000;
  let problems: string[] = [];
  for (;;) {
    const left = find().filter(isAlive);
    if (left.length === 0) return [];
    const now = performance.now();
    if (now > giveUpAt) return problems.concat(left.map(({ pid }) => `process ${pid} does not end`));
    const signal = now > killAt || options.force?.aborted === true ? 'SIGKILL' : 'SIGTERM';
    problems = [];
    for (const id of left) {
      const key = `${id.pid} ${id.started} ${signal}`;
      if (asked.has(key)) continue;
      asked.add(key);
      try {
        signalProcess(id, signal);
      } catch (error) {
        problems.push(messageOf(error));
      }
    }
    await sleep(10);
  }
}

/** The end of a log, for messages about the program that wrote it. */
export function tailOf(path: string, lines: number): string[] {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines);
  } catch {
    return [];
  }
}
