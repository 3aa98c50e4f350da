/**
 * Our own restart, RFC 4724 §4.1: routes are not chosen for others until every neighbour that can said End-of-RIB, or
 * the selection deferral timer ran out; neighbours keep our old routes meanwhile.
 */
import type { Clock } from '../../base/mod.ts';
import type { Peer } from './peer.ts';

export class Deferral {
  private active: boolean;
  private timer: Disposable | undefined;
  private readonly finish: (because: string) => void;

  constructor(clock: Clock, restarting: boolean, ms: number, finish: (because: string) => void) {
    this.active = restarting;
    this.finish = finish;
    if (restarting) this.timer = clock.after(ms, () => this.end('the deferral timer ran out'));
  }

  get on(): boolean {
    return this.active;
  }

  /** Looks whether anybody is still to be waited for. */
  check(peers: Iterable<Peer>): void {
    if (!this.active) return;
    for (const peer of peers) if (isAwaited(peer)) return;
    this.end('all neighbours sent End-of-RIB');
  }

  cancel(): void {
    this.active = false;
    this.timer?.[Symbol.dispose]();
  }

  private end(because: string): void {
    this.cancel();
    this.finish(because);
  }
}

function isAwaited(peer: Peer): boolean {
  if (!peer.config.enabled || peer.shutdown !== undefined || peer.config.gracefulRestart === 'off') return false;
  const { session } = peer;
  if (!session?.active) return true;
  const restart = session.negotiated.gracefulRestart;
  // one that restarts too waits for us: nobody must wait for the other
  if (!restart || restart.restarting) return false;
  return session.families.some((family) => !session.finished.has(family));
}
