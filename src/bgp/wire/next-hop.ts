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

/** From 4, 16 or 32 octets. */
export function nextHopFromOctets(octets: Uint8Array): NextHop {
  if (octets.length < 32) return { address: octets.slice(), linkLocal: undefined };
  return { address: octets.slice(0, 16), linkLocal: octets.slice(16, 32) };
}

export function sameNextHop(a: NextHop, b: NextHop): boolean {
  return sameOctets(a.address, b.address) && sameOctets(a.linkLocal, b.linkLocal);
}

function sameOctets(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (!a || !b || a.length !== b.length) return a === b;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
