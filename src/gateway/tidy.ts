/**
 * Memory of the start. Reading tens of thousands of blocks and telling all gateways of them leaves garbage everywhere
 * between what stays; the runtime would let the heap double before it collects, and what is then spread over it keeps it
 * that large for good. So garbage is collected after every so much work, and while the sessions send their first tables;
 * when that is over, the code that only the start needed is given back, too.
 */
import type { Clock } from '../base/mod.ts';
import { releaseCode } from '../sys/mod.ts';

/** Objects read, or prefixes told. Collections run beside the work, the last one before it is quiet with nothing else. */
const COLLECT_EVERY = 2500;
/** While the sessions start, milliseconds between collections, and how often. */
const START_INTERVAL_MS = 200;
const START_ROUNDS = 10;
/** From then on now and then: code that ran for one change need not stay in memory, either. */
const INTERVAL_MS = 60_000;

export class Tidy implements Disposable {
  private readonly clock: Clock;
  private work = 0;
  private timer: Disposable | undefined;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** One object more was read, or one prefix more was told. */
  worked(): void {
    if (++this.work < COLLECT_EVERY) return;
    this.work = 0;
    Bun.gc(false);
  }

  /** The sessions begin to send what they have. */
  sessionsStart(rounds = START_ROUNDS): void {
    this.timer = this.clock.after(START_INTERVAL_MS, () => {
      Bun.gc(rounds === 1);
      if (rounds > 1) this.sessionsStart(rounds - 1);
      else this.quiet();
    });
  }

  private quiet(): void {
    releaseCode();
    this.timer = this.clock.after(INTERVAL_MS, () => this.quiet());
  }

  [Symbol.dispose](): void {
    this.timer?.[Symbol.dispose]();
  }
}
