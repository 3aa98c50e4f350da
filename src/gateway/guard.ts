/**
 * The guard between what the datastore says and what the gateways are told. New and changed announcements pass at once.
 * Withdrawals pass as long as they are few within a while: a list that is suddenly much shorter (a wrong prefix, an emptied
 * store, a datastore restored from an old backup) would cut off the pods, whether it shrinks at one stroke or key by key;
 * so it is held until it heals or somebody confirms it. Pure.
 */
import type { Prefix } from '../net/mod.ts';

export interface GuardOptions {
  /** Prefixes that must be known before anything is announced or any session is opened. */
  readonly minimumReady: number;
  /** Share of what is announced that may be withdrawn within the window, 0 to 100. */
  readonly maxWithdrawPercent: number;
  /** This many withdrawals always pass, whatever their share: small clusters change, too. */
  readonly alwaysWithdraw: number;
  /** Milliseconds. */
  readonly windowMs: number;
}

export class Guard {
  /** What was let go of late and has not come back, and when. */
  private readonly recent = new Map<Prefix, number>();

  /** Whether `gone` of the `announced` prefixes may be withdrawn now; milliseconds on any clock. */
  allows(announced: number, gone: number, options: GuardOptions, now: number): boolean {
    for (const [prefix, at] of this.recent) if (now - at >= options.windowMs) this.recent.delete(prefix);
    const before = this.recent.size;
    const share = ((announced + before) * options.maxWithdrawPercent) / 100;
    return gone + before <= Math.max(options.alwaysWithdraw, share);
  }

  /** In how many milliseconds more may be allowed; undefined when that does not depend on time. */
  nextChange({ windowMs }: GuardOptions, now: number): number | undefined {
    for (const at of this.recent.values()) return Math.max(0, at + windowMs - now); // the first is the oldest
    return undefined;
  }

  withdrawn(prefix: Prefix, now: number): void {
    this.recent.set(prefix, now);
  }

  announced(prefix: Prefix): void {
    this.recent.delete(prefix);
  }
}
