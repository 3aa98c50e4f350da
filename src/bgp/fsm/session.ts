/**
 * One connection's session machine, RFC 4271 §8.2.2: `step(session, event)` is total, changes nothing, and is one switch
 * over the states. What the RFC says in each state stands in the function of that state, in the RFC's order. Two
 * connections of one neighbour (collisions, damping) are the business of `neighbor.ts`.
 *
 * Departures, all common practice: a NOTIFICATION in OpenSent or during the OPEN delay closes the connection and is not
 * answered by another one (§6.4 forbids it); FSM errors carry the subcodes of RFC 6608; no NOTIFICATION goes out before
 * our OPEN did (SendNOTIFICATIONwithoutOPEN is FALSE).
 */
import { CeaseSubcode, ceaseNotification, isHardReset } from '../wire/mod.ts';
import type { Negotiated, NotificationMessage } from '../wire/mod.ts';
import { fsmError, holdTimerExpired } from './notification.ts';
import type { DownReason, Session, SessionAction, SessionEvent, SessionSettings, SessionStep } from './types.ts';

/** A machine in Idle for a connection that this side will dial, or that the peer made. */
export const newSession = (id: number, dialled: boolean): Session => ({
  id,
  state: 'Idle',
  delayingOpen: false,
  dialled,
  connected: false,
});

export function stepSession(session: Session, event: SessionEvent, settings: SessionSettings): SessionStep {
  switch (session.state) {
    case 'Idle':
      return inIdle(session, event, settings);
    case 'Connect':
    case 'Active':
      return beforeOpen(session, event, settings);
    case 'OpenSent':
      return inOpenSent(session, event, settings);
    case 'OpenConfirm':
      return inOpenConfirm(session, event, settings);
    case 'Established':
      return inEstablished(session, event, settings);
    default:
      return session.state satisfies never;
  }
}

/** Idle: only a start does something; a peer's connection is refused before it gets here. */
function inIdle(session: Session, event: SessionEvent, settings: SessionSettings): SessionStep {
  if (event.type !== 'Start') return stay(session);
  if (settings.passive || !session.dialled) return { session: { ...session, state: 'Active' }, actions: [] };
  return {
    session: { ...session, state: 'Connect', connected: true },
    actions: [startConnectRetry(session, settings), { do: 'connect', id: session.id }],
  };
}

/** Connect (a connection is being made) and Active (waiting for one) differ in two events only. */
function beforeOpen(session: Session, event: SessionEvent, settings: SessionSettings): SessionStep {
  switch (event.type) {
    case 'Start':
      return stay(session);
    case 'Stop':
      return toIdle(session, { type: 'sent', notification: event.notification });
    case 'ConnectRetryTimerExpires':
      if (settings.passive || !session.dialled) return stay(session);
      return {
        session: { ...session, state: 'Connect', connected: true, delayingOpen: false },
        actions: [
          ...closeIf(session),
          { do: 'stopTimer', id: session.id, timer: 'delayOpen' },
          startConnectRetry(session, settings),
          { do: 'connect', id: session.id },
        ],
      };
    case 'DelayOpenTimerExpires':
      return session.delayingOpen ? sendOpen(session, settings) : stay(session);
    case 'TcpCrAcked':
    case 'TcpConnectionConfirmed':
      if (settings.delayOpenMs === 0) return sendOpen(session, settings);
      return {
        session: { ...session, connected: true, delayingOpen: true },
        actions: [
          { do: 'stopTimer', id: session.id, timer: 'connectRetry' },
          { do: 'startTimer', id: session.id, timer: 'delayOpen', ms: settings.delayOpenMs, jitter: false },
        ],
      };
    case 'TcpConnectionFails':
      if (session.state === 'Connect' && session.delayingOpen) return toActive(session, event.detail, settings);
      return toIdle(session, { type: 'tcp', detail: event.detail });
    case 'BgpOpen':
      if (!session.delayingOpen) return toIdle(session, { type: 'sent', notification: fsmError(session.state) });
      return confirmOpen(session, event.negotiated, settings, [{ do: 'sendOpen', id: session.id }]);
    case 'OpenCollisionDump':
      return toIdle(session, { type: 'collision' });
    case 'NotifMsg':
    case 'NotifMsgVerErr':
      return toIdle(session, { type: 'received', notification: event.notification });
    case 'BgpHeaderErr':
    case 'BgpOpenMsgErr':
    case 'UpdateMsgErr':
      return toIdle(session, { type: 'sent', notification: event.notification });
    case 'HoldTimerExpires':
    case 'KeepaliveTimerExpires':
    case 'SendHoldTimerExpires':
    case 'KeepAliveMsg':
    case 'UpdateMsg':
    case 'RestartDetected':
      return toIdle(session, { type: 'sent', notification: fsmError(session.state) });
    default:
      return event satisfies never;
  }
}

function inOpenSent(session: Session, event: SessionEvent, settings: SessionSettings): SessionStep {
  switch (event.type) {
    case 'Start':
      return stay(session);
    case 'BgpOpen':
      return confirmOpen(session, event.negotiated, settings, []);
    case 'TcpConnectionFails':
      return toActive(session, event.detail, settings);
    default:
      return failOrFsmError(session, event);
  }
}

function inOpenConfirm(session: Session, event: SessionEvent, settings: SessionSettings): SessionStep {
  const negotiated = session.negotiated!;
  switch (event.type) {
    case 'Start':
      return stay(session);
    case 'KeepaliveTimerExpires':
      return { session, actions: keepalive(session.id, negotiated, settings) };
    case 'KeepAliveMsg':
      return {
        session: { ...session, state: 'Established' },
        actions: [
          ...(negotiated.holdTime === 0 ? [stopHold(session.id)] : restartHold(session.id, negotiated)),
          ...startSendHold(session.id, negotiated, settings),
          { do: 'sessionUp', id: session.id, negotiated },
        ],
      };
    default:
      return failOrFsmError(session, event);
  }
}

function inEstablished(session: Session, event: SessionEvent, settings: SessionSettings): SessionStep {
  const negotiated = session.negotiated!;
  switch (event.type) {
    case 'Start':
      return stay(session);
    case 'KeepaliveTimerExpires':
      return { session, actions: keepalive(session.id, negotiated, settings) };
    case 'KeepAliveMsg':
    case 'UpdateMsg':
      return { session, actions: restartHold(session.id, negotiated) };
    default:
      return failOrFsmError(session, event);
  }
}

/** What ends a session alike in OpenSent, OpenConfirm and Established; everything left over is an FSM error. */
function failOrFsmError(session: Session, event: SessionEvent): SessionStep {
  switch (event.type) {
    case 'Stop':
    case 'BgpHeaderErr':
    case 'BgpOpenMsgErr':
    case 'UpdateMsgErr':
      return toIdle(session, { type: 'sent', notification: event.notification });
    case 'HoldTimerExpires':
      return toIdle(session, { type: 'sent', notification: holdTimerExpired });
    case 'SendHoldTimerExpires':
      return toIdle(session, { type: 'send-hold' }); // RFC 9687 §3.2: a NOTIFICATION would not get out either
    case 'TcpConnectionFails':
      return toIdle(session, { type: 'tcp', detail: event.detail });
    case 'OpenCollisionDump':
      return toIdle(session, { type: 'collision' });
    case 'NotifMsg':
    case 'NotifMsgVerErr':
      return toIdle(session, { type: 'received', notification: event.notification });
    case 'RestartDetected':
      return toIdle(session, { type: 'peer-restart' });
    case 'Start':
    case 'ConnectRetryTimerExpires':
    case 'KeepaliveTimerExpires':
    case 'DelayOpenTimerExpires':
    case 'TcpCrAcked':
    case 'TcpConnectionConfirmed':
    case 'BgpOpen':
    case 'KeepAliveMsg':
    case 'UpdateMsg':
      return toIdle(session, { type: 'sent', notification: fsmError(session.state) });
    default:
      return event satisfies never;
  }
}

const stay = (session: Session): SessionStep => ({ session, actions: [] });

const closeIf = (session: Session): SessionAction[] => (session.connected ? [{ do: 'close', id: session.id }] : []);

function startConnectRetry(session: Session, settings: SessionSettings): SessionAction {
  return {
    do: 'startTimer',
    id: session.id,
    timer: 'connectRetry',
    ms: settings.connectRetryMs,
    jitter: true,
  };
}

/** The connection is up: OPEN goes out, and the peer's must come within the initial hold time. */
function sendOpen(session: Session, settings: SessionSettings): SessionStep {
  return {
    session: { ...session, state: 'OpenSent', connected: true, delayingOpen: false },
    actions: [
      { do: 'stopTimers', id: session.id },
      { do: 'sendOpen', id: session.id },
      { do: 'startTimer', id: session.id, timer: 'hold', ms: settings.openHoldMs, jitter: false },
    ],
  };
}

/** The peer's OPEN was good: answer with a KEEPALIVE (after our own OPEN, when that was delayed). */
function confirmOpen(
  session: Session,
  negotiated: Negotiated,
  settings: SessionSettings,
  first: readonly SessionAction[],
): SessionStep {
  return {
    session: { ...session, state: 'OpenConfirm', delayingOpen: false, negotiated },
    actions: [
      { do: 'stopTimers', id: session.id },
      ...first,
      // without a hold time the KEEPALIVE that confirms our OPEN has as long as the peer's OPEN had: else one that never
      // sends it, and dies, would be waited for without end
      ...(negotiated.holdTime === 0 ? [awaitConfirm(session.id, settings)] : restartHold(session.id, negotiated)),
      ...keepalive(session.id, negotiated, settings),
      ...startSendHold(session.id, negotiated, settings),
    ],
  };
}

/** A KEEPALIVE, and the timer for the next; with a hold time of zero only the one that confirms the OPEN goes out. */
function keepalive(id: number, negotiated: Negotiated, settings: SessionSettings): SessionAction[] {
  const send: SessionAction = { do: 'sendKeepalive', id };
  if (negotiated.holdTime === 0) return [send];
  const ms = Math.min(settings.keepaliveMs ?? Infinity, (negotiated.holdTime * 1000) / 3);
  return [send, { do: 'startTimer', id, timer: 'keepalive', ms, jitter: true }];
}

function restartHold(id: number, negotiated: Negotiated): SessionAction[] {
  if (negotiated.holdTime === 0) return [];
  return [{ do: 'startTimer', id, timer: 'hold', ms: negotiated.holdTime * 1000, jitter: false }];
}

/** In OpenConfirm without a hold time: the peer's KEEPALIVE must come. */
function awaitConfirm(id: number, settings: SessionSettings): SessionAction {
  return { do: 'startTimer', id, timer: 'hold', ms: settings.openHoldMs, jitter: false };
}

const stopHold = (id: number): SessionAction => ({ do: 'stopTimer', id, timer: 'hold' });

/** The speaker starts this timer again each time the connection takes bytes; it expires only with bytes waiting. */
function startSendHold(id: number, negotiated: Negotiated, settings: SessionSettings): SessionAction[] {
  const ms = settings.sendHoldMs === 'auto' ? Math.max(8 * 60_000, 2000 * negotiated.holdTime) : settings.sendHoldMs;
  if (ms === 0 || negotiated.holdTime === 0) return [];
  return [{ do: 'startTimer', id, timer: 'sendHold', ms, jitter: false }];
}

/** The connection is gone but the peer may come back by itself: wait for it, and dial again when the timer says so. */
function toActive(session: Session, detail: string, settings: SessionSettings): SessionStep {
  const dials = session.dialled && !settings.passive;
  return {
    session: { id: session.id, state: 'Active', delayingOpen: false, dialled: session.dialled, connected: false },
    actions: [
      { do: 'stopTimers', id: session.id },
      ...closeIf(session),
      ...(dials ? [startConnectRetry(session, settings)] : []),
      { do: 'attemptFailed', id: session.id, reason: { type: 'tcp', detail } },
    ],
  };
}

function toIdle(session: Session, reason: DownReason): SessionStep {
  const spoken = session.state !== 'Connect' && session.state !== 'Active';
  const notification = spoken ? notificationFor(reason) : undefined;
  const retain = session.negotiated !== undefined && retainsRoutes(session.negotiated, reason);
  return {
    session: { id: session.id, state: 'Idle', delayingOpen: false, dialled: session.dialled, connected: false },
    actions: [
      { do: 'stopTimers', id: session.id },
      ...(notification ? [{ do: 'sendNotification', id: session.id, notification } as const] : []),
      ...closeIf(session),
      session.state === 'Established'
        ? { do: 'sessionDown', id: session.id, reason, retain }
        : { do: 'attemptFailed', id: session.id, reason },
    ],
  };
}

function notificationFor(reason: DownReason): NotificationMessage | undefined {
  if (reason.type === 'sent') return reason.notification;
  if (reason.type === 'collision') return ceaseNotification(CeaseSubcode.CollisionResolution);
  return undefined;
}

/**
 * Whether the routes stay until the peer is back. RFC 4724 §4.2: the connection went away, or the peer opened a new one,
 * and it had said it keeps forwarding. RFC 8538 §4 extends that to NOTIFICATIONs and the hold timer where both sides set
 * the N bit, save for a Hard Reset.
 */
export function retainsRoutes(negotiated: Negotiated, reason: DownReason): boolean {
  if ((negotiated.gracefulRestart?.families.length ?? 0) === 0) return false;
  switch (reason.type) {
    case 'tcp':
    case 'peer-restart':
      return true;
    case 'send-hold':
      return negotiated.gracefulNotification;
    case 'sent':
    case 'received':
      return negotiated.gracefulNotification && !isHardReset(reason.notification);
    case 'collision':
      return false;
    default:
      return reason satisfies never;
  }
}
