/** Wakes one waiting loop. Notifications before the wait, or several at once, are one. */
export class Wakeup {
  private pending = false;
  private resume: (() => void) | undefined;

  notify(): void {
    this.pending = true;
    this.resume?.();
  }

  /** Resolves on a notification, when `signal` aborts, or after `timeoutMs`. Never rejects. */
  async wait(signal: AbortSignal, timeoutMs?: number): Promise<void> {
    if (!this.pending && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const finish = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', finish);
          this.resume = undefined;
          resolve();
        };
        const timer = timeoutMs === undefined ? undefined : setTimeout(finish, timeoutMs);
        signal.addEventListener('abort', finish);
        this.resume = finish;
      });
    }
    this.pending = false;
  }
}
