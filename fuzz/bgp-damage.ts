/** Whole messages of every kind, and ways to damage them. */
import {
  encodeAttributes,
  encodeNotification,
  encodeOpen,
  encodeRouteRefresh,
  IPV4_UNICAST,
  IPV6_UNICAST,
  type SessionContext,
  UpdateWriter,
} from '../src/bgp/wire/mod.ts';
import { anyAttributes, anyOpen } from './bgp-values.ts';
import type { Random } from './random.ts';

export function anyMessage(r: Random, context: SessionContext): Uint8Array {
  switch (r.below(12)) {
    case 0:
      return encodeOpen(anyOpen(r));
    case 1:
      return encodeNotification({ code: r.below(9), subcode: r.below(12), data: r.bytes(r.below(40)) });
    case 2:
      return encodeRouteRefresh({ family: r.pick([IPV4_UNICAST, IPV6_UNICAST]), subtype: r.pick([0, 1, 2]) });
    default:
      return anyUpdate(r, context);
  }
}

export function anyUpdate(r: Random, context: SessionContext): Uint8Array {
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

/** Flips, overwrites, cuts out, repeats or inserts octets; mostly leaves marker and length alone, which are soon found. */
export function damage(r: Random, message: Uint8Array): Uint8Array {
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
