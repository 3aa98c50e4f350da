/**
 * Memory of bursts of work. A thousand sessions that come up at once leave garbage everywhere between what stays, and the
 * runtime would let it grow to tens of megabytes first: it is told to collect beside the work. Once it is quiet again, the
 * rest and the code of the compilers that ran are given back. A reflector with a thousand clients is a third smaller.
 */
import type { Clock } from '../../base/mod.ts';
import { releaseCode } from '../../sys/mod.ts';

/** Quiet is when nothing was done for this long. */
const QUIET_MS = 700;
/** As much work as is worth it: a session that came up counts for ten, what was read at once from a peer for one. */
const WORTH_IT = 100;
export const SESSION_WORK = 10;
/** The exercise (`rib/warmup.ts`). */
export const WARM_UP_WORK = WORTH_IT;
/** In a burst garbage is collected after this much work. */
const COLLECT_EVERY = 500;

export interface Memory {
  /** Collects garbage beside the work. */
  collect(): void;
  /** Collects all garbage and gives back what is not used. */
  giveBack(): void;
}

export class Tidy {
  private readonly clock: Clock;
  private readonly memory: Memory;
  private work = 0;
  private collected = 0;
  private workedAt = 0;
  private timer: Disposable | undefined;

  constructor(clock: Clock, memory: Memory = processMemory) {
    this.clock = clock;
    this.memory = memory;
  }

  worked(amount: number): void {
    this.work += amount;
    this.workedAt = this.clock.now();
    if (this.work < WORTH_IT) return;
    this.timer ??= this.clock.after(QUIET_MS, () => this.look());
    if (this.work - this.collected < COLLECT_EVERY) return;
    this.collected = this.work;
    this.memory.collect();
  }

  private look(): void {
    const rest = this.workedAt + QUIET_MS - this.clock.now();
    this.timer = undefined;
    if (rest > 0) this.timer = this.clock.after(rest, () => this.look());
    else {
      this.work = this.collected = 0;
      this.memory.giveBack();
    }
  }

  cancel(): void {
    this.timer?.[Symbol.dispose]();
    this.timer = undefined;
  }
}

export const processMemory: Memory = {
  collect: () => Bun.gc(false),
  giveBack() {
    Bun.gc(true);
    releaseCode();
  },
};
