/**
 * NOTIFICATION (RFC 4271 §4.5): the last message of a session.
 *
 *     +---------------+---------------+--------------------------------
 *     | Error code    | Error subcode |   Data (variable)
 *     +---------------+---------------+--------------------------------
 *
 * Cease / Administrative Shutdown and Reset carry a text for people (RFC 9003), Hard Reset the NOTIFICATION that it stands
 * for (RFC 8538 §3.1).
 */
import { CeaseSubcode, ErrorCode } from './iana.ts';
import type { NotificationMessage, ProtocolError } from './types.ts';

/** A fault of the peer's: what to send it and why. */
export function protocolError(
  code: number,
  subcode: number,
  reason: string,
  data: ArrayLike<number> = [],
): ProtocolError {
  return { notification: { code, subcode, data: Uint8Array.from(data) }, reason };
}

/** RFC 9003 §2: the text has at most 255 octets. */
const MAX_SHUTDOWN_TEXT = 255;

/** Cease with Administrative Shutdown or Reset; a text that is too long is cut between characters. */
export function ceaseNotification(subcode: number, text = ''): NotificationMessage {
  if (text === '') return { code: ErrorCode.Cease, subcode, data: new Uint8Array(0) };
  const utf8 = new TextEncoder().encode(text);
  let length = Math.min(utf8.length, MAX_SHUTDOWN_TEXT);
  while (length > 0 && length < utf8.length && (utf8[length]! & 0xc0) === 0x80) length--;
  const data = new Uint8Array(1 + length);
  data[0] = length;
  data.set(utf8.subarray(0, length), 1);
  return { code: ErrorCode.Cease, subcode, data };
}

/** The RFC 9003 text of a Cease; undefined when there is none or it is not UTF-8. It is not yet fit for a terminal. */
export function shutdownText(n: NotificationMessage): string | undefined {
  const carriesText =
    n.code === ErrorCode.Cease &&
    (n.subcode === CeaseSubcode.AdministrativeShutdown || n.subcode === CeaseSubcode.AdministrativeReset);
  const length = n.data[0];
  if (!carriesText || length === undefined || length === 0 || 1 + length > n.data.length) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(n.data.subarray(1, 1 + length));
  } catch {
    return undefined;
  }
}

/** Wraps a NOTIFICATION so that it ends the session for good although both sides agreed on RFC 8538. */
export function hardReset(inner: NotificationMessage): NotificationMessage {
  const data = new Uint8Array(2 + inner.data.length);
  data[0] = inner.code;
  data[1] = inner.subcode;
  data.set(inner.data, 2);
  return { code: ErrorCode.Cease, subcode: CeaseSubcode.HardReset, data };
}

export const isHardReset = (n: NotificationMessage): boolean =>
  n.code === ErrorCode.Cease && n.subcode === CeaseSubcode.HardReset;

/** The NOTIFICATION inside a Hard Reset; the message itself otherwise. */
export function unwrapHardReset(n: NotificationMessage): NotificationMessage {
  if (!isHardReset(n) || n.data.length < 2) return n;
  return { code: n.data[0]!, subcode: n.data[1]!, data: n.data.subarray(2) };
}
