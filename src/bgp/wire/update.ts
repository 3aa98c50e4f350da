/**
 * UPDATE on the way in (RFC 4271 §4.3): structure only. What the attributes mean is for `decodeAttributes`.
 *
 *     +-----------------------------------------------------+
 *     |   Withdrawn Routes Length (2 octets)                |
 *     +-----------------------------------------------------+
 *     |   Withdrawn Routes (variable)                       |
 *     +-----------------------------------------------------+
 *     |   Total Path Attribute Length (2 octets)            |
 *     +-----------------------------------------------------+
 *     |   Path Attributes (variable)                        |
 *     +-----------------------------------------------------+
 *     |   Network Layer Reachability Information (variable) |
 *     +-----------------------------------------------------+
 *
 * Attribute blocks repeat: many UPDATEs carry the very same octets. So the view gives each block as octets without NLRI,
 * ready to be looked up as they are; only those not seen before need decoding.
 */
import {
  AttributeFlag,
  AttributeType,
  ErrorCode,
  HEADER_LENGTH,
  IPV4_UNICAST,
  UpdateError,
  afiSafi,
  type AfiSafi,
} from './iana.ts';
import { mpNextHopLengthValid } from './next-hop.ts';
import { protocolError } from './notification.ts';
import { decodePrefixes, PrefixBuffer } from './prefixes.ts';
import { RouteSource, type ProtocolError, type SessionContext } from './types.ts';

/** A reusable view of one UPDATE; everything in it is valid until the next `decode`. */
export class UpdateView {
  /** The Withdrawn Routes field. */
  readonly withdrawn = new PrefixBuffer();
  /** MP_UNREACH_NLRI, in `mpWithdrawn.family`. */
  readonly mpWithdrawn = new PrefixBuffer();
  /** The NLRI field: routes of `RouteSource.Nlri`. */
  readonly nlri = new PrefixBuffer();
  /** MP_REACH_NLRI, in `mpNlri.family`: routes of `RouteSource.MpReach`. */
  readonly mpNlri = new PrefixBuffer();
  /** The family whose End-of-RIB (RFC 4724 §2) this message is; undefined for every other message. */
  endOfRib: AfiSafi | undefined;
  /** A family in the message that was not negotiated; its routes were passed over. */
  ignoredFamily: AfiSafi | undefined;
  /** Whether there are attributes but no reachable routes of a negotiated family, nor an ignored family. */
  attributesWithoutRoutes = false;

  /** The attribute block last asked for: octets `blockBytes[blockStart, blockEnd)`. */
  blockBytes: Uint8Array = new Uint8Array(0);
  blockStart = 0;
  blockEnd = 0;

  private bytes: Uint8Array = this.blockBytes;
  private attributesStart = 0;
  private attributesEnd = 0;
  private reachStart = -1;
  /** End of the MP_REACH_NLRI attribute's next hop, where the reserved octet stands. */
  private reachHopEnd = 0;
  private reachEnd = 0;
  private unreachStart = -1;
  private unreachEnd = 0;
  private scratch = new Uint8Array(512);

  /**
   * Decodes the whole message (with header) in `bytes[start, end)`. Gives the reason to reset the session when the parts
   * do not fit or NLRI cannot be read (RFC 7606 §3 j, §5.3); routes must not be used then.
   */
  decode(bytes: Uint8Array, start: number, end: number, context: SessionContext): ProtocolError | undefined {
    this.bytes = bytes;
    this.withdrawn.count = this.mpWithdrawn.count = this.nlri.count = this.mpNlri.count = 0;
    this.endOfRib = this.ignoredFamily = undefined;
    this.attributesWithoutRoutes = false;
    this.reachStart = this.unreachStart = -1;

    const withdrawnStart = start + HEADER_LENGTH + 2;
    if (withdrawnStart + 2 > end) return malformed('it is too short');
    const withdrawnEnd = withdrawnStart + u16(bytes, withdrawnStart - 2);
    const attributesStart = withdrawnEnd + 2;
    if (attributesStart > end) return malformed('Withdrawn Routes Length runs past the end');
    const attributesEnd = attributesStart + u16(bytes, withdrawnEnd);
    if (attributesEnd > end) return malformed('Total Path Attribute Length runs past the end');
    this.attributesStart = attributesStart;
    this.attributesEnd = attributesEnd;

    const duplicate = this.findMultiprotocol();
    if (duplicate) return duplicate;

    const plain = context.families.has(IPV4_UNICAST);
    const addPath = context.addPathReceive.has(IPV4_UNICAST);
    if (withdrawnEnd > withdrawnStart) {
      if (!plain) this.ignoredFamily = IPV4_UNICAST;
      else if (!decodePrefixes(bytes, withdrawnStart, withdrawnEnd, IPV4_UNICAST, addPath, this.withdrawn)) {
        return badNetwork('Withdrawn Routes');
      }
    }
    if (end > attributesEnd) {
      if (!plain) this.ignoredFamily = IPV4_UNICAST;
      else if (!decodePrefixes(bytes, attributesEnd, end, IPV4_UNICAST, addPath, this.nlri)) return badNetwork('NLRI');
    }
    const fault =
      (this.reachStart >= 0 ? this.decodeReach(context) : undefined) ??
      (this.unreachStart >= 0 ? this.decodeUnreach(context, end) : undefined);
    if (fault) return fault;

    if (end === start + HEADER_LENGTH + 4) this.endOfRib = IPV4_UNICAST;
    const routes = this.nlri.count + this.mpNlri.count;
    const unreachOnly = this.unreachStart === attributesStart && this.unreachEnd === attributesEnd;
    this.attributesWithoutRoutes =
      routes === 0 && attributesEnd > attributesStart && !unreachOnly && this.ignoredFamily === undefined;
    return undefined;
  }

  /**
   * Sets `blockBytes`, `blockStart` and `blockEnd` to the attributes that go with the routes of `source`. Without
   * MP attributes that is the receive buffer itself; with them a copy, where MP_REACH_NLRI keeps its next hop only.
   */
  block(source: RouteSource): void {
    if (this.reachStart < 0 && this.unreachStart < 0) {
      this.blockBytes = this.bytes;
      this.blockStart = this.attributesStart;
      this.blockEnd = this.attributesEnd;
      return;
    }
    const size = this.attributesEnd - this.attributesStart;
    if (this.scratch.length < size) this.scratch = new Uint8Array(size * 2);
    const reachFirst = this.unreachStart < 0 || (this.reachStart >= 0 && this.reachStart < this.unreachStart);
    let n = 0;
    let at = this.attributesStart;
    for (let i = 0; i < 2; i++) {
      const reach = reachFirst === (i === 0);
      const from = reach ? this.reachStart : this.unreachStart;
      if (from < 0) continue;
      n = this.copy(at, from, n);
      if (reach && source === RouteSource.MpReach) n = this.copyReachHead(n);
      at = reach ? this.reachEnd : this.unreachEnd;
    }
    n = this.copy(at, this.attributesEnd, n);
    this.blockBytes = this.scratch;
    this.blockStart = 0;
    this.blockEnd = n;
  }

  private copy(from: number, to: number, n: number): number {
    const { scratch, bytes } = this;
    for (let i = from; i < to; i++) scratch[n++] = bytes[i]!;
    return n;
  }

  /** MP_REACH_NLRI with its flags, a two-octet length, family, next hop and reserved octet, and no NLRI. */
  private copyReachHead(n: number): number {
    const flags = this.bytes[this.reachStart]!;
    const value = this.reachStart + (flags & AttributeFlag.ExtendedLength ? 4 : 3);
    const length = this.reachHopEnd + 1 - value;
    // at most one octet longer than what it stands for: `scratch` is twice the block, or 512 octets
    this.scratch[n++] = flags | AttributeFlag.ExtendedLength;
    this.scratch[n++] = AttributeType.MpReachNlri;
    this.scratch[n++] = length >> 8;
    this.scratch[n++] = length;
    return this.copy(value, this.reachHopEnd + 1, n);
  }

  /** Walks the attribute headers for MP_REACH_NLRI and MP_UNREACH_NLRI; two of one kind are fatal, RFC 7606 §3 g. */
  private findMultiprotocol(): ProtocolError | undefined {
    const bytes = this.bytes;
    const end = this.attributesEnd;
    let at = this.attributesStart;
    while (at + 3 <= end) {
      const extended = (bytes[at]! & AttributeFlag.ExtendedLength) !== 0;
      if (extended && at + 4 > end) return undefined;
      const next = extended ? at + 4 + u16(bytes, at + 2) : at + 3 + bytes[at + 2]!;
      // an overrun ends the list; `decodeAttributes` meets it again and judges it
      if (next > end) return undefined;
      const type = bytes[at + 1]!;
      if (type === AttributeType.MpReachNlri) {
        if (this.reachStart >= 0) return malformed('MP_REACH_NLRI stands in it twice');
        this.reachStart = at;
        this.reachEnd = next;
      } else if (type === AttributeType.MpUnreachNlri) {
        if (this.unreachStart >= 0) return malformed('MP_UNREACH_NLRI stands in it twice');
        this.unreachStart = at;
        this.unreachEnd = next;
      }
      at = next;
    }
    return undefined;
  }

  /**
   * MP_REACH_NLRI, RFC 4760 §3: AFI (2), SAFI (1), length of next hop (1), next hop, reserved (1), NLRI.
   */
  private decodeReach(context: SessionContext): ProtocolError | undefined {
    const bytes = this.bytes;
    const end = this.reachEnd;
    const value = this.valueOf(this.reachStart);
    if (value + 5 > end) return badMultiprotocol(bytes, this.reachStart, end, 'MP_REACH_NLRI is too short');
    const family = afiSafi(u16(bytes, value), bytes[value + 2]!);
    const hopLength = bytes[value + 3]!;
    this.reachHopEnd = value + 4 + hopLength;
    if (this.reachHopEnd + 1 > end) {
      return badMultiprotocol(bytes, this.reachStart, end, 'the next hop runs past the end of MP_REACH_NLRI');
    }
    if (!context.families.has(family)) {
      this.ignoredFamily = family;
      return undefined;
    }
    if (!mpNextHopLengthValid(family, hopLength, context)) {
      return badMultiprotocol(bytes, this.reachStart, end, `MP_REACH_NLRI has a next hop of ${hopLength} octets`);
    }
    const addPath = context.addPathReceive.has(family);
    if (!decodePrefixes(bytes, this.reachHopEnd + 1, end, family, addPath, this.mpNlri)) {
      return badMultiprotocol(bytes, this.reachStart, end, 'the NLRI of MP_REACH_NLRI cannot be read');
    }
    return undefined;
  }

  /** MP_UNREACH_NLRI, RFC 4760 §4: AFI (2), SAFI (1), withdrawn routes. Alone and empty it is End-of-RIB. */
  private decodeUnreach(context: SessionContext, messageEnd: number): ProtocolError | undefined {
    const bytes = this.bytes;
    const end = this.unreachEnd;
    const value = this.valueOf(this.unreachStart);
    if (value + 3 > end) return badMultiprotocol(bytes, this.unreachStart, end, 'MP_UNREACH_NLRI is too short');
    const family = afiSafi(u16(bytes, value), bytes[value + 2]!);
    if (!context.families.has(family)) {
      this.ignoredFamily = family;
      return undefined;
    }
    const addPath = context.addPathReceive.has(family);
    if (!decodePrefixes(bytes, value + 3, end, family, addPath, this.mpWithdrawn)) {
      return badMultiprotocol(bytes, this.unreachStart, end, 'the NLRI of MP_UNREACH_NLRI cannot be read');
    }
    const alone =
      this.unreachStart === this.attributesStart &&
      end === this.attributesEnd &&
      end === messageEnd &&
      this.withdrawn.count === 0;
    if (alone && value + 3 === end) this.endOfRib = family;
    return undefined;
  }

  private valueOf(attribute: number): number {
    return attribute + (this.bytes[attribute]! & AttributeFlag.ExtendedLength ? 4 : 3);
  }
}

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

const malformed = (reason: string): ProtocolError =>
  protocolError(ErrorCode.UpdateMessage, UpdateError.MalformedAttributeList, `bad UPDATE: ${reason}`);

const badNetwork = (field: string): ProtocolError =>
  protocolError(ErrorCode.UpdateMessage, UpdateError.InvalidNetworkField, `bad UPDATE: ${field} cannot be read`);

/** RFC 4760 §7 names the subcode, RFC 4271 §6.3 the data: the whole attribute. */
const badMultiprotocol = (bytes: Uint8Array, start: number, end: number, reason: string): ProtocolError =>
  protocolError(
    ErrorCode.UpdateMessage,
    UpdateError.OptionalAttribute,
    `bad UPDATE: ${reason}`,
    bytes.subarray(start, Math.min(end, start + 4000)),
  );
