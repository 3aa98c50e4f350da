import { expect, test } from 'bun:test';
import { decodeNotification, decodeRouteRefresh, encodeNotification, encodeRouteRefresh } from './messages.ts';
import { IPV6_UNICAST } from './iana.ts';
import { ceaseNotification, hardReset, isHardReset, shutdownText, unwrapHardReset } from './notification.ts';

test('a shutdown text travels, RFC 9003', () => {
  const n = ceaseNotification(2, 'zurück um 12:00');
  const bytes = encodeNotification(n);
  expect(decodeNotification(bytes, 0, bytes.length)).toEqual(n);
  expect(shutdownText(n)).toBe('zurück um 12:00');
  expect(shutdownText(ceaseNotification(4, 'x'))).toBe('x');
});

test('texts are cut between characters at 255 octets', () => {
  const text = shutdownText(ceaseNotification(2, `${'a'.repeat(254)}äb`));
  expect(text).toBe('a'.repeat(254));
  expect(shutdownText(ceaseNotification(2, 'b'.repeat(400)))?.length).toBe(255);
});

test.each([
  ['another subcode', ceaseNotification(3, 'text')],
  ['no data', ceaseNotification(2)],
  ['length 0', { code: 6, subcode: 2, data: Uint8Array.of(0) }],
  ['a length past the end', { code: 6, subcode: 2, data: Uint8Array.of(5, 65) }],
  ['no UTF-8', { code: 6, subcode: 2, data: Uint8Array.of(2, 0xc3, 0x28) }],
  ['another code', { code: 3, subcode: 2, data: Uint8Array.of(1, 65) }],
])('no text: %s', (_name, n) => {
  expect(shutdownText(n)).toBeUndefined();
});

test('Hard Reset carries the NOTIFICATION it stands for, RFC 8538', () => {
  const inner = ceaseNotification(2, 'bye');
  const n = hardReset(inner);
  expect([n.code, n.subcode, isHardReset(n), isHardReset(inner)]).toEqual([6, 9, true, false]);
  expect(unwrapHardReset(n)).toEqual(inner);
  expect(unwrapHardReset(inner)).toBe(inner);
  const empty = { code: 6, subcode: 9, data: new Uint8Array(0) };
  expect(unwrapHardReset(empty)).toBe(empty);
});

test('a NOTIFICATION never exceeds 4096 octets', () => {
  expect(encodeNotification({ code: 3, subcode: 1, data: new Uint8Array(9000) }).length).toBe(4096);
});

test('ROUTE-REFRESH and its subtypes, RFC 2918 and 7313', () => {
  for (const subtype of [0, 1, 2] as const) {
    const message = { family: IPV6_UNICAST, subtype };
    const bytes = encodeRouteRefresh(message);
    expect(decodeRouteRefresh(bytes, 0, bytes.length)).toEqual({ ok: true, value: message });
  }
  const longer = Uint8Array.of(...encodeRouteRefresh({ family: IPV6_UNICAST, subtype: 0 }), 1, 2);
  expect(decodeRouteRefresh(longer, 0, longer.length).ok).toBe(true);
  longer[21] = 1;
  const bad = decodeRouteRefresh(longer, 0, longer.length);
  expect(bad.ok ? undefined : bad.error.notification).toEqual({ code: 7, subcode: 1, data: longer });
  longer[21] = 77;
  expect(decodeRouteRefresh(longer, 0, longer.length)).toEqual({ ok: true, value: undefined });
});
