/**
 * OPEN (RFC 4271 §4.2), with extended optional parameters (RFC 9072) on both ways; capabilities have a module of their own.
 *
 *     +---------------+
 *     |    Version    |
 *     +---------------+---------------+
 *     |     My Autonomous System      |
 *     +-------------------------------+
 *     |           Hold Time           |
 *     +-------------------------------+-------------------------------+
 *     |                         BGP Identifier                        |
 *     +---------------+-----------------------------------------------+
 *     | Opt Parm Len  |  Optional Parameters: type, length, value …
 *     +---------------+-------------------------------
 *
 * With RFC 9072 the length is 255, an octet 255 and a length of two octets follow, and parameters have lengths of two.
 */
import { err, ok, type Result, Writer } from '../../base/mod.ts';
import { decodeCapabilities, encodeCapability } from './capabilities.ts';
import { u32 } from './communities.ts';
import {
  AS_TRANS,
  BGP_VERSION,
  ErrorCode,
  HEADER_LENGTH,
  MAX_MESSAGE_LENGTH,
  MessageType,
  OpenError,
  OpenParameter,
} from './iana.ts';
import { writeHeader } from './messages.ts';
import { protocolError } from './notification.ts';
import type { Capability, OpenMessage, ProtocolError } from './types.ts';

/** An OPEN of our own: the two-octet field follows from `asn`, and the four-octet capability is to be among the rest. */
export function makeOpen(
  asn: number,
  holdTime: number,
  identifier: number,
  capabilities: readonly Capability[],
): OpenMessage {
  return { version: BGP_VERSION, myAs: asn > 0xffff ? AS_TRANS : asn, holdTime, identifier, capabilities };
}

/** A whole message with header. All capabilities go into one parameter (RFC 5492 §4). */
export function encodeOpen(open: OpenMessage): Uint8Array {
  const value = new Writer(256);
  for (const capability of open.capabilities) {
    const before = value.length;
    encodeCapability(capability, value);
    // OPEN never exceeds 4096 octets, not even with RFC 8654
    if (HEADER_LENGTH + 10 + 6 + value.length > MAX_MESSAGE_LENGTH) value.length = before;
  }
  const w = new Writer(512).zeros(HEADER_LENGTH);
  w.u8(open.version).u16(open.myAs).u16(open.holdTime).u32(open.identifier);
  if (value.length > 253) {
    w.u8(255)
      .u8(OpenParameter.ExtendedLength)
      .u16(3 + value.length);
    w.u8(OpenParameter.Capabilities).u16(value.length).put(value.view());
  } else if (value.length > 0) {
    w.u8(2 + value.length)
      .u8(OpenParameter.Capabilities)
      .u8(value.length)
      .put(value.view());
  } else w.u8(0);
  writeHeader(w.bytes, 0, w.length, MessageType.Open);
  return w.copy();
}

/** Decodes the whole message in `bytes[start, end)`; what the values mean is for `validateOpen`. */
export function decodeOpen(bytes: Uint8Array, start: number, end: number): Result<OpenMessage, ProtocolError> {
  const at = start + HEADER_LENGTH;
  if (at + 10 > end) return err(malformed('it is too short'));
  const version = bytes[at]!;
  if (version !== BGP_VERSION) {
    // what follows may look different; RFC 4271 §6.2: the data is the version to try instead
    const reason = `bad OPEN: version ${version}`;
    return err(protocolError(ErrorCode.OpenMessage, OpenError.UnsupportedVersion, reason, [0, BGP_VERSION]));
  }
  const extended = bytes[at + 9] === 255 && bytes[at + 10] === OpenParameter.ExtendedLength;
  if (extended && at + 13 > end) return err(malformed('the extended length of its parameters is missing'));
  const first = extended ? at + 13 : at + 10;
  const length = extended ? u16(bytes, at + 11) : bytes[at + 9]!;
  if (first + length !== end) return err(malformed(`its parameters have ${end - first} octets, not ${length}`));
  const capabilities = decodeParameters(bytes, first, end, extended ? 2 : 1);
  if (!capabilities.ok) return capabilities;
  return ok({
    version,
    myAs: u16(bytes, at + 1),
    holdTime: u16(bytes, at + 3),
    identifier: u32(bytes, at + 5),
    capabilities: capabilities.value,
  });
}

function decodeParameters(
  bytes: Uint8Array,
  start: number,
  end: number,
  lengthOctets: 1 | 2,
): Result<Capability[], ProtocolError> {
  const capabilities: Capability[] = [];
  let at = start;
  while (at < end) {
    const value = at + 1 + lengthOctets;
    if (value > end) return err(malformed('a parameter runs past the end'));
    const type = bytes[at]!;
    const next = value + (lengthOctets === 2 ? u16(bytes, at + 1) : bytes[at + 1]!);
    if (next > end) return err(malformed('a parameter runs past the end'));
    if (type !== OpenParameter.Capabilities) {
      const reason = `bad OPEN: optional parameter ${type}`;
      return err(protocolError(ErrorCode.OpenMessage, OpenError.UnsupportedParameter, reason));
    }
    const found = decodeCapabilities(bytes, value, next);
    if (!found) return err(malformed('a capability runs past the end'));
    capabilities.push(...found);
    at = next;
  }
  return ok(capabilities);
}

const malformed = (reason: string): ProtocolError => protocolError(ErrorCode.OpenMessage, 0, `bad OPEN: ${reason}`);

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
