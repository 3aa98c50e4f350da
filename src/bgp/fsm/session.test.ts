import { describe, expect, test } from 'bun:test';
import { agreement, notification, restartable, sessionIn, settings } from './fixtures.ts';
import { stepSession } from './session.ts';
import type { Negotiated } from '../wire/mod.ts';
import type { SessionAction, SessionEvent, SessionSettings, SessionState } from './mod.ts';

/** An action in a few letters, for tables. */
function brief(action: SessionAction): string {
  switch (action.do) {
    case 'startTimer':
      return `${action.timer}=${action.ms}${action.jitter ? '~' : ''}`;
    case 'stopTimer':
      return `-${action.timer}`;
    case 'sendNotification':
      return `notify ${action.notification.code}/${action.notification.subcode}`;
    case 'sessionDown':
      return action.retain ? 'down+retain' : 'down';
    case 'attemptFailed':
      return 'failed';
    case 'connect':
    case 'close':
    case 'sendOpen':
    case 'sendKeepalive':
    case 'stopTimers':
    case 'sessionUp':
      return action.do;
    default:
      return action satisfies never;
  }
}

type Row = readonly [
  from: SessionState,
  event: SessionEvent['type'],
  to: SessionState,
  actions: string,
  with_?: Partial<SessionSettings> & { delaying?: true; negotiated?: Negotiated; accepted?: true },
];

const cease = notification(6, 2);
const bad = notification(3, 1);
const payload: { readonly [T in SessionEvent['type']]: SessionEvent } = {
  Start: { type: 'Start' },
  Stop: { type: 'Stop', notification: cease },
  ConnectRetryTimerExpires: { type: 'ConnectRetryTimerExpires' },
  HoldTimerExpires: { type: 'HoldTimerExpires' },
  KeepaliveTimerExpires: { type: 'KeepaliveTimerExpires' },
  DelayOpenTimerExpires: { type: 'DelayOpenTimerExpires' },
  TcpCrAcked: { type: 'TcpCrAcked' },
  TcpConnectionConfirmed: { type: 'TcpConnectionConfirmed' },
  TcpConnectionFails: { type: 'TcpConnectionFails', detail: 'ECONNREFUSED' },
  BgpOpen: { type: 'BgpOpen', negotiated: agreement() },
  BgpHeaderErr: { type: 'BgpHeaderErr', notification: notification(1, 1) },
  BgpOpenMsgErr: { type: 'BgpOpenMsgErr', notification: notification(2, 2) },
  OpenCollisionDump: { type: 'OpenCollisionDump' },
  NotifMsgVerErr: { type: 'NotifMsgVerErr', notification: notification(2, 1) },
  NotifMsg: { type: 'NotifMsg', notification: cease },
  KeepAliveMsg: { type: 'KeepAliveMsg' },
  UpdateMsg: { type: 'UpdateMsg' },
  UpdateMsgErr: { type: 'UpdateMsgErr', notification: bad },
  SendHoldTimerExpires: { type: 'SendHoldTimerExpires' },
  RestartDetected: { type: 'RestartDetected' },
};

const ended = 'stopTimers close failed';
const confirm = 'hold=90000 sendKeepalive keepalive=30000~ sendHold=480000';
const gr = { negotiated: restartable(false) };
const grN = { negotiated: restartable(true) };
const rows: readonly Row[] = [
  // Idle: nothing but a start
  ['Idle', 'Start', 'Connect', 'connectRetry=30000~ connect'],
  ['Idle', 'Start', 'Active', '', { passive: true }],
  ['Idle', 'Stop', 'Idle', ''],
  ['Idle', 'TcpConnectionConfirmed', 'Idle', ''],
  ['Idle', 'BgpOpen', 'Idle', ''],
  // Connect
  ['Connect', 'Start', 'Connect', ''],
  ['Connect', 'Stop', 'Idle', ended],
  ['Connect', 'TcpCrAcked', 'OpenSent', 'stopTimers sendOpen hold=240000'],
  ['Connect', 'TcpCrAcked', 'Connect', '-connectRetry delayOpen=5000', { delayOpenMs: 5000 }],
  ['Connect', 'DelayOpenTimerExpires', 'OpenSent', 'stopTimers sendOpen hold=240000', { delaying: true }],
  ['Connect', 'BgpOpen', 'OpenConfirm', `stopTimers sendOpen ${confirm}`, { delaying: true }],
  ['Connect', 'BgpOpen', 'Idle', ended],
  ['Connect', 'ConnectRetryTimerExpires', 'Connect', 'close -delayOpen connectRetry=30000~ connect'],
  ['Connect', 'TcpConnectionFails', 'Idle', ended],
  ['Connect', 'TcpConnectionFails', 'Active', 'stopTimers close connectRetry=30000~ failed', { delaying: true }],
  ['Connect', 'NotifMsg', 'Idle', ended],
  ['Connect', 'HoldTimerExpires', 'Idle', ended],
  // Active
  ['Active', 'ConnectRetryTimerExpires', 'Connect', '-delayOpen connectRetry=30000~ connect'],
  ['Active', 'ConnectRetryTimerExpires', 'Active', '', { passive: true }],
  ['Active', 'TcpConnectionConfirmed', 'OpenSent', 'stopTimers sendOpen hold=240000'],
  ['Active', 'TcpConnectionFails', 'Idle', 'stopTimers failed'],
  ['Active', 'Stop', 'Idle', 'stopTimers failed'],
  // OpenSent
  ['OpenSent', 'BgpOpen', 'OpenConfirm', `stopTimers ${confirm}`],
  ['OpenSent', 'BgpOpenMsgErr', 'Idle', 'stopTimers notify 2/2 close failed'],
  ['OpenSent', 'BgpHeaderErr', 'Idle', 'stopTimers notify 1/1 close failed'],
  ['OpenSent', 'HoldTimerExpires', 'Idle', 'stopTimers notify 4/0 close failed'],
  ['OpenSent', 'TcpConnectionFails', 'Active', 'stopTimers close connectRetry=30000~ failed'],
  ['OpenSent', 'TcpConnectionFails', 'Active', 'stopTimers close failed', { accepted: true }],
  ['OpenSent', 'OpenCollisionDump', 'Idle', 'stopTimers notify 6/7 close failed'],
  ['OpenSent', 'NotifMsg', 'Idle', ended],
  ['OpenSent', 'NotifMsgVerErr', 'Idle', ended],
  ['OpenSent', 'KeepAliveMsg', 'Idle', 'stopTimers notify 5/1 close failed'],
  ['OpenSent', 'UpdateMsg', 'Idle', 'stopTimers notify 5/1 close failed'],
  ['OpenSent', 'Stop', 'Idle', 'stopTimers notify 6/2 close failed'],
  // OpenConfirm
  ['OpenConfirm', 'KeepAliveMsg', 'Established', 'hold=90000 sendHold=480000 sessionUp'],
  ['OpenConfirm', 'KeepaliveTimerExpires', 'OpenConfirm', 'sendKeepalive keepalive=30000~'],
  ['OpenConfirm', 'HoldTimerExpires', 'Idle', 'stopTimers notify 4/0 close failed'],
  ['OpenConfirm', 'UpdateMsg', 'Idle', 'stopTimers notify 5/2 close failed'],
  ['OpenConfirm', 'BgpOpen', 'Idle', 'stopTimers notify 5/2 close failed'],
  ['OpenConfirm', 'TcpConnectionFails', 'Idle', ended],
  ['OpenConfirm', 'OpenCollisionDump', 'Idle', 'stopTimers notify 6/7 close failed'],
  // Established
  ['Established', 'KeepAliveMsg', 'Established', 'hold=90000'],
  ['Established', 'UpdateMsg', 'Established', 'hold=90000'],
  ['Established', 'KeepaliveTimerExpires', 'Established', 'sendKeepalive keepalive=30000~'],
  ['Established', 'BgpOpen', 'Idle', 'stopTimers notify 5/3 close down'],
  ['Established', 'UpdateMsgErr', 'Idle', 'stopTimers notify 3/1 close down'],
  ['Established', 'HoldTimerExpires', 'Idle', 'stopTimers notify 4/0 close down'],
  ['Established', 'SendHoldTimerExpires', 'Idle', 'stopTimers close down'],
  ['Established', 'NotifMsg', 'Idle', 'stopTimers close down'],
  ['Established', 'Stop', 'Idle', 'stopTimers notify 6/2 close down'],
  ['Established', 'TcpConnectionFails', 'Idle', 'stopTimers close down'],
  // graceful restart: what keeps the routes
  ['Established', 'TcpConnectionFails', 'Idle', 'stopTimers close down+retain', gr],
  ['Established', 'RestartDetected', 'Idle', 'stopTimers close down+retain', gr],
  ['Established', 'NotifMsg', 'Idle', 'stopTimers close down', gr],
  ['Established', 'NotifMsg', 'Idle', 'stopTimers close down+retain', grN],
  ['Established', 'HoldTimerExpires', 'Idle', 'stopTimers notify 4/0 close down+retain', grN],
  ['Established', 'HoldTimerExpires', 'Idle', 'stopTimers notify 4/0 close down', gr],
];

describe('RFC 4271 §8.2.2, state by state', () => {
  for (const [from, type, to, actions, extra = {}] of rows) {
    const { delaying, negotiated, accepted, ...overrides } = extra;
    test(`${from} + ${type} → ${to}: ${actions}`, () => {
      const base = sessionIn(from, negotiated, accepted === undefined);
      const session = delaying ? { ...base, delayingOpen: true } : base;
      const step = stepSession(session, payload[type], { ...settings, ...overrides });
      expect(step.session.state).toBe(to);
      expect(step.actions.map(brief).join(' ')).toBe(actions);
    });
  }
});

test('a hold time of zero: no hold, keepalive nor send hold timer, but only so long for the first KEEPALIVE', () => {
  const negotiated = agreement({ holdTime: 0 });
  const open = stepSession(sessionIn('OpenSent'), { type: 'BgpOpen', negotiated }, settings);
  expect(open.actions.map(brief)).toEqual(['stopTimers', 'hold=240000', 'sendKeepalive']);
  const lost = stepSession(open.session, { type: 'HoldTimerExpires' }, settings);
  expect(lost.session.state).toBe('Idle');
  const up = stepSession(open.session, { type: 'KeepAliveMsg' }, settings);
  expect(up.actions.map(brief)).toEqual(['-hold', 'sessionUp']);
});

test('a Hard Reset drops the routes although both sides agreed to keep them over NOTIFICATIONs', () => {
  const session = sessionIn('Established', restartable(true));
  const step = stepSession(session, { type: 'NotifMsg', notification: notification(6, 9, [6, 2]) }, settings);
  expect(step.actions.map(brief)).toContain('down');
});

test('every event is taken in every state', () => {
  for (const state of ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established'] as const) {
    for (const event of Object.values(payload)) {
      const before = sessionIn(state);
      const step = stepSession(Object.freeze(before), event, settings);
      expect(step.session.id).toBe(1);
      if (step.session.state === 'Idle') expect(step.session.connected).toBe(false);
    }
  }
});
