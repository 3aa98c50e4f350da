/** The timers of one neighbour, by name; and the two that look at a connection before they count as expired. */
import type { Clock } from '../../base/mod.ts';
import type { SessionEvent, SessionTimer } from '../fsm/mod.ts';
import type { Connection } from './connection.ts';

/** What may lie unread in the kernel when this process was held up is read within this. */
const SECOND_LOOK_MS = 10;

export class PeerTimers {
  private readonly clock: Clock;
  private readonly running = new Map<string, Disposable>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  private has(name: string): boolean {
    return this.running.has(name);
  }

  /** (Re)starts. */
  after(name: string, ms: number, run: () => void): void {
    this.stop(name);
    const timer = this.clock.after(ms, () => {
      this.running.delete(name);
      run();
    });
    this.running.set(name, timer);
  }

  stop(name: string): void {
    this.running.get(name)?.[Symbol.dispose]();
    this.running.delete(name);
  }

  /** Stops those whose names begin so; all without an argument. */
  stopAll(beginning = ''): void {
    for (const name of this.running.keys()) if (name.startsWith(beginning)) this.stop(name);
  }

  /** A timer of one session, whose expiry is one of its events. `isUp`: whether it is the neighbour's Established one. */
  startSession(
    id: number,
    timer: SessionTimer,
    ms: number,
    connection: Connection | undefined,
    isUp: () => boolean,
    expired: (event: SessionEvent) => void,
  ): void {
    const name = `${id} ${timer}`;
    switch (timer) {
      case 'hold':
        if (!connection || (isUp() && this.has(name))) return; // it runs, and looks back when it is due
        this.watchHold(name, connection, ms, isUp, () => expired({ type: 'HoldTimerExpires' }));
        return;
      case 'sendHold':
        if (connection) this.watchSend(name, connection, ms, () => expired({ type: 'SendHoldTimerExpires' }));
        return;
      case 'connectRetry':
        this.after(name, ms, () => expired({ type: 'ConnectRetryTimerExpires' }));
        return;
      case 'keepalive':
        this.after(name, ms, () => expired({ type: 'KeepaliveTimerExpires' }));
        return;
      case 'delayOpen':
        this.after(name, ms, () => expired({ type: 'DelayOpenTimerExpires' }));
        return;
      default:
        timer satisfies never;
    }
  }

  stopSession(id: number, timer: SessionTimer): void {
    this.stop(`${id} ${timer}`);
  }

  stopSessions(id: number): void {
    this.stopAll(`${id} `);
  }

  /**
   * The hold timer. Every message restarts it, so it is not: when due it looks when the last whole one was heard (once
   * `listens`; before, the time counts from the start). When this process itself was held up (by other work, stopped, or
   * swapped out), the peer's messages may lie unread: each connection is read at least once before the timer counts.
   */
  private watchHold(
    name: string,
    connection: Connection,
    ms: number,
    listens: () => boolean,
    expired: () => void,
  ): void {
    const look = (wait: number, again: boolean): void => {
      this.after(name, wait, () => {
        const rest = listens() ? connection.lastHeard + ms - this.clock.now() : 0;
        if (rest > 0) look(rest, false);
        else if (!again) look(SECOND_LOOK_MS, true);
        else expired();
      });
    };
    look(ms, false);
  }

  /** The send hold timer, RFC 9687: expires when bytes wait and none was taken for the whole time. */
  private watchSend(name: string, connection: Connection, ms: number, expired: () => void): void {
    const look = (wait: number): void => {
      this.after(name, wait, () => {
        const rest = connection.blocked ? connection.lastProgress + ms - this.clock.now() : ms;
        if (rest > 0) look(rest);
        else expired();
      });
    };
    look(ms);
  }
}
