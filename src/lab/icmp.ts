/**
 * ICMP echo (RFC 792, RFC 4443) as far as a prober needs it. A raw IPv4 socket gives packets with their IP header and wants
 * the checksum made; an IPv6 one gives the message alone, and the kernel makes and checks its checksum.
 */
import { Reader, Writer } from '../base/mod.ts';
import { addressFromBytes } from '../net/mod.ts';
import type { Family, IpAddress } from '../net/mod.ts';
import { AF, openSocket, receiveFrom, SOCK } from '../sys/mod.ts';
import type { Fd } from '../sys/mod.ts';

const PROTOCOL = { 4: 1, 6: 58 } as const;
const ECHO_REPLY = { 4: 0, 6: 129 } as const;
const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
const IP_HEADER_BYTES = 20;

export interface Echo {
  readonly kind: 'request' | 'reply';
  readonly payload: Uint8Array;
}

/** The Internet checksum, RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** A raw socket in the namespace this thread is in, which does not wait. */
export const openIcmp = (family: Family): Fd =>
  openSocket(family === 4 ? AF.INET : AF.INET6, SOCK.RAW | SOCK.NONBLOCK, PROTOCOL[family]);

/**
 *     0                   1                   2                   3
 *     |     Type      |     Code      |          Checksum             |
 *     |           Identifier          |        Sequence Number        |
 *     |     Data ...
 */
export function encodeEchoRequest(
  family: Family,
  identifier: number,
  sequence: number,
  payload: Uint8Array,
): Uint8Array {
  const message = new Writer(8 + payload.length)
    .u8(ECHO_REQUEST[family])
    .u8(0)
    .u16(0)
    .u16(identifier)
    .u16(sequence)
    .put(payload);
  message.patchU16(2, checksum(message.view()));
  return message.copy();
}

/** Undefined for whatever is not a whole echo request or reply. */
export function decodeEcho(family: Family, packet: Uint8Array): Echo | undefined {
  const reader = new Reader(packet);
  if (family === 4) {
    const headerBytes = (reader.u8() & 0xf) * 4;
    if (headerBytes < IP_HEADER_BYTES) return undefined;
    reader.skip(headerBytes - 1);
  }
  const type = reader.u8();
  reader.skip(7);
  if (reader.failed || (type !== ECHO_REQUEST[family] && type !== ECHO_REPLY[family])) return undefined;
  const payload = reader.view(reader.remaining).slice();
  return { kind: type === ECHO_REQUEST[family] ? 'request' : 'reply', payload };
}

/** Takes what came to a raw socket, until nothing is left. */
export function* receivedEchoes(socket: Fd, family: Family): Generator<Echo & { readonly source: IpAddress }> {
  const [packet, from] = [new Uint8Array(2048), new Uint8Array(28)];
  for (let length = receiveFrom(socket, packet, from); length > 0; length = receiveFrom(socket, packet, from)) {
    const echo = decodeEcho(family, packet.subarray(0, length));
    if (echo) yield { ...echo, source: addressFromBytes(family === 4 ? from.slice(4, 8) : from.slice(8, 24)) };
  }
}
