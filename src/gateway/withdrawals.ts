/**
 * What is announced and not wanted any more: withdrawn as far as the guard allows, held otherwise, until it heals, until
 * time has passed, or until somebody confirms it.
 */
import type { Clock, Logger } from '../base/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { CoverSet } from './aggregate.ts';
import type { Announcement, Announcements } from './announce.ts';
import { Guard } from './guard.ts';
import type { GuardOptions } from './guard.ts';

/** What the announcer does for it. */
export interface Acts {
  withdraw(prefix: Prefix): void;
  tell(prefix: Prefix, announcement: Announcement): void;
  /** `letGo` is to be called again. */
  again(): void;
}

export class Withdrawals implements Disposable {
  private readonly waiting: Map<Prefix, Announcement>;
  private readonly guard = new Guard();
  private readonly acts: Acts;
  private readonly clock: Clock;
  private readonly log: Logger;
  private holding = false;
  private recheck: Disposable | undefined;

  /** Takes over what an earlier life announced. */
  constructor(waiting: Map<Prefix, Announcement>, acts: Acts, clock: Clock, log: Logger) {
    this.waiting = waiting;
    this.acts = acts;
    this.clock = clock;
    this.log = log;
  }

  /** All of them, held or not. */
  [Symbol.iterator](): Iterator<[Prefix, Announcement]> {
    return this.waiting[Symbol.iterator]();
  }

  get held(): readonly Prefix[] {
    return this.holding ? [...this.waiting.keys()] : [];
  }

  get(prefix: Prefix): Announcement | undefined {
    return this.waiting.get(prefix);
  }

  add(prefix: Prefix, announced: Announcement): void {
    this.waiting.set(prefix, announced);
  }

  /** It is wanted again. */
  drop(prefix: Prefix): void {
    this.waiting.delete(prefix);
  }

  /** It was told: if it was withdrawn of late, that is made good. */
  told(prefix: Prefix): void {
    this.guard.announced(prefix);
  }

  /** Without asking the guard. */
  now(prefix: Prefix): void {
    this.waiting.delete(prefix);
    this.acts.withdraw(prefix);
  }

  /** Gives how many were withdrawn. */
  letGo(wanted: Announcements, options: GuardOptions): number {
    const { guard, waiting } = this;
    const announced = wanted.size + waiting.size;
    const now = this.clock.now();
    this.recheck?.[Symbol.dispose]();
    if (!guard.allows(announced, waiting.size, options, now)) {
      if (!this.holding) {
        const fields = { held: waiting.size, announced, wanted: wanted.size };
        this.log.error(fields, 'too much would be withdrawn at once; held until confirmed (godwit gateway confirm)');
      }
      this.holding = true;
      this.uncover(wanted);
      // a few more than allowed pass a little later, when something leaves the window
      const later = guard.nextChange(options, now);
      if (later !== undefined) this.recheck = this.clock.after(later, () => this.acts.again());
      return 0;
    }
    if (this.holding) this.log.info({}, 'nothing is held any more');
    this.holding = false;
    const count = waiting.size;
    for (const prefix of waiting.keys()) {
      this.now(prefix);
      guard.withdrawn(prefix, now);
    }
    return count;
  }

  /**
   * Lets the held ones go: those that are held now, and not what may be gone by the time somebody looks. They do not count
   * for the guard any more. Gives how many there were.
   */
  confirm(): number {
    const { held } = this;
    if (held.length === 0) return 0;
    for (const prefix of held) this.now(prefix);
    this.holding = false;
    this.recheck?.[Symbol.dispose]();
    this.log.info({ withdrawn: held.length }, 'what was held is confirmed');
    return held.length;
  }

  /** What is held is told one by one when the aggregate that stood for it is gone: some gateways had nothing else. */
  private uncover(wanted: Announcements): void {
    const aggregates = new CoverSet();
    for (const some of [wanted, this.waiting])
      for (const [prefix, { aggregate }] of some) if (aggregate) aggregates.add(prefix);
    for (const [prefix, announcement] of this.waiting) {
      if (!announcement.covered || aggregates.covers(prefix)) continue;
      const alone = { ...announcement, covered: false };
      this.waiting.set(prefix, alone);
      this.acts.tell(prefix, alone);
    }
  }

  [Symbol.dispose](): void {
    this.recheck?.[Symbol.dispose]();
  }
}
