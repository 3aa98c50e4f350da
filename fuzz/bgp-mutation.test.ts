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
  encodeRouteRefresh,
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
  UpdateWriter,
  validateOpen,
} from '../src/bgp/wire/mod.ts';
import { anyAttributes, anyContext, anyOpen } from './bgp-values.ts';
import { fuzzRun, type Random } from './random.ts';

function anyMessage(r: Random, context: SessionContext): Uint8Array {
  switch (r.below(12)) {
    case 0:
      return encodeOpen(anyOpen(r));
    case 1:
      return encodeNotification({ code: r.below(9), subcode: r.below(12), data: r.bytes(r.below(40)) });
    case 2:
      return encodeRouteRefresh({ family: r.pick([IPV4_UNICAST, IPV6_UNICAST]), subtype: r.pick([0, 1, 2]) });
    default: {
      const family = r.pick([IPV4_UNICAST, IPV6_UNICAST]);
      const writer = new UpdateWriter();
      if (r.chance(4)) writer.withdraw(family);
      else writer.announce(encodeAttributes(anyAttributes(r, family), family, context));
      for (let n = r.below(6); n >= 0; n--) {
        if (family === IPV4_UNICAST) writer.add4(r.u32(), r.below(33));
        else writer.add6(r.u32(), r.u32(), r.u32(), r.u32(), r.below(129));
      }
      writer.finish();
      return writer.out.copy();
    }
  }
}

/** Flips, overwrites, cuts out, repeats or inserts octets; mostly leaves marker and length alone, which are soon found. */
function damage(r: Random, message: Uint8Array): Uint8Array {
  let bytes = message;
  for (let n = r.below(4); n >= 0; n--) {
    const from = r.chance(10) ? 0 : Math.min(18, bytes.length - 1);
    const at = from + r.below(bytes.length - from);
    switch (r.below(6)) {
      case 0:
        bytes[at]! ^= 1 << r.below(8);
        break;
      case 1:
        bytes[at] = r.pick([0, 1, 2, 3, 4, 8, 14, 15, 16, 17, 127, 128, 254, 255]);
        break;
      case 2:
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(Math.min(bytes.length, at + 1 + r.below(6))));
        break;
      case 3:
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...r.bytes(1 + r.below(6)), ...bytes.subarray(at));
        break;
      case 4: {
        const piece = bytes.subarray(at, at + 1 + r.below(20));
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...piece, ...bytes.subarray(at));
        break;
      }
      default:
        bytes = bytes.slice(0, at + 1);
    }
    if (bytes.length < 20) return bytes;
  }
  // keep the length true most of the time, so that the body is reached
  if (!r.chance(8)) {
    bytes[16] = bytes.length >> 8;
    bytes[17] = bytes.length;
  }
  return bytes;
}

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
