/** An agent starts once and then waits for months: what only its start needed is given back when that is over. */
import { compileLate, sleep } from '../base/mod.ts';
import type { Clock } from '../base/mod.ts';
import { releaseCode } from '../sys/mod.ts';

/** When the start is over, when the others of a cluster that starts have been met, and then now and then; milliseconds. */
const PAUSES_MS = [5_000, 60_000, 300_000];
/** Collecting costs ten times as much as giving pages back, and is done that much less often. */
const COLLECT_EVERY = 4;

export async function keepMemorySmall(signal: AbortSignal, clock: Clock): Promise<void> {
  for (let round = 0; ; round++) {
    const pause = PAUSES_MS[Math.min(round, PAUSES_MS.length - 1)]!;
    // agents that were started together, on one machine perhaps, need not do it together
    await sleep(pause * (0.5 + Math.random()), signal, clock);
    if (signal.aborted) return;
    // what one route takes is compiled by now; in the small bursts that are left compilers cost more than they give
    compileLate();
    if (round % COLLECT_EVERY === 0) Bun.gc(true);
    releaseCode();
  }
}
