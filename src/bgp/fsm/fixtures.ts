/** Values for the tests of this folder. */
import { IPV4_UNICAST } from '../wire/mod.ts';
import type { Negotiated, NotificationMessage } from '../wire/mod.ts';
import { newSession } from './session.ts';
import type { Session, SessionSettings, SessionState } from './types.ts';

export const settings: SessionSettings = {
  passive: false,
  delayOpenMs: 0,
  connectRetryMs: 30_000,
  openHoldMs: 240_000,
  sendHoldMs: 'auto',
  idleHoldMinMs: 1000,
  idleHoldMaxMs: 64_000,
  stableMs: 60_000,
};

export function agreement(overrides: Partial<Negotiated> = {}): Negotiated {
  return {
    peerAsn: 65001,
    peerIdentifier: 0x0a000002,
    holdTime: 90,
    context: {
      fourOctetAs: true,
      extendedMessages: false,
      peerType: 'external',
      families: new Set([IPV4_UNICAST]),
      extendedNextHop: new Set(),
      addPathReceive: new Set(),
      addPathSend: new Set(),
    },
    routeRefresh: true,
    enhancedRouteRefresh: false,
    receivesExtended: false,
    gracefulRestart: undefined,
    gracefulNotification: false,
    ...overrides,
  };
}

/** An agreement with a peer that restarts gracefully. */
export const restartable = (notifications: boolean): Negotiated =>
  agreement({
    gracefulRestart: {
      type: 'graceful-restart',
      restartTime: 120,
      restarting: false,
      notification: notifications,
      families: [{ family: IPV4_UNICAST, forwardingPreserved: true }],
    },
    gracefulNotification: notifications,
  });

export function sessionIn(state: SessionState, negotiated: Negotiated = agreement(), dialled = true): Session {
  const late = state === 'OpenConfirm' || state === 'Established';
  const connected = late || state === 'OpenSent' || state === 'Connect';
  return { ...newSession(1, dialled), state, connected, ...(late && { negotiated }) };
}

export const notification = (code: number, subcode = 0, data: number[] = []): NotificationMessage => ({
  code,
  subcode,
  data: Uint8Array.from(data),
});
