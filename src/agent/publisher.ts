/**
 * Puts this node's status into the datastore whenever it has changed. What others act on at once (readiness, addresses)
 * goes out soon; what they wait for (whose routes are here) a little later; mere numbers wait long: a route that comes to
 * a thousand nodes would make each of them write. Looking itself costs more than taking a route over does, so it comes
 * after, and not on all nodes at the same moment: they may share a machine with each other, and do share a datastore.
 */
import { sleep, Wakeup } from '../base/mod.ts';
import type { Clock } from '../base/mod.ts';
import type { Datastore, LeaseId } from '../datastore/mod.ts';
import { statusKey } from '../status/mod.ts';
import type { PublishedStatus } from '../status/mod.ts';

/** Between news and the look at them, at most… */
const GATHER_MS = 250;
/** …unless looking takes long: after a look, no other for this many times its duration. */
const LOOK_PAUSE = 20;
/** Since the last time, for what is urgent, for the rest, and for numbers; and how often it is looked at without being told. */
const URGENT_MS = 250;
const CALM_MS = 3_000;
/** The rest waits only so long after a quiet time, and twice as long with each time: a start is over in a second or two. */
const FIRST_CALM_MS = 500;
const QUIET_MS = 15_000;
const NUMBERS_MS = 60_000;
const LOOK_MS = 10_000;

export class Publisher {
  private readonly status: () => PublishedStatus;
  private readonly clock: Clock;
  private readonly wakeup = new Wakeup();

  constructor(status: () => PublishedStatus, clock: Clock) {
    this.status = status;
    this.clock = clock;
  }

  /** Something may be other than it was. */
  notify(): void {
    this.wakeup.notify();
  }

  /** Until aborted; throws what the datastore throws. */
  async run(store: Datastore, lease: LeaseId, signal: AbortSignal): Promise<void> {
    let said = '';
    let told = '';
    let urgent = '';
    let at = -Infinity;
    let calm = FIRST_CALM_MS;
    let spread = 1;
    while (!signal.aborted) {
      const started = this.clock.now();
      const status = this.status();
      const spent = this.clock.now() - started;
      const text = JSON.stringify(status);
      const important = JSON.stringify([status.ready, status.addresses, status.inUse]);
      const news = JSON.stringify({ ...status, routes: undefined });
      const pause = important !== urgent ? URGENT_MS : news !== told ? calm * spread : NUMBERS_MS;
      const rest = at + pause - this.clock.now();
      if (text !== said && rest <= 0) {
        await store.put(statusKey(status.node), text, lease);
        const now = this.clock.now();
        calm = now - at > QUIET_MS ? FIRST_CALM_MS : Math.min(2 * calm, CALM_MS);
        // the same news makes all nodes speak: not all at the same moment
        spread = 0.5 + Math.random();
        at = now;
        said = text;
        told = news;
        urgent = important;
      }
      const patience = text === said ? LOOK_MS : Math.min(LOOK_MS, Math.max(URGENT_MS, rest));
      await this.wakeup.wait(signal, patience, this.clock);
      await sleep(Math.max(GATHER_MS, LOOK_PAUSE * spent) * (0.5 + Math.random() / 2), signal, this.clock);
    }
  }
}
