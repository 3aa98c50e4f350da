/** ICMP echo (RFC 792) as far as a prober needs it; decoders take what a raw IPv4 socket gives, IP header included. */
import { Reader, Writer } from '../base/mod.ts';
import { addressFromBytes } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';

export const ICMP_PROTOCOL = 1;
const ECHO_REPLY = 0;
const ECHO_REQUEST = 8;
const IP_HEADER_BYTES = 20;

export interface Echo {
  readonly kind: 'request' | 'reply';
  /** Who sent the packet, as its IP header says. */
  readonly source: IpAddress;
  readonly payload: Uint8Array;
}

/** The Internet checksum, RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/**
 *     0                   1                   2                   3
 *     |     Type      |     Code      |          Checksum             |
 *     |           Identifier          |        Sequence Number        |
 *     |     Data ...
 */
export function encodeEchoRequest(identifier: number, sequence: number, payload: Uint8Array): Uint8Array {
  const message = new Writer(8 + payload.length)
    .u8(ECHO_REQUEST)
    .u8(0)
    .u16(0)
    .u16(identifier)
    .u16(sequence)
    .put(payload);
  message.patchU16(2, checksum(message.view()));
  return message.copy();
}

/** Undefined for whatever is not a whole echo request or reply. */
export function decodeEcho(packet: Uint8Array): Echo | undefined {
  const reader = new Reader(packet);
  const headerBytes = (reader.u8() & 0xf) * 4;
  reader.skip(11);
  const source = reader.view(4);
  reader.skip(headerBytes - 16);
  const type = reader.u8();
  reader.skip(7);
  if (reader.failed || headerBytes < IP_HEADER_BYTES || (type !== ECHO_REQUEST && type !== ECHO_REPLY))
    return undefined;
  const payload = reader.view(reader.remaining).slice();
  return { kind: type === ECHO_REQUEST ? 'request' : 'reply', source: addressFromBytes(source), payload };
}
