/**
 * The vocabulary of the session machine: states, timers, events and actions, named as in RFC 4271 §8. Nothing here or in
 * the rest of the folder touches a socket or a clock: events go in, actions come out, and the speaker carries them out.
 */
import type { Negotiated, NotificationMessage } from '../wire/mod.ts';

/** RFC 4271 §8.2.2. */
export type SessionState = 'Idle' | 'Connect' | 'Active' | 'OpenSent' | 'OpenConfirm' | 'Established';

/**
 * Timers of one connection. `connectRetry` … `delayOpen` are RFC 4271 §8.1.3, `sendHold` is RFC 9687. `idleHold`, the
 * damping of a peer that oscillates, belongs to the neighbour and not to one of its connections.
 */
export type SessionTimer = 'connectRetry' | 'hold' | 'keepalive' | 'delayOpen' | 'sendHold';
export type NeighborTimer = 'idleHold' | 'stable';

/** The session attributes of RFC 4271 §8.1.1 that are settings. All times in milliseconds. */
export interface SessionSettings {
  /** PassiveTcpEstablishment: wait for the peer to connect, never dial. */
  readonly passive: boolean;
  /** DelayOpenTime; 0 sends the OPEN as soon as the connection is up (DelayOpen FALSE). */
  readonly delayOpenMs: number;
  readonly connectRetryMs: number;
  /** The hold time that runs until the peer's OPEN came; the RFC suggests four minutes. */
  readonly openHoldMs: number;
  /** The interval of KEEPALIVEs; a third of the negotiated hold time when that is less, or when it is not set. */
  readonly keepaliveMs?: number;
  /** RFC 9687 SendHoldTime; 0 turns it off, `auto` is the greater of eight minutes and twice the hold time. */
  readonly sendHoldMs: number | 'auto';
  /** The first wait in Idle after a failure; it doubles with every further one. */
  readonly idleHoldMinMs: number;
  readonly idleHoldMaxMs: number;
  /** A session that lived this long starts again with the first wait. */
  readonly stableMs: number;
}

/** One connection's machine. `id` tells the neighbour's connections apart and is never used again. */
export interface Session {
  readonly id: number;
  readonly state: SessionState;
  /** Whether the DelayOpenTimer runs: an OPEN that comes meanwhile is event 20, not 19. */
  readonly delayingOpen: boolean;
  /** Whether this side dialled; collision resolution (§6.8) needs to know who did. */
  readonly dialled: boolean;
  /** Whether there is a TCP connection, or one being made. */
  readonly connected: boolean;
  /** From the peer's OPEN on. */
  readonly negotiated?: Negotiated;
  /** The peer's KEEPALIVE came in OpenConfirm but waits for what becomes of the neighbour's other connection. */
  readonly confirmed?: boolean;
}

/**
 * Events of RFC 4271 §8.1, with their numbers. Several numbers share one type where only settings tell them apart (the
 * starts 1, 3–7) or where the state does (an OPEN with the DelayOpenTimer running, 20, or not, 19). Event 14 (a valid
 * connection) is the speaker's admission check and never reaches the machine when it fails (15).
 */
export type SessionEvent =
  | { readonly type: 'Start' } // 1, 3, 4, 5, 6, 7
  | { readonly type: 'Stop'; readonly notification: NotificationMessage } // 2, 8
  | { readonly type: 'ConnectRetryTimerExpires' } // 9
  | { readonly type: 'HoldTimerExpires' } // 10
  | { readonly type: 'KeepaliveTimerExpires' } // 11
  | { readonly type: 'DelayOpenTimerExpires' } // 12
  | { readonly type: 'TcpCrAcked' } // 16: the connection this side made is up
  | { readonly type: 'TcpConnectionConfirmed' } // 17: a connection the peer made is up
  | { readonly type: 'TcpConnectionFails'; readonly detail: string } // 18
  | { readonly type: 'BgpOpen'; readonly negotiated: Negotiated } // 19, 20
  | { readonly type: 'BgpHeaderErr'; readonly notification: NotificationMessage } // 21
  | { readonly type: 'BgpOpenMsgErr'; readonly notification: NotificationMessage } // 22
  | { readonly type: 'OpenCollisionDump' } // 23
  | { readonly type: 'NotifMsgVerErr'; readonly notification: NotificationMessage } // 24
  | { readonly type: 'NotifMsg'; readonly notification: NotificationMessage } // 25
  | { readonly type: 'KeepAliveMsg' } // 26
  | { readonly type: 'UpdateMsg' } // 27, and ROUTE-REFRESH (RFC 2918), which the machine treats alike
  | { readonly type: 'UpdateMsgErr'; readonly notification: NotificationMessage } // 28
  | { readonly type: 'SendHoldTimerExpires' } // 29, RFC 9687
  | { readonly type: 'RestartDetected' }; // RFC 4724 §5: the peer opened a new connection while this one was up

/** Why a session left Established, or an attempt failed. */
export type DownReason =
  | { readonly type: 'tcp'; readonly detail: string }
  | { readonly type: 'sent'; readonly notification: NotificationMessage }
  | { readonly type: 'received'; readonly notification: NotificationMessage }
  | { readonly type: 'send-hold' }
  | { readonly type: 'peer-restart' }
  | { readonly type: 'collision' };

export type SessionAction =
  /** Begin a TCP connection; answer with TcpCrAcked or TcpConnectionFails. */
  | { readonly do: 'connect'; readonly id: number }
  /** Drop this connection, or the attempt at one. What was sent before goes out first. */
  | { readonly do: 'close'; readonly id: number }
  | { readonly do: 'sendOpen'; readonly id: number }
  | { readonly do: 'sendKeepalive'; readonly id: number }
  | { readonly do: 'sendNotification'; readonly id: number; readonly notification: NotificationMessage }
  /** (Re)start; `jitter` asks for a factor of 0.75 to 1.0 (RFC 4271 §10). */
  | {
      readonly do: 'startTimer';
      readonly id: number;
      readonly timer: SessionTimer;
      readonly ms: number;
      readonly jitter: boolean;
    }
  | { readonly do: 'stopTimer'; readonly id: number; readonly timer: SessionTimer }
  | { readonly do: 'stopTimers'; readonly id: number }
  /** Established: exchange routes. */
  | { readonly do: 'sessionUp'; readonly id: number; readonly negotiated: Negotiated }
  /** No longer Established. `retain`: keep the peer's routes as stale until it is back (RFC 4724 §4.2, RFC 8538 §4). */
  | { readonly do: 'sessionDown'; readonly id: number; readonly reason: DownReason; readonly retain: boolean }
  /** An attempt ended before Established; for logs and `lastError`. */
  | { readonly do: 'attemptFailed'; readonly id: number; readonly reason: DownReason };

export interface SessionStep {
  readonly session: Session;
  readonly actions: readonly SessionAction[];
}
