/**
 * The next hop, in NEXT_HOP (RFC 4271 §5.1.3) or in MP_REACH_NLRI (RFC 4760 §3): one IPv4 address, one IPv6 address, or a
 * global and a link-local IPv6 address (RFC 2545 §3).
 */
import { Afi, type AfiSafi, afiOf } from './iana.ts';
import type { NextHop, SessionContext } from './types.ts';

/** Whether MP_REACH_NLRI of the family may carry so many octets; IPv6 next hops of IPv4 routes need RFC 8950. */
export function mpNextHopLengthValid(family: AfiSafi, length: number, context: SessionContext): boolean {
  if (afiOf(family) === Afi.IPv6) return length === 16 || length === 32;
  return length === 4 || (context.extendedNextHop.has(family) && (length === 16 || length === 32));
}

/**
 * The next hop in `octets` (4, 16 or 32 of them); undefined when it is no address of a host. Of the pair of RFC 2545
 * senders leave one half unspecified, or put the link-local address into the first: what is usable is used.
 */
export function decodeNextHop(octets: Uint8Array): NextHop | undefined {
  if (octets.length < 32) {
    return isHostAddress(octets) ? { address: octets.slice(), linkLocal: undefined } : undefined;
  }
  const first = octets.slice(0, 16);
  const second = octets.slice(16, 32);
  const linkLocal = isLinkLocal(second) ? second : undefined;
  if (isHostAddress(first)) return { address: first, linkLocal };
  return linkLocal && first.every((b) => b === 0) ? { address: linkLocal, linkLocal: undefined } : undefined;
}

/** Not unspecified, not loopback, not multicast, not broadcast (RFC 4271 §6.3: "a valid IP host address"). */
export function isHostAddress(octets: Uint8Array): boolean {
  if (octets.length === 4) {
    const first = octets[0]!;
    return first !== 0 && first !== 127 && (first < 224 || first > 239) && !octets.every((b) => b === 0xff);
  }
  if (octets[0] === 0xff) return false;
  for (let i = 0; i < 15; i++) if (octets[i] !== 0) return true;
  return octets[15]! > 1;
}

const isLinkLocal = (octets: Uint8Array): boolean => octets[0] === 0xfe && (octets[1]! & 0xc0) === 0x80;

export function sameNextHop(a: NextHop, b: NextHop): boolean {
  return sameOctets(a.address, b.address) && sameOctets(a.linkLocal, b.linkLocal);
}

function sameOctets(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (!a || !b || a.length !== b.length) return a === b;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
