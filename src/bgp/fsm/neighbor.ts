/**
 * One neighbour: the machine that dials, and at times a second one for a connection the peer made meanwhile.
 *
 * - Collisions (RFC 4271 §6.8): both sides dial at once and two connections come up. When an OPEN arrives on one of them
 *   while the other is in OpenConfirm, the connection made by the side with the higher identifier stays (RFC 6286 §2.3:
 *   with equal identifiers, the higher AS number). One that is Established stays, unless the peer restarts gracefully
 *   (RFC 4724 §5): then a new OPEN means the old connection is dead. The connection that has to lose is not Established
 *   by its KEEPALIVE alone while the other one waits for its OPEN: the peer may be closing it at this moment, and both
 *   would be lost. It is when the other connection fails, or when more is heard on this one.
 * - Damping (DampPeerOscillations, §8.1.1): after a failure the neighbour waits in Idle, longer each time, and refuses
 *   connections once the peers had spoken. A refused dial holds back dialling only.
 */
import { ErrorCode } from '../wire/mod.ts';
import type { Negotiated, NotificationMessage } from '../wire/mod.ts';
import { newSession, stepSession } from './session.ts';
import type { NeighborTimer, Session, SessionAction, SessionEvent, SessionSettings, SessionState } from './types.ts';

/** This speaker as the neighbour sees it: what settles collisions. */
export interface Identity {
  readonly asn: number;
  /** The BGP Identifier as a number. */
  readonly identifier: number;
}

export interface Neighbor {
  /** Started by hand or by itself; false: Idle for good until it is started. */
  readonly started: boolean;
  /** Idle after a failure: `dial` still takes connections, `all` does not. */
  readonly held: 'no' | 'dial' | 'all';
  /** Failures in a row: ConnectRetryCounter. */
  readonly failures: number;
  /** The machine of the configured peering. */
  readonly primary: Session;
  /** A connection the peer made while `primary` was busy. */
  readonly secondary?: Session;
  /** Established for a while: an OPEN on a new connection is no late collision. */
  readonly stable: boolean;
  readonly nextId: number;
}

export type NeighborEvent =
  | { readonly type: 'Start' }
  | { readonly type: 'Stop'; readonly notification: NotificationMessage }
  | { readonly type: 'IdleHoldTimerExpires' } // 13
  | { readonly type: 'StableTimerExpires' }
  /** The peer connected and may: admission (address, limits) is checked before. */
  | { readonly type: 'ConnectionAccepted' }
  /** Anything that happened on one connection. Ids that are gone are ignored. */
  | { readonly type: 'Session'; readonly id: number; readonly event: SessionEvent };

export type NeighborAction =
  | SessionAction
  /** The connection just accepted belongs to this id from now on. Always the first action of its step. */
  | { readonly do: 'adopt'; readonly id: number }
  /** The connection just accepted is not wanted: close it without a word. */
  | { readonly do: 'refuse' }
  | { readonly do: 'startNeighborTimer'; readonly timer: NeighborTimer; readonly ms: number; readonly jitter: boolean }
  | { readonly do: 'stopNeighborTimer'; readonly timer: NeighborTimer };

export interface NeighborStep {
  readonly neighbor: Neighbor;
  readonly actions: readonly NeighborAction[];
}

export const newNeighbor = (): Neighbor => ({
  started: false,
  held: 'no',
  failures: 0,
  primary: newSession(1, true),
  stable: false,
  nextId: 2,
});

/** What is shown as the neighbour's state: that of the connection that got furthest. */
export function neighborState(neighbor: Neighbor): SessionState {
  const { primary, secondary } = neighbor;
  return secondary && rank[secondary.state] > rank[primary.state] ? secondary.state : primary.state;
}

const rank: Record<SessionState, number> = {
  Idle: 0,
  Connect: 2,
  Active: 1,
  OpenSent: 3,
  OpenConfirm: 4,
  Established: 5,
};

export function stepNeighbor(
  neighbor: Neighbor,
  event: NeighborEvent,
  settings: SessionSettings,
  local: Identity,
): NeighborStep {
  switch (event.type) {
    case 'Start':
      if (neighbor.started) return { neighbor, actions: [] };
      return startPrimary({ ...neighbor, started: true, held: 'no', failures: 0 }, settings);
    case 'Stop':
      return stop(neighbor, event.notification, settings);
    case 'IdleHoldTimerExpires':
      if (!neighbor.started || neighbor.held === 'no') return { neighbor, actions: [] };
      return startPrimary({ ...neighbor, held: 'no' }, settings);
    case 'StableTimerExpires':
      return { neighbor: { ...neighbor, failures: 0, stable: true }, actions: [] };
    case 'ConnectionAccepted':
      return accept(neighbor, settings);
    case 'Session':
      return onSession(neighbor, event.id, event.event, settings, local);
    default:
      return event satisfies never;
  }
}

function startPrimary(neighbor: Neighbor, settings: SessionSettings): NeighborStep {
  if (neighbor.primary.state !== 'Idle') return { neighbor, actions: [] };
  const fresh = newSession(neighbor.nextId, true);
  const { session, actions } = stepSession(fresh, { type: 'Start' }, settings);
  return { neighbor: { ...neighbor, primary: session, nextId: neighbor.nextId + 1 }, actions };
}

function stop(neighbor: Neighbor, notification: NotificationMessage, settings: SessionSettings): NeighborStep {
  const actions: NeighborAction[] = [
    { do: 'stopNeighborTimer', timer: 'idleHold' },
    { do: 'stopNeighborTimer', timer: 'stable' },
  ];
  const end = (session: Session): Session => {
    if (session.state === 'Idle') return session;
    const step = stepSession(session, { type: 'Stop', notification }, settings);
    actions.push(...step.actions);
    return step.session;
  };
  if (neighbor.secondary) end(neighbor.secondary);
  const primary = end(neighbor.primary);
  const { nextId } = neighbor;
  return { neighbor: { started: false, held: 'no', failures: 0, primary, stable: false, nextId }, actions };
}

/** A connection the peer made, event 17. */
function accept(neighbor: Neighbor, settings: SessionSettings): NeighborStep {
  const refuse: NeighborStep = { neighbor, actions: [{ do: 'refuse' }] };
  if (!neighbor.started || neighbor.held === 'all') return refuse;
  const id = neighbor.nextId;
  const active: Session = { ...newSession(id, false), state: 'Active' };
  const { session, actions } = stepSession(active, { type: 'TcpConnectionConfirmed' }, settings);
  const adopted: NeighborAction[] = [{ do: 'adopt', id }, ...actions];
  const { primary, secondary } = neighbor;

  // nothing under way: the configured machine takes it
  if (primary.state === 'Idle' || (primary.state === 'Active' && !primary.connected)) {
    const tidy: NeighborAction[] = [{ do: 'stopTimers', id: primary.id }];
    if (neighbor.held === 'dial') tidy.push({ do: 'stopNeighborTimer', timer: 'idleHold' });
    return {
      neighbor: { ...neighbor, held: 'no', primary: session, nextId: id + 1 },
      actions: [...adopted, ...tidy],
    };
  }
  // the peer gave up on a connection that went nowhere and made a new one
  const replaced: NeighborAction[] = [];
  if (secondary) {
    if (rank[secondary.state] > rank.OpenSent) return refuse;
    replaced.push(...stepSession(secondary, { type: 'OpenCollisionDump' }, settings).actions);
  }
  return {
    neighbor: { ...neighbor, secondary: session, nextId: id + 1 },
    actions: [...adopted, ...replaced],
  };
}

function onSession(
  neighbor: Neighbor,
  id: number,
  event: SessionEvent,
  settings: SessionSettings,
  local: Identity,
): NeighborStep {
  const { primary, secondary } = neighbor;
  const mine = primary.id === id ? primary : secondary;
  // more than a KEEPALIVE on a connection that waits: the peer has settled on it
  const settled = mine?.id === id && mine.confirmed === true && event.type === 'UpdateMsg';
  const first = settled ? onOneSession(neighbor, id, { type: 'KeepAliveMsg' }, settings, local) : undefined;
  const step = onOneSession(first?.neighbor ?? neighbor, id, event, settings, local);
  const actions = first ? [...first.actions, ...step.actions] : step.actions;
  // the other connection failed: one that waited for it goes on
  const { primary: left, secondary: another } = step.neighbor;
  if (!left.confirmed || another) return { neighbor: step.neighbor, actions };
  const last = onOneSession(step.neighbor, left.id, { type: 'KeepAliveMsg' }, settings, local);
  return { neighbor: last.neighbor, actions: [...actions, ...last.actions] };
}

function onOneSession(
  neighbor: Neighbor,
  id: number,
  event: SessionEvent,
  settings: SessionSettings,
  local: Identity,
): NeighborStep {
  const { primary, secondary } = neighbor;
  const mine = primary.id === id ? primary : secondary?.id === id ? secondary : undefined;
  if (!mine) return { neighbor, actions: [] };
  const other = mine === primary ? secondary : primary;

  // while the peer's own connection is being opened, dialling would only make a collision
  if (event.type === 'ConnectRetryTimerExpires' && other && rank[other.state] >= rank.OpenSent) {
    const again: NeighborAction = {
      do: 'startTimer',
      id,
      timer: 'connectRetry',
      ms: settings.connectRetryMs,
      jitter: true,
    };
    return { neighbor, actions: [again] };
  }

  if (event.type === 'KeepAliveMsg' && mine.state === 'OpenConfirm' && !mine.confirmed && other?.state === 'OpenSent') {
    if (lowerRank(mine, other, mine.negotiated!, local) === mine) {
      const waiting: Session = { ...mine, confirmed: true };
      const next = mine === primary ? { ...neighbor, primary: waiting } : { ...neighbor, secondary: waiting };
      return { neighbor: next, actions: [] };
    }
  }

  const actions: NeighborAction[] = [];
  let dropped: Session | undefined;
  if (event.type === 'BgpOpen' && other && (mine.state === 'OpenSent' || mine.delayingOpen)) {
    const loser = collisionLoser(neighbor, mine, other, event.negotiated, local);
    if (loser === mine) {
      const step = stepSession(mine, { type: 'OpenCollisionDump' }, settings);
      return settle(neighbor, step.session, step.actions, settings);
    }
    if (loser) {
      const restarted = loser.state === 'Established';
      const step = stepSession(loser, { type: restarted ? 'RestartDetected' : 'OpenCollisionDump' }, settings);
      actions.push(...step.actions);
      dropped = loser;
    }
  }
  const step = stepSession(mine, event, settings);
  actions.push(...step.actions);
  let next = neighbor;
  if (step.session.state === 'Established' && mine.state !== 'Established') {
    // whatever else is under way has lost
    if (other && other !== dropped && other.state !== 'Idle') {
      actions.push(...stepSession(other, { type: 'OpenCollisionDump' }, settings).actions);
    }
    dropped = other;
    actions.push({ do: 'startNeighborTimer', timer: 'stable', ms: settings.stableMs, jitter: false });
  }
  if (dropped) next = without(next, dropped);
  if (step.session.state === 'Established' && mine.state !== 'Established') next = { ...next, stable: false };
  return settle(next, step.session, actions, settings);
}

/** The neighbour without one of its two connections; the one that is left is the primary. */
function without(neighbor: Neighbor, dropped: Session): Neighbor {
  const { secondary, ...rest } = neighbor;
  if (!secondary) return neighbor;
  return dropped === secondary ? rest : { ...rest, primary: secondary };
}

/** Puts the changed session back, and decides about damping when it fell to Idle. */
function settle(
  neighbor: Neighbor,
  session: Session,
  actions: readonly NeighborAction[],
  settings: SessionSettings,
): NeighborStep {
  const isPrimary = neighbor.primary.id === session.id;
  if (!isPrimary) {
    // a second connection that ended, or waits for one it can never get, is no more
    if (session.connected) return { neighbor: { ...neighbor, secondary: session }, actions };
    const { secondary: _, ...rest } = neighbor;
    return { neighbor: rest, actions };
  }
  if (neighbor.secondary && !session.connected) {
    const { secondary, ...rest } = neighbor;
    const quiet: NeighborAction[] = [...actions, { do: 'stopTimers', id: session.id }];
    return { neighbor: { ...rest, primary: secondary }, actions: quiet };
  }
  if (session.state === 'Active' && !session.dialled) {
    // the peer's own connection ended before its OPEN: back to the configured machine
    const idle: Neighbor = { ...neighbor, primary: newSession(neighbor.nextId, true), nextId: neighbor.nextId + 1 };
    return hold(idle, 'dial', actions, settings);
  }
  if (session.state !== 'Idle') return { neighbor: { ...neighbor, primary: session }, actions };
  return hold({ ...neighbor, primary: session }, actions.some(isQuarrel) ? 'all' : 'dial', actions, settings);
}

/**
 * Whether the peers disagreed about something and would again at once. A connection that was lost is none: a peer that
 * restarts must get in without delay (RFC 4724), nor is a Cease from the peer, which comes when it is ready.
 */
function isQuarrel(action: NeighborAction): boolean {
  if (action.do !== 'sessionDown' && action.do !== 'attemptFailed') return false;
  if (action.reason.type === 'received') return action.reason.notification.code !== ErrorCode.Cease;
  return action.reason.type === 'sent' || action.reason.type === 'send-hold';
}

/** DampPeerOscillations: 1, 2, 4 … times the shortest wait. */
function hold(
  neighbor: Neighbor,
  held: 'dial' | 'all',
  actions: readonly NeighborAction[],
  settings: SessionSettings,
): NeighborStep {
  const ms = Math.min(settings.idleHoldMaxMs, settings.idleHoldMinMs * 2 ** Math.min(neighbor.failures, 20));
  return {
    neighbor: { ...neighbor, held, failures: neighbor.failures + 1 },
    actions: [
      ...actions,
      { do: 'stopNeighborTimer', timer: 'stable' },
      { do: 'startNeighborTimer', timer: 'idleHold', ms, jitter: true },
    ],
  };
}

/** §6.8, when an OPEN arrived on `mine`: which of the two connections has to go, if one has. */
function collisionLoser(
  neighbor: Neighbor,
  mine: Session,
  other: Session,
  negotiated: Negotiated,
  local: Identity,
): Session | undefined {
  if (other.state === 'Established') {
    const restarted = neighbor.stable || negotiated.gracefulRestart?.restarting === true;
    return other.negotiated?.gracefulRestart && restarted ? other : mine;
  }
  return other.state === 'OpenConfirm' ? lowerRank(mine, other, negotiated, local) : undefined;
}

/** Of two connections, the one made by the side with the lower identifier. */
function lowerRank(mine: Session, other: Session, negotiated: Negotiated, local: Identity): Session {
  if (mine.dialled === other.dialled) return other; // the peer made both: the newer one counts
  const localWins = outranks(local, { asn: negotiated.peerAsn, identifier: negotiated.peerIdentifier });
  return mine.dialled === localWins ? other : mine;
}

/** Whether `a` has the higher identifier, or with equal ones the higher AS number (RFC 4271 §6.8, RFC 6286 §2.3). */
function outranks(a: Identity, b: Identity): boolean {
  return a.identifier === b.identifier ? a.asn > b.asn : a.identifier > b.identifier;
}
