/**
 * Warnings that a peer can cause as often as it likes. The first about a subject is logged, then one every ten seconds
 * with the number of all since; the subject is a range for neighbours that come and go.
 */
import type { Clock, Logger } from '../../base/mod.ts';

const EVERY_MS = 10_000;
/** Subjects remembered; past it those that were quiet are forgotten. */
const MANY = 1000;

export class SparseLog {
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly subjects = new Map<string, { count: number; at: number }>();

  constructor(clock: Clock, log: Logger) {
    this.clock = clock;
    this.log = log;
  }

  warn(subject: string, fields: object, message: string): void {
    const now = this.clock.now();
    const key = `${message} ${subject}`;
    const known = this.subjects.get(key);
    const count = (known?.count ?? 0) + 1;
    if (known && now - known.at < EVERY_MS) {
      known.count = count;
      return;
    }
    if (this.subjects.size >= MANY) {
      for (const [old, { at }] of this.subjects) if (now - at >= EVERY_MS) this.subjects.delete(old);
    }
    this.subjects.set(key, { count: 0, at: now });
    this.log.warn({ ...fields, times: count }, message);
  }
}
