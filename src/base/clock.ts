/**
 * Time is passed in. `now` is monotonic and starts anywhere (timers, hold times); `wallNow` is the calendar, which may
 * jump, and is only for what leaves the process (lease timestamps, logs).
 */
export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Milliseconds since the Unix epoch. */
  wallNow(): number;
  /** Calls `run` once after `delayMs`; disposing cancels. */
  after(delayMs: number, run: () => void): Disposable;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** A clock that a test moves; timers due in a step fire in order of their time, also those set on the way. */
export class ManualClock implements Clock {
  private time: number;
  private readonly epoch: number;
  private readonly timers = new Set<{ at: number; run: () => void }>();

  constructor(start = 0, epoch = 1_700_000_000_000) {
    this.time = start;
    this.epoch = epoch - start;
  }

  now(): number {
    return this.time;
  }

  wallNow(): number {
    return this.epoch + this.time;
  }

  after(delayMs: number, run: () => void): Disposable {
    const timer = { at: this.time + Math.max(0, delayMs), run };
    this.timers.add(timer);
    return { [Symbol.dispose]: () => void this.timers.delete(timer) };
  }

  advance(ms: number): void {
    const until = this.time + ms;
    for (;;) {
      let next: { at: number; run: () => void } | undefined;
      for (const timer of this.timers) if (timer.at <= until && (!next || timer.at < next.at)) next = timer;
      if (!next) break;
      this.timers.delete(next);
      this.time = Math.max(this.time, next.at);
      next.run();
    }
    this.time = until;
  }
}

/** Resolves after `ms`, or at once when `signal` aborts: look at `signal.aborted` afterwards. Never rejects. */
export function sleep(ms: number, signal?: AbortSignal, clock: Clock = systemClock): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const finish = () => {
      timer[Symbol.dispose]();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const timer = clock.after(ms, finish);
    signal?.addEventListener('abort', finish);
  });
}
