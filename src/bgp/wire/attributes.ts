/**
 * Path attributes (RFC 4271 §5): a block of octets to `PathAttributes` and back. Decoding runs once per distinct block,
 * encoding once per attribute set and peer group.
 */
import type { AfiSafi } from './iana.ts';
import type { AttributeOutcome, PathAttributes, RouteSource, SessionContext } from './types.ts';

/** Decodes and validates the block `bytes[start, end)` of `UpdateView.block(source)`; nothing in the result aliases it. */
export function decodeAttributes(
  _bytes: Uint8Array,
  _start: number,
  _end: number,
  _source: RouteSource,
  _context: SessionContext,
): AttributeOutcome {
  throw new Error('coming with the next merge');
}

/** An attribute set ready to be sent with routes of one family; immutable, shared by all peers of a group. */
export interface EncodedAttributes {
  readonly family: AfiSafi;
  /** All attributes but MP_REACH_NLRI, ordered by type. */
  readonly octets: Uint8Array;
  /** AFI, SAFI, next hop and reserved octet of MP_REACH_NLRI; undefined when the routes go into the NLRI field. */
  readonly mpReach: Uint8Array | undefined;
}

/**
 * IPv4 unicast with an IPv4 next hop goes into NEXT_HOP and the NLRI field, everything else into MP_REACH_NLRI. For a peer
 * without four-octet AS numbers AS_TRANS, AS4_PATH and AS4_AGGREGATOR are made (RFC 6793 §4.2.2). Says nothing about policy:
 * what may not be sent (LOCAL_PREF to an external peer …) must be gone from `attributes`.
 */
export function encodeAttributes(
  _attributes: PathAttributes,
  _family: AfiSafi,
  _context: SessionContext,
): EncodedAttributes {
  throw new Error('coming with the next merge');
}
