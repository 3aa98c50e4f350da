/**
 * Path attributes to octets, ordered by type. Runs once per attribute set and group of peers that are sent the same.
 */
import { Writer } from '../../base/mod.ts';
import { encodeAsPath, encodedAsPathLength, hasFourOctetAsn } from './as-path.ts';
import { encodeWords } from './communities.ts';
import {
  Afi,
  type AfiSafi,
  afiOf,
  AS_TRANS,
  AttributeFlag,
  AttributeType,
  IPV4_UNICAST,
  safiOf,
  SegmentType,
} from './iana.ts';
import type { Aggregator, NextHop, PathAttributes, SessionContext, UnknownAttribute } from './types.ts';

/** An attribute set ready to be sent with routes of one family; immutable, shared by all peers of a group. */
export interface EncodedAttributes {
  readonly family: AfiSafi;
  /** All attributes but MP_REACH_NLRI, ordered by type. */
  readonly octets: Uint8Array;
  /** AFI, SAFI, next hop and reserved octet of MP_REACH_NLRI; undefined when the routes go into the NLRI field. */
  readonly mpReach: Uint8Array | undefined;
}

const wellKnown = AttributeFlag.Transitive;
const optional = AttributeFlag.Optional;
const optionalTransitive = AttributeFlag.Optional | AttributeFlag.Transitive;

/**
 * IPv4 unicast with an IPv4 next hop goes into NEXT_HOP and the NLRI field, everything else into MP_REACH_NLRI. For a peer
 * without four-octet AS numbers AS_TRANS, AS4_PATH and AS4_AGGREGATOR are made (RFC 6793 §4.2.2). Says nothing about policy:
 * what may not be sent (LOCAL_PREF to an external peer …) must be gone from `attributes`.
 */
export function encodeAttributes(
  attributes: PathAttributes,
  family: AfiSafi,
  context: Pick<SessionContext, 'fourOctetAs'>,
): EncodedAttributes {
  const w = scratch.reset();
  const a = attributes;
  const inNlri = family === IPV4_UNICAST && a.nextHop.address.length === 4;
  const four = context.fourOctetAs;
  const asOctets = four ? 4 : 2;
  const unknown = new UnknownEncoder(a.unknown);

  header(w, wellKnown, AttributeType.Origin, 1);
  w.u8(a.origin);
  header(w, wellKnown, AttributeType.AsPath, encodedAsPathLength(a.asPath, asOctets));
  encodeAsPath(a.asPath, asOctets, w);
  if (inNlri) {
    header(w, wellKnown, AttributeType.NextHop, 4);
    w.put(a.nextHop.address);
  }
  if (a.med !== undefined) {
    header(w, optional, AttributeType.MultiExitDisc, 4);
    w.u32(a.med);
  }
  if (a.localPref !== undefined) {
    header(w, wellKnown, AttributeType.LocalPref, 4);
    w.u32(a.localPref);
  }
  if (a.atomicAggregate) header(w, wellKnown, AttributeType.AtomicAggregate, 0);
  if (a.aggregator) {
    header(w, transitive(a, AttributeType.Aggregator), AttributeType.Aggregator, four ? 8 : 6);
    if (four) w.u32(a.aggregator.asn);
    else w.u16(a.aggregator.asn > 0xffff ? AS_TRANS : a.aggregator.asn);
    w.u32(a.aggregator.address);
  }
  words(w, transitive(a, AttributeType.Communities), AttributeType.Communities, a.communities);
  if (a.originatorId !== undefined) {
    header(w, optional, AttributeType.OriginatorId, 4);
    w.u32(a.originatorId);
  }
  words(w, optional, AttributeType.ClusterList, a.clusterList);
  unknown.below(w, AttributeType.ExtendedCommunities);
  const extendedFlags = transitive(a, AttributeType.ExtendedCommunities);
  words(w, extendedFlags, AttributeType.ExtendedCommunities, a.extendedCommunities);
  if (!four) encodeAs4(w, a, a.aggregator);
  unknown.below(w, AttributeType.LargeCommunities);
  words(w, transitive(a, AttributeType.LargeCommunities), AttributeType.LargeCommunities, a.largeCommunities);
  unknown.below(w, 256);
  return { family, octets: w.copy(), mpReach: inNlri ? undefined : encodeMpReach(family, a.nextHop) };
}

/**
 * Whether attributes can be written down at all: the length of each is two octets. What neighbours send always can; a policy
 * may add to it, and AS numbers of two octets become ones of four.
 */
export function attributesFit(a: PathAttributes): boolean {
  const longest = Math.max(
    encodedAsPathLength(a.asPath, 4),
    4 * Math.max(a.communities.length, a.clusterList.length, a.extendedCommunities.length, a.largeCommunities.length),
  );
  return longest <= 0xffff;
}

const scratch = new Writer(4096);

function header(w: Writer, flags: number, type: number, length: number): void {
  if (length > 255)
    w.u8(flags | AttributeFlag.ExtendedLength)
      .u8(type)
      .u16(length);
  else w.u8(flags).u8(type).u8(length);
}

function words(w: Writer, flags: number, type: number, values: readonly number[]): void {
  if (values.length === 0) return;
  header(w, flags, type, values.length * 4);
  encodeWords(values, w);
}

/** Optional transitive, with the Partial bit if it came with it. */
const transitive = (a: PathAttributes, type: number): number =>
  optionalTransitive | (a.partial & (1 << (type & 31)) ? AttributeFlag.Partial : 0);

/** RFC 6793 §4.2.2: only what the two-octet forms cannot say. */
function encodeAs4(w: Writer, a: PathAttributes, aggregator: Aggregator | undefined): void {
  if (hasFourOctetAsn(a.asPath)) {
    const path = a.asPath.filter((s) => s.type === SegmentType.Set || s.type === SegmentType.Sequence);
    header(w, optionalTransitive, AttributeType.As4Path, encodedAsPathLength(path, 4));
    encodeAsPath(path, 4, w);
  }
  if (aggregator && aggregator.asn > 0xffff) {
    header(w, optionalTransitive, AttributeType.As4Aggregator, 8);
    w.u32(aggregator.asn).u32(aggregator.address);
  }
}

/** AFI (2), SAFI (1), length of next hop (1), next hop, reserved (1), RFC 4760 §3. */
function encodeMpReach(family: AfiSafi, nextHop: NextHop): Uint8Array {
  const { address, linkLocal } = nextHop;
  const w = new Writer(40);
  w.u16(afiOf(family)).u8(safiOf(family));
  // RFC 8950 and RFC 4760 routes of IPv6 with an IPv4 next hop travel as IPv4-mapped addresses
  const mapped = afiOf(family) === Afi.IPv6 && address.length === 4;
  w.u8((mapped ? 16 : address.length) + (linkLocal?.length ?? 0));
  if (mapped) w.zeros(10).u16(0xffff);
  w.put(address);
  if (linkLocal) w.put(linkLocal);
  return w.u8(0).copy();
}

/** Unknown attributes find their places between the known ones; RFC 4271 §5: passed on with the Partial bit. */
class UnknownEncoder {
  private readonly attributes: readonly UnknownAttribute[];
  private next = 0;

  constructor(attributes: readonly UnknownAttribute[]) {
    this.attributes = attributes;
  }

  below(w: Writer, type: number): void {
    for (; this.next < this.attributes.length; this.next++) {
      const attribute = this.attributes[this.next]!;
      if (attribute.type >= type) return;
      const flags = (attribute.flags | AttributeFlag.Partial) & ~AttributeFlag.ExtendedLength;
      header(w, flags, attribute.type, attribute.value.length);
      w.put(attribute.value);
    }
  }
}
