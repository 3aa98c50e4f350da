/**
 * The messages that are not OPEN or UPDATE: KEEPALIVE (RFC 4271 §4.4), NOTIFICATION (§4.5) and ROUTE-REFRESH (RFC 2918,
 * 7313). Encoders give whole messages with header.
 */
import {
  afiOf,
  afiSafi,
  ErrorCode,
  HEADER_LENGTH,
  MAX_MESSAGE_LENGTH,
  MessageType,
  RefreshSubtype,
  RouteRefreshError,
  safiOf,
} from './iana.ts';
import { protocolError } from './notification.ts';
import { err, ok, type Result } from '../../base/mod.ts';
import type { NotificationMessage, ProtocolError, RouteRefreshMessage } from './types.ts';

/** Writes the 19 octets of RFC 4271 §4.1 at `at`. */
export function writeHeader(bytes: Uint8Array, at: number, length: number, type: MessageType): void {
  bytes.fill(0xff, at, at + 16);
  bytes[at + 16] = length >> 8;
  bytes[at + 17] = length;
  bytes[at + 18] = type;
}

export function encodeKeepalive(): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH);
  writeHeader(bytes, 0, HEADER_LENGTH, MessageType.Keepalive);
  return bytes;
}

/** Data that would not fit into 4096 octets is cut. */
export function encodeNotification(n: NotificationMessage): Uint8Array {
  const data = n.data.subarray(0, MAX_MESSAGE_LENGTH - HEADER_LENGTH - 2);
  const bytes = new Uint8Array(HEADER_LENGTH + 2 + data.length);
  writeHeader(bytes, 0, bytes.length, MessageType.Notification);
  bytes[19] = n.code;
  bytes[20] = n.subcode;
  bytes.set(data, 21);
  return bytes;
}

/** `bytes[start, end)` is a whole message that a `Framer` gave. */
export function decodeNotification(bytes: Uint8Array, start: number, end: number): NotificationMessage {
  const at = start + HEADER_LENGTH;
  return { code: bytes[at] ?? 0, subcode: bytes[at + 1] ?? 0, data: bytes.slice(at + 2, end) };
}

/**
 *     +-------------------------------+---------------+---------------+
 *     |   AFI                         |   Subtype     |   SAFI        |
 *     +-------------------------------+---------------+---------------+
 */
export function encodeRouteRefresh(m: RouteRefreshMessage): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + 4);
  writeHeader(bytes, 0, bytes.length, MessageType.RouteRefresh);
  bytes[19] = afiOf(m.family) >> 8;
  bytes[20] = afiOf(m.family);
  bytes[21] = m.subtype;
  bytes[22] = safiOf(m.family);
  return bytes;
}

/**
 * A plain request may be followed by filters (RFC 5291), which are passed over. Gives undefined for a subtype that is not
 * known, to be ignored (RFC 7313 §5); a BoRR or EoRR of a wrong length is an error.
 */
export function decodeRouteRefresh(
  bytes: Uint8Array,
  start: number,
  end: number,
): Result<RouteRefreshMessage | undefined, ProtocolError> {
  const at = start + HEADER_LENGTH;
  const subtype = bytes[at + 2]!;
  const known =
    subtype === RefreshSubtype.Request ||
    subtype === RefreshSubtype.BeginOfRefresh ||
    subtype === RefreshSubtype.EndOfRefresh;
  if (!known) return ok(undefined);
  if (end - at < 4 || (subtype !== RefreshSubtype.Request && end - at !== 4)) {
    const reason = `bad ROUTE-REFRESH: length ${end - start} for subtype ${subtype}`;
    const data = bytes.subarray(start, end);
    return err(protocolError(ErrorCode.RouteRefresh, RouteRefreshError.InvalidLength, reason, data));
  }
  return ok({ family: afiSafi((bytes[at]! << 8) | bytes[at + 1]!, bytes[at + 3]!), subtype });
}
