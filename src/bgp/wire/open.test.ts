import { describe, expect, test } from 'bun:test';
import { AS_TRANS, IPV4_UNICAST, IPV6_UNICAST } from './iana.ts';
import { writeHeader } from './messages.ts';
import { negotiate, openAsn, validateOpen } from './negotiate.ts';
import { decodeOpen, encodeOpen, makeOpen } from './open.ts';
import type { Capability, OpenMessage } from './types.ts';

const all: readonly Capability[] = [
  { type: 'multiprotocol', family: IPV4_UNICAST },
  { type: 'multiprotocol', family: IPV6_UNICAST },
  { type: 'route-refresh' },
  { type: 'extended-next-hop', entries: [{ family: IPV4_UNICAST, nextHopAfi: 2 }] },
  { type: 'extended-message' },
  {
    type: 'graceful-restart',
    restarting: true,
    notification: true,
    restartTime: 120,
    families: [
      { family: IPV4_UNICAST, forwardingPreserved: true },
      { family: IPV6_UNICAST, forwardingPreserved: false },
    ],
  },
  { type: 'four-octet-as', asn: 4_200_000_000 },
  { type: 'add-path', entries: [{ family: IPV4_UNICAST, receive: true, send: false }] },
  { type: 'enhanced-route-refresh' },
  { type: 'fqdn', host: 'r1', domain: 'example.net' },
];
const open = makeOpen(4_200_000_000, 90, 0x0a000001, all);

/** A whole OPEN around the octets of the body. */
function raw(...body: number[]): Uint8Array {
  const bytes = Uint8Array.of(...new Uint8Array(19), ...body);
  writeHeader(bytes, 0, bytes.length, 1);
  return bytes;
}
const decode = (bytes: Uint8Array) => decodeOpen(bytes, 0, bytes.length);
const head = [4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1];

test('the octets of a plain OPEN', () => {
  const plain = makeOpen(65000, 90, 0x0a000001, [{ type: 'four-octet-as', asn: 65000 }]);
  expect(encodeOpen(plain)).toEqual(raw(...head, 8, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8));
});

test('every capability', () => {
  expect(decode(encodeOpen(open))).toEqual({ ok: true, value: open });
  expect([open.myAs, openAsn(open)]).toEqual([AS_TRANS, 4_200_000_000]);
});

test('one parameter for each capability, and unknown ones', () => {
  const bytes = raw(...head, 12, 2, 2, 2, 0, 2, 6, 199, 1, 7, 1, 1, 0);
  const decoded = decode(bytes);
  expect(decoded.ok && decoded.value.capabilities).toEqual([
    { type: 'route-refresh' },
    { type: 'unknown', code: 199, value: Uint8Array.of(7) },
    { type: 'unknown', code: 1, value: Uint8Array.of(0) },
  ]);
});

test('extended optional parameters, RFC 9072', () => {
  const many = makeOpen(
    65000,
    90,
    1,
    Array.from({ length: 100 }, (_, i) => ({ type: 'unknown', code: 150 + (i % 50), value: new Uint8Array(20) })),
  );
  const bytes = encodeOpen(many);
  expect([...bytes.subarray(28, 30)]).toEqual([255, 255]);
  expect(decode(bytes)).toEqual({ ok: true, value: many });
  // they may be used for short parameters too
  const short = decode(raw(...head, 255, 255, 0, 5, 2, 0, 2, 2, 0));
  expect(short.ok && short.value.capabilities).toEqual([{ type: 'route-refresh' }]);
});

test('an OPEN never exceeds 4096 octets', () => {
  const huge = Array.from({ length: 50 }, () => ({ type: 'unknown', code: 200, value: new Uint8Array(255) }) as const);
  const bytes = encodeOpen(makeOpen(65000, 90, 1, huge));
  expect(bytes.length).toBeLessThanOrEqual(4096);
  expect(decode(bytes).ok).toBe(true);
});

// RFC 4271 §6.2
test.each([
  ['version 3', raw(3, ...head.slice(1), 0), 1, [0, 4]],
  ['a parameter that is not capabilities', raw(...head, 3, 1, 1, 0), 4, []],
  ['parameters longer than the message', raw(...head, 9, 2, 2, 2, 0), 0, []],
  ['parameters shorter than the message', raw(...head, 2, 2, 2, 2, 0), 0, []],
  ['a parameter that overruns', raw(...head, 4, 2, 3, 2, 0), 0, []],
  ['a capability that overruns', raw(...head, 4, 2, 2, 2, 1), 0, []],
  ['half a parameter', raw(...head, 1, 2), 0, []],
  ['extended parameters without a length', raw(...head, 255, 255, 0), 0, []],
])('%s is refused', (_name, bytes, subcode, data) => {
  const decoded = decode(bytes);
  expect(decoded.ok ? undefined : decoded.error.notification).toEqual({
    code: 2,
    subcode,
    data: Uint8Array.from(data),
  });
});

describe('validateOpen', () => {
  const expectation = { localAsn: 65000, localIdentifier: 7, remoteAs: 65001 } as const;
  const from = (asn: number, identifier = 9, holdTime = 90): OpenMessage =>
    makeOpen(asn, holdTime, identifier, [{ type: 'four-octet-as', asn }]);
  const subcode = (o: OpenMessage, remoteAs: Parameters<typeof validateOpen>[1]['remoteAs'] = 65001) =>
    validateOpen(o, { ...expectation, remoteAs })?.notification.subcode;

  test('AS number', () => {
    expect(subcode(from(65001))).toBeUndefined();
    expect(subcode(from(65002))).toBe(2);
    expect(subcode(from(65002), 'external')).toBeUndefined();
    expect(subcode(from(65000), 'external')).toBe(2);
    expect(subcode(from(65000), 'internal')).toBeUndefined();
    expect(subcode(from(65003), new Set([65002, 65003]))).toBeUndefined();
    expect(subcode(from(65004), new Set([65002, 65003]))).toBe(2);
    expect(subcode(from(0), 'any')).toBe(2);
    expect(subcode(makeOpen(AS_TRANS, 90, 9, []), 'any')).toBe(2);
  });

  test('identifier, RFC 6286', () => {
    expect(subcode(from(65001, 0))).toBe(3);
    expect(subcode(from(65001, 7))).toBeUndefined();
    expect(subcode(from(65000, 7), 'any')).toBe(3);
  });

  test('hold time', () => {
    expect([0, 1, 2, 3].map((t) => subcode(from(65001, 9, t)))).toEqual([undefined, 6, 6, undefined]);
  });
});

describe('negotiate', () => {
  test('the same on both sides gives everything', () => {
    const n = negotiate(open, { ...open, identifier: 2, holdTime: 30 });
    expect(n.context).toEqual({
      fourOctetAs: true,
      extendedMessages: true,
      peerType: 'internal',
      families: new Set([IPV4_UNICAST, IPV6_UNICAST]),
      extendedNextHop: new Set([IPV4_UNICAST]),
      addPathReceive: new Set(),
      addPathSend: new Set(),
    });
    expect([n.holdTime, n.routeRefresh, n.enhancedRouteRefresh, n.gracefulNotification]).toEqual([
      30,
      true,
      true,
      true,
    ]);
    expect(n.gracefulRestart?.restartTime).toBe(120);
  });

  test('a peer without capabilities speaks IPv4 and two-octet AS numbers', () => {
    const n = negotiate(open, makeOpen(65001, 180, 2, []));
    expect(n.context.families).toEqual(new Set([IPV4_UNICAST]));
    expect([n.context.fourOctetAs, n.context.peerType, n.peerAsn, n.holdTime]).toEqual([false, 'external', 65001, 90]);
    expect(n.gracefulRestart).toBeUndefined();
  });

  test('ADD-PATH needs a sender and a receiver', () => {
    const entry = (receive: boolean, send: boolean) =>
      makeOpen(65000, 90, 1, [{ type: 'add-path', entries: [{ family: IPV4_UNICAST, receive, send }] }]);
    const { context } = negotiate(entry(true, false), entry(false, true));
    expect([context.addPathReceive.size, context.addPathSend.size]).toEqual([1, 0]);
    expect(negotiate(entry(true, false), entry(true, false)).context.addPathReceive.size).toBe(0);
  });
});
