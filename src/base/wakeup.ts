import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';

/** Wakes one waiting loop. Notifications before the wait, or several at once, are one. */
export class Wakeup {
  private pending = false;
  private resume: (() => void) | undefined;

  notify(): void {
    this.pending = true;
    this.resume?.();
  }

  /** Resolves on a notification, when `signal` aborts, or after `timeoutMs`. Never rejects. */
  async wait(signal: AbortSignal, timeoutMs?: number, clock: Clock = systemClock): Promise<void> {
    if (!this.pending && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const finish = () => {
          timer?.[Symbol.dispose]();
          signal.removeEventListener('abort', finish);
          this.resume = undefined;
          resolve();
        };
        const timer = timeoutMs === undefined ? undefined : clock.after(timeoutMs, finish);
        signal.addEventListener('abort', finish);
        this.resume = finish;
      });
    }
    this.pending = false;
  }
}
