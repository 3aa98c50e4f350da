// Damaged messages: whatever comes, decoders neither throw nor hang, and what they accept they can encode again.
// A long run: GODWIT_FUZZ_ROUNDS=5000000 npm test fuzz/bgp-mutation.test.ts
import { expect, test } from 'bun:test';
import {
  decodeAttributes,
  decodeNotification,
  decodeOpen,
  decodeRouteRefresh,
  encodeAttributes,
  encodeNotification,
  encodeOpen,
  Framer,
  FrameStatus,
  IPV4_UNICAST,
  IPV6_UNICAST,
  MessageType,
  negotiate,
  RouteSource,
  type SessionContext,
  shutdownText,
  unwrapHardReset,
  UpdateView,
  validateOpen,
} from '../src/bgp/wire/mod.ts';
import { anyMessage, damage } from './bgp-damage.ts';
import { anyContext, anyOpen } from './bgp-values.ts';
import { fuzzRun, type Random } from './random.ts';

const expectation = { localAsn: 65000, localIdentifier: 1, remoteAs: 'any' } as const;

function survive(r: Random, framer: Framer, view: UpdateView, context: SessionContext): void {
  const { bytes, start, end } = framer;
  switch (framer.type) {
    case MessageType.Open: {
      const open = decodeOpen(bytes, start, end);
      if (!open.ok) return;
      validateOpen(open.value, expectation);
      negotiate(anyOpen(r), open.value);
      const again = encodeOpen(open.value);
      expect(decodeOpen(again, 0, again.length).ok).toBe(true);
      return;
    }
    case MessageType.Notification: {
      const notification = decodeNotification(bytes, start, end);
      shutdownText(unwrapHardReset(notification));
      expect(encodeNotification(notification)).toEqual(bytes.slice(start, end));
      return;
    }
    case MessageType.RouteRefresh:
      decodeRouteRefresh(bytes, start, end);
      return;
    case MessageType.Update:
      surviveUpdate(bytes, start, end, view, context);
      return;
    default:
  }
}

function surviveUpdate(bytes: Uint8Array, start: number, end: number, view: UpdateView, context: SessionContext): void {
  const error = view.decode(bytes, start, end, context);
  if (error) {
    expect(error.notification.code).toBe(3);
    expect(error.notification.data.length).toBeLessThan(4076);
    return;
  }
  const length = end - start;
  for (const buffer of [view.withdrawn, view.mpWithdrawn, view.nlri, view.mpNlri]) {
    expect(buffer.count).toBeLessThan(length);
    for (let i = 0; i < buffer.count; i++) expect(buffer.lengths[i]!).toBeLessThanOrEqual(32 * buffer.stride);
  }
  for (const source of [RouteSource.None, RouteSource.Nlri, RouteSource.MpReach]) {
    view.block(source);
    expect(view.blockEnd - view.blockStart).toBeLessThan(length + 2);
    const outcome = decodeAttributes(view.blockBytes, view.blockStart, view.blockEnd, source, context);
    if (outcome.treatment !== 'ok') expect(outcome.faults.length).toBeLessThanOrEqual(16);
    if (source === RouteSource.None || !('attributes' in outcome)) continue;
    // what was taken in can be sent on, and says the same to the next speaker
    const family = outcome.attributes.nextHop.address.length === 4 ? IPV4_UNICAST : IPV6_UNICAST;
    const internal: SessionContext = { ...context, peerType: 'internal', fourOctetAs: true };
    const { octets, mpReach } = encodeAttributes(outcome.attributes, family, internal);
    const block = mpReach ? Uint8Array.of(0x80, 14, mpReach.length, ...mpReach, ...octets) : octets;
    const way = mpReach ? RouteSource.MpReach : RouteSource.Nlri;
    const again = decodeAttributes(block, 0, block.length, way, internal);
    const unknown = outcome.attributes.unknown.map((u) => ({ ...u, flags: u.flags | 0x20 }));
    expect(again).toEqual({ treatment: 'ok', attributes: { ...outcome.attributes, unknown } });
  }
}

test('damaged messages', () => {
  const { random: r, rounds } = fuzzRun('mutation', 30_000);
  const view = new UpdateView();
  for (let i = 0; i < rounds; i++) {
    const context = anyContext(r);
    const framer = new Framer();
    const bytes = damage(r, anyMessage(r, context));
    // in pieces, as a hostile peer would
    for (let at = 0; at < bytes.length;) {
      const n = r.chance(4) ? 1 + r.below(5) : bytes.length - at;
      framer.push(bytes.subarray(at, at + n));
      at += n;
      while (framer.next() === FrameStatus.Message) survive(r, framer, view, context);
    }
  }
});
