/** An agent starts once and then waits for months: what only its start needed is given back when that is over. */
import { sleep } from '../base/mod.ts';
import type { Clock } from '../base/mod.ts';
import { releaseCode } from '../sys/mod.ts';

/** After so long the start is over, milliseconds. */
const SETTLED_MS = 5_000;
/** From then on now and then, since what happens once a day need not stay in memory, either. */
const INTERVAL_MS = 600_000;

export async function keepMemorySmall(signal: AbortSignal, clock: Clock): Promise<void> {
  for (let delay = SETTLED_MS; ; delay = INTERVAL_MS) {
    await sleep(delay, signal, clock);
    if (signal.aborted) return;
    Bun.gc(true);
    releaseCode();
  }
}
