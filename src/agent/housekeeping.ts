/** An agent starts once and then waits for months: what only its start needed is given back when that is over. */
import { compileLate, sleep } from '../base/mod.ts';
import type { Clock } from '../base/mod.ts';
import { releaseCode } from '../sys/mod.ts';

/** After so long the start is over, milliseconds. */
const SETTLED_MS = 5_000;
/** From then on now and then: what happens once an hour need not stay in memory, either. */
const INTERVAL_MS = 60_000;
/** Collecting costs ten times as much as giving pages back, and is done that much less often. */
const COLLECT_EVERY = 10;

export async function keepMemorySmall(signal: AbortSignal, clock: Clock): Promise<void> {
  for (let round = 0; ; round++) {
    await sleep(round === 0 ? SETTLED_MS : INTERVAL_MS, signal, clock);
    if (signal.aborted) return;
    // what one route takes is compiled by now; in the small bursts that are left compilers cost more than they give
    compileLate();
    if (round % COLLECT_EVERY === 0) Bun.gc(true);
    releaseCode();
  }
}
