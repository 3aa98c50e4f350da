/**
 * A neighbour's routes while it restarts, the helper's half of RFC 4724 §4.2: they stay until the neighbour is back and
 * said End-of-RIB, or until one of two timers says that it has taken too long.
 */
import type { Clock } from '../../base/mod.ts';
import type { Family } from '../../net/mod.ts';
import type { Negotiated } from '../wire/mod.ts';
import { familyOfWire } from './open.ts';

/** From the new session to End-of-RIB; past it what was not announced again is dropped. */
const STALE_PATH_MS = 360_000;

export class StaleRoutes {
  private readonly clock: Clock;
  private readonly sweep: (family: Family) => void;
  private readonly kept = new Set<Family>();
  private timer: Disposable | undefined;

  constructor(clock: Clock, sweep: (family: Family) => void) {
    this.clock = clock;
    this.sweep = sweep;
  }

  get waiting(): boolean {
    return this.kept.size > 0;
  }

  /** The session is gone: which families to keep. */
  lost(negotiated: Negotiated): Family[] {
    const families: Family[] = [];
    for (const { family } of negotiated.gracefulRestart?.families ?? []) {
      const known = familyOfWire(family);
      if (known && negotiated.context.families.has(family)) families.push(known);
    }
    // what was stale before and did not come again in this session is older than two lives of the peer (RFC 4724 §4.2)
    this.giveUp();
    for (const family of families) this.kept.add(family);
    if (families.length > 0) this.arm((negotiated.gracefulRestart?.restartTime ?? 0) * 1000);
    return families;
  }

  /** It is back. What it did not keep forwarding, or no longer speaks, is dropped now. */
  back(negotiated: Negotiated): void {
    if (this.kept.size === 0) return;
    const preserved = new Set<Family>();
    for (const { family, forwardingPreserved } of negotiated.gracefulRestart?.families ?? []) {
      const known = familyOfWire(family);
      if (known && forwardingPreserved && negotiated.context.families.has(family)) preserved.add(known);
    }
    for (const family of this.kept) if (!preserved.has(family)) this.drop(family);
    if (this.kept.size > 0) this.arm(STALE_PATH_MS);
  }

  endOfRib(family: Family): void {
    if (this.kept.has(family)) this.drop(family);
  }

  /** Drops everything still kept. */
  giveUp(): void {
    for (const family of this.kept) this.drop(family);
  }

  /** Stops waiting without sweeping: the routes are gone or about to be. */
  forget(): void {
    this.kept.clear();
    this.timer?.[Symbol.dispose]();
    this.timer = undefined;
  }

  private drop(family: Family): void {
    this.kept.delete(family);
    this.sweep(family);
    if (this.kept.size === 0) this.forget();
  }

  private arm(ms: number): void {
    this.timer?.[Symbol.dispose]();
    this.timer = this.clock.after(ms, () => this.giveUp());
  }
}
