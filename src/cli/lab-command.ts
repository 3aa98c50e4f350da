/** What the lab's commands have in common: where they run, how they tell progress, how they are stopped. */
import { constants } from 'node:os';
import { GodwitError } from '../base/mod.ts';
import { needsSandbox, runInSandbox } from '../lab/mod.ts';
import { painter, say } from './output.ts';

/** What was thrown, in words: an abort is what the user asked for. */
export const inWords = (error: unknown): unknown =>
  error instanceof Error && error.name === 'AbortError' ? new GodwitError('interrupted', 'interrupted') : error;

/** Runs the action here as root, otherwise the whole command once more inside the user's sandbox. */
export function inside<A extends unknown[]>(action: (...args: A) => Promise<number>): (...args: A) => Promise<void> {
  return async (...args) => {
    if (needsSandbox()) process.exit(await runInSandbox(process.argv.slice(2)));
    try {
      process.exit(await action(...args));
    } catch (error) {
      throw inWords(error);
    }
  };
}

/** Lines with the time since the start, on stderr. */
export function progress(): (line: string) => void {
  const start = performance.now();
  const paint = painter(process.stderr);
  return (line) => {
    const time = `${((performance.now() - start) / 1000).toFixed(2).padStart(6)} s`;
    say(`${paint('dim', time)}  ${line}`);
  };
}

export interface Stopping {
  /** Aborted by the first SIGINT, SIGTERM or SIGHUP. */
  readonly stop: AbortSignal;
  /** Aborted by the second. */
  readonly force: AbortSignal;
}

/** For what is done to a lab that is up, and stays: aborted by the first signal; the second ends this process at once. */
export function interruptible(tell: (line: string) => void): AbortSignal {
  const stop = new AbortController();
  const stopNow = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(128 + constants.signals[signal]);
    tell(`${signal === 'SIGINT' ? 'Ctrl-C' : signal}: stopping; the lab stays (once more: at once)`);
    stop.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopNow(signal));
  return stop.signal;
}

/** For what takes the lab down when it is stopped. */
export function stopSignals(tell: (line: string) => void): Stopping {
  const [stop, force] = [new AbortController(), new AbortController()];
  const stopNow = (signal: string) => {
    if (force.signal.aborted) return;
    if (stop.signal.aborted) {
      tell('at once, then');
      force.abort();
    } else {
      tell(
        signal === 'SIGINT'
          ? 'Ctrl-C: taking the lab down (once more: without waiting)'
          : `${signal}: taking the lab down`,
      );
      stop.abort();
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopNow(signal));
  return { stop: stop.signal, force: force.signal };
}
