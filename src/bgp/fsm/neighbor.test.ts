import { describe, expect, test } from 'bun:test';
import { agreement, notification, restartable, settings } from './fixtures.ts';
import { newNeighbor, neighborState, stepNeighbor } from './neighbor.ts';
import type { Negotiated } from '../wire/mod.ts';
import type { Identity, Neighbor, NeighborAction, NeighborEvent, SessionEvent } from './mod.ts';

const low: Identity = { asn: 65000, identifier: 0x0a000001 }; // the peer of `agreement` has 10.0.0.2
const high: Identity = { asn: 65000, identifier: 0x0a000009 };

/** Runs events and keeps the actions of the last. */
function play(events: readonly NeighborEvent[], local: Identity, from = newNeighbor()) {
  let neighbor = from;
  let actions: readonly NeighborAction[] = [];
  for (const event of events) ({ neighbor, actions } = stepNeighbor(neighbor, event, settings, local));
  return { neighbor, actions };
}
const on = (id: number, event: SessionEvent): NeighborEvent => ({ type: 'Session', id, event });
const open = (negotiated: Negotiated = agreement()): SessionEvent => ({ type: 'BgpOpen', negotiated });

// primary 2 dials and gets through, the peer's own connection is 3
const bothOpen: NeighborEvent[] = [{ type: 'Start' }, { type: 'ConnectionAccepted' }, on(2, { type: 'TcpCrAcked' })];
const closed = (actions: readonly NeighborAction[]) => actions.flatMap((a) => (a.do === 'close' ? [a.id] : []));

describe('collisions, §6.8', () => {
  test('the higher identifier keeps the connection it made', () => {
    const mine = play([...bothOpen, on(2, open()), on(3, open())], high);
    expect(closed(mine.actions)).toEqual([3]);
    expect(mine.neighbor.primary).toMatchObject({ id: 2, state: 'OpenConfirm' });
    expect(mine.neighbor.secondary).toBeUndefined();
    const theirs = play([...bothOpen, on(2, open()), on(3, open())], low);
    expect(closed(theirs.actions)).toEqual([2]);
    expect(theirs.neighbor.primary).toMatchObject({ id: 3, state: 'OpenConfirm' });
  });

  test('whatever the order of the OPENs', () => {
    expect(play([...bothOpen, on(3, open()), on(2, open())], high).neighbor.primary.id).toBe(2);
    expect(play([...bothOpen, on(3, open()), on(2, open())], low).neighbor.primary.id).toBe(3);
  });

  test('with equal identifiers the higher AS decides (RFC 6286)', () => {
    const negotiated = agreement({ peerAsn: 65001, peerIdentifier: low.identifier });
    const run = play([...bothOpen, on(2, open(negotiated)), on(3, open(negotiated))], low);
    expect(run.neighbor.primary.id).toBe(3);
  });

  test('an Established connection stays and the new one gets Cease/7', () => {
    const run = play([...bothOpen, on(2, open()), on(2, { type: 'KeepAliveMsg' })], high);
    expect(closed(run.actions)).toEqual([3]);
    const again = play([{ type: 'ConnectionAccepted' }, on(4, open())], high, run.neighbor);
    expect(closed(again.actions)).toEqual([4]);
    expect(again.actions).toContainEqual(
      expect.objectContaining({ do: 'sendNotification', id: 4, notification: notification(6, 7) }),
    );
    expect(neighborState(again.neighbor)).toBe('Established');
  });

  test('unless the peer restarts gracefully: the old one ends without a word and its routes stay', () => {
    const up = play([{ type: 'Start' }, { type: 'ConnectionAccepted' }, on(3, open(restartable(false)))], low);
    const stable: NeighborEvent[] = [on(3, { type: 'KeepAliveMsg' }), { type: 'StableTimerExpires' }];
    const again: NeighborEvent[] = [{ type: 'ConnectionAccepted' }, on(4, open(restartable(false)))];
    const run = play([...stable, ...again], low, up.neighbor);
    expect(run.actions.filter((a) => a.do === 'sendNotification')).toEqual([]);
    expect(run.actions).toContainEqual(expect.objectContaining({ do: 'sessionDown', id: 3, retain: true }));
    expect(run.neighbor.primary).toMatchObject({ id: 4, state: 'OpenConfirm' });
  });

  test('a KEEPALIVE alone does not establish the connection that has to lose', () => {
    // our own connection (2) loses against the peer's (3), whose OPEN has not come yet
    const waiting = play([...bothOpen, on(2, open()), on(2, { type: 'KeepAliveMsg' })], low);
    expect(neighborState(waiting.neighbor)).toBe('OpenConfirm');
    const lost = play([on(3, open())], low, waiting.neighbor);
    expect(closed(lost.actions)).toEqual([2]);
    // unless the other fails, or the peer goes on here
    const fails = on(3, { type: 'TcpConnectionFails', detail: 'reset' });
    expect(neighborState(play([fails], low, waiting.neighbor).neighbor)).toBe('Established');
    const goesOn = play([on(2, { type: 'UpdateMsg' })], low, waiting.neighbor);
    expect(neighborState(goesOn.neighbor)).toBe('Established');
    expect(closed(goesOn.actions)).toEqual([3]);
  });
});

describe('damping', () => {
  const waits = (actions: readonly NeighborAction[]) =>
    actions.flatMap((a) => (a.do === 'startNeighborTimer' && a.timer === 'idleHold' ? [a.ms] : []));

  test('refused dials wait longer each time and still take connections', () => {
    let { neighbor } = play([{ type: 'Start' }], low);
    const seen: number[] = [];
    for (let i = 0; i < 8; i++) {
      const fail = on(neighbor.primary.id, { type: 'TcpConnectionFails', detail: 'ECONNREFUSED' });
      const failed = play([fail], low, neighbor);
      seen.push(...waits(failed.actions));
      expect(failed.neighbor.held).toBe('dial');
      neighbor = play([{ type: 'IdleHoldTimerExpires' }], low, failed.neighbor).neighbor;
      expect(neighborState(neighbor)).toBe('Connect');
    }
    expect(seen).toEqual([1000, 2000, 4000, 8000, 16000, 32000, 64000, 64000]);
  });

  test('a protocol error also keeps the peer out until the wait is over', () => {
    const run = play([...bothOpen, on(2, open()), on(2, { type: 'KeepAliveMsg' })], high);
    const failed = play([on(2, { type: 'UpdateMsgErr', notification: notification(3, 1) })], low, run.neighbor);
    expect(failed.neighbor.held).toBe('all');
    expect(play([{ type: 'ConnectionAccepted' }], low, failed.neighbor).actions).toEqual([{ do: 'refuse' }]);
    const after = play([{ type: 'IdleHoldTimerExpires' }, { type: 'ConnectionAccepted' }], low, failed.neighbor);
    expect(after.actions[0]).toMatchObject({ do: 'adopt' });
  });

  test('a lost connection does not: the peer may be back at once', () => {
    const run = play([...bothOpen, on(2, open()), on(2, { type: 'KeepAliveMsg' })], high);
    const lost = play([on(2, { type: 'TcpConnectionFails', detail: 'closed' })], low, run.neighbor);
    expect(play([{ type: 'ConnectionAccepted' }], low, lost.neighbor).actions[0]).toMatchObject({ do: 'adopt' });
  });
});

describe('random walks', () => {
  /** What a speaker would hold, and the rules any sequence of actions must keep. */
  class World {
    neighbor: Neighbor = newNeighbor();
    readonly dialling = new Set<number>();
    readonly up = new Set<number>();
    readonly spoken = new Set<number>();
    readonly timers = new Set<string>();
    established: number | undefined;
    private readonly config = { ...settings };
    private readonly local: Identity;

    constructor(passive: boolean, delayOpenMs: number, local: Identity) {
      Object.assign(this.config, { passive, delayOpenMs });
      this.local = local;
    }

    apply(event: NeighborEvent): void {
      const { neighbor, actions } = stepNeighbor(this.neighbor, event, this.config, this.local);
      for (const action of actions) this.carryOut(action);
      this.neighbor = neighbor;
      this.check();
    }

    private carryOut(action: NeighborAction): void {
      switch (action.do) {
        case 'connect':
          expect(this.up.has(action.id) || this.dialling.has(action.id)).toBe(false);
          this.dialling.add(action.id);
          break;
        case 'adopt':
          this.up.add(action.id);
          break;
        case 'refuse':
          break;
        case 'close':
          expect(this.dialling.delete(action.id) || this.up.delete(action.id)).toBe(true);
          this.spoken.delete(action.id);
          break;
        case 'sendOpen':
          expect(this.up.has(action.id)).toBe(true);
          expect(this.spoken.has(action.id)).toBe(false);
          this.spoken.add(action.id);
          break;
        case 'sendKeepalive':
        case 'sendNotification':
          expect(this.up.has(action.id) && this.spoken.has(action.id)).toBe(true);
          break;
        case 'startTimer':
          this.timers.add(`${action.id} ${action.timer}`);
          break;
        case 'stopTimer':
          this.timers.delete(`${action.id} ${action.timer}`);
          break;
        case 'stopTimers':
          for (const timer of this.timers) if (timer.startsWith(`${action.id} `)) this.timers.delete(timer);
          break;
        case 'startNeighborTimer':
          this.timers.add(action.timer);
          break;
        case 'stopNeighborTimer':
          this.timers.delete(action.timer);
          break;
        case 'sessionUp':
          expect(this.established).toBeUndefined();
          this.established = action.id;
          break;
        case 'sessionDown':
          expect(this.established).toBe(action.id);
          this.established = undefined;
          break;
        case 'attemptFailed':
          expect(this.established).not.toBe(action.id);
          break;
        default:
          action satisfies never;
      }
    }

    private check(): void {
      const { primary, secondary, started, held } = this.neighbor;
      const sessions = [primary, ...(secondary ? [secondary] : [])];
      const live = new Set(sessions.filter((s) => s.connected).map((s) => s.id));
      expect(new Set([...this.dialling, ...this.up])).toEqual(live);
      for (const timer of this.timers) {
        const id = Number(timer.split(' ')[0]);
        if (!Number.isNaN(id)) expect(sessions.some((s) => s.id === id && s.state !== 'Idle')).toBe(true);
      }
      const running = (id: number, timer: string) => this.timers.has(`${id} ${timer}`);
      for (const { id, state, dialled, delayingOpen } of sessions) {
        // nobody waits for ever
        if (state === 'Connect') expect(running(id, delayingOpen ? 'delayOpen' : 'connectRetry')).toBe(true);
        if (state === 'Active' && !this.config.passive && dialled) expect(running(id, 'connectRetry')).toBe(true);
        if (state === 'Active' && delayingOpen) expect(running(id, 'delayOpen')).toBe(true);
        if (state === 'OpenSent') expect(running(id, 'hold')).toBe(true);
        if (state === 'OpenConfirm' || state === 'Established') {
          expect(running(id, 'hold') && running(id, 'keepalive')).toBe(true);
        }
        expect(state === 'Established').toBe(this.established === id);
      }
      if (started && primary.state === 'Idle') expect(held !== 'no' && this.timers.has('idleHold')).toBe(true);
      if (!started) expect([...this.timers, ...live]).toEqual([]);
    }

    /** Everything the outside could do next. */
    possible(random: () => number): NeighborEvent[] {
      const events: NeighborEvent[] = [{ type: 'ConnectionAccepted' }];
      if (!this.neighbor.started) events.push({ type: 'Start' });
      else if (random() < 0.03) events.push({ type: 'Stop', notification: notification(6, 2) });
      const negotiated = random() < 0.3 ? restartable(random() < 0.5) : agreement();
      for (const id of this.dialling) {
        events.push(on(id, { type: 'TcpCrAcked' }), on(id, { type: 'TcpConnectionFails', detail: 'refused' }));
      }
      for (const id of this.up) {
        events.push(
          on(id, { type: 'BgpOpen', negotiated }),
          on(id, { type: 'KeepAliveMsg' }),
          on(id, { type: 'KeepAliveMsg' }),
          on(id, { type: 'UpdateMsg' }),
          on(id, { type: 'NotifMsg', notification: notification(6, 4) }),
          on(id, { type: 'TcpConnectionFails', detail: 'reset' }),
          on(id, { type: 'BgpHeaderErr', notification: notification(1, 1) }),
        );
      }
      for (const timer of this.timers) events.push(this.expiry(timer));
      return events;
    }

    private expiry(timer: string): NeighborEvent {
      if (timer === 'idleHold') return { type: 'IdleHoldTimerExpires' };
      if (timer === 'stable') return { type: 'StableTimerExpires' };
      const [id, name] = timer.split(' ') as [string, string];
      const type = `${name[0]!.toUpperCase()}${name.slice(1)}TimerExpires` as 'HoldTimerExpires';
      return on(Number(id), { type });
    }

    /** A timer that fires runs no longer. */
    fire(event: NeighborEvent): void {
      if (event.type === 'IdleHoldTimerExpires') this.timers.delete('idleHold');
      if (event.type === 'StableTimerExpires') this.timers.delete('stable');
      if (event.type === 'Session' && event.event.type.endsWith('TimerExpires')) {
        const name = event.event.type.replace('TimerExpires', '');
        this.timers.delete(`${event.id} ${name[0]!.toLowerCase()}${name.slice(1)}`);
      }
      if (event.type === 'Session' && event.event.type === 'TcpCrAcked' && this.dialling.delete(event.id)) {
        this.up.add(event.id);
      }
    }
  }

  /** A small generator with a seed, so that a failure can be run again. */
  function generator(seed: number): () => number {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
  }

  for (const passive of [false, true]) {
    for (const delayOpenMs of [0, 5000]) {
      test(`no invalid action and nobody stuck (passive ${passive}, delay ${delayOpenMs})`, () => {
        let sessions = 0;
        for (let seed = 1; seed <= 150; seed++) {
          const random = generator(seed * 7919);
          const world = new World(passive, delayOpenMs, seed % 2 ? low : high);
          for (let i = 0; i < 200; i++) {
            const events = world.possible(random);
            const event = events[Math.floor(random() * events.length)]!;
            world.fire(event);
            const before = world.established;
            world.apply(event);
            if (before === undefined && world.established !== undefined) sessions++;
          }
        }
        expect(sessions).toBeGreaterThan(100); // the walk does get somewhere
      });
    }
  }
});
