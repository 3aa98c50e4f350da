/**
 * Our own restart, RFC 4724 §4.1: routes are not chosen for others until every neighbour that can said End-of-RIB, or
 * the selection deferral timer ran out; neighbours keep our old routes meanwhile.
 */
import type { Clock } from '../../base/mod.ts';
import type { Peer } from './peer.ts';

/**
 * Neighbours that say they restart too, or know nothing of graceful restart, are not to be waited for. But what they have
 * to say is usually on its way (FRR sets the restart bit for two minutes after its own start), and routes dropped from the
 * kernel just before they come back are packets lost: so a moment, which no two restarting speakers notice.
 */
const GRACE_MS = 2000;
/** Neighbours of a range come by themselves and nobody knows how many: this long, or the deferral timer, for the first. */
const RANGES_MS = 30_000;

export class Deferral {
  private readonly clock: Clock;
  /** When the grace of each such neighbour ends. */
  private readonly graceUntil = new Map<Peer, number>();
  private graceTimer: Disposable | undefined;
  private active: boolean;
  private timer: Disposable | undefined;
  private readonly finish: (because: string) => void;
  /** Until then neighbours of ranges may come. */
  private readonly rangesUntil: number;

  constructor(clock: Clock, restarting: boolean, ranges: boolean, ms: number, finish: (because: string) => void) {
    this.clock = clock;
    this.rangesUntil = ranges ? clock.now() + RANGES_MS : 0;
    this.active = restarting;
    this.finish = finish;
    if (restarting) this.timer = clock.after(ms, () => this.end('the deferral timer ran out'));
  }

  get on(): boolean {
    return this.active;
  }

  /** Looks whether anybody is still to be waited for. */
  check(peers: ReadonlyMap<unknown, Peer>): void {
    if (!this.active) return;
    let later = Math.max(0, this.rangesUntil - this.clock.now());
    for (const peer of peers.values()) {
      const awaited = isAwaited(peer);
      if (awaited === 'until End-of-RIB') return;
      if (awaited === 'a moment') later = Math.max(later, this.graceOf(peer));
    }
    if (later > 0) {
      this.graceTimer?.[Symbol.dispose]();
      this.graceTimer = this.clock.after(later, () => this.check(peers));
      return;
    }
    this.end('all neighbours sent End-of-RIB');
  }

  /** Milliseconds left of a neighbour's grace, which begins when it is asked for. */
  private graceOf(peer: Peer): number {
    const until = this.graceUntil.get(peer) ?? this.clock.now() + GRACE_MS;
    this.graceUntil.set(peer, until);
    return Math.max(0, until - this.clock.now());
  }

  cancel(): void {
    this.active = false;
    this.graceTimer?.[Symbol.dispose]();
    this.timer?.[Symbol.dispose]();
  }

  private end(because: string): void {
    this.cancel();
    this.finish(because);
  }
}

function isAwaited(peer: Peer): 'no' | 'a moment' | 'until End-of-RIB' {
  if (peer.keptDown || peer.config.gracefulRestart === 'off') return 'no';
  const { session } = peer;
  if (!session?.active) return 'until End-of-RIB';
  if (session.families.every((family) => session.finished.has(family))) return 'no';
  const restart = session.negotiated.gracefulRestart;
  // one that restarts too waits for us: nobody must wait for the other
  return !restart || restart.restarting ? 'a moment' : 'until End-of-RIB';
}
