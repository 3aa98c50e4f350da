/**
 * UPDATE on the way out (RFC 4271 §4.3): packs the prefixes of one attribute set into as few messages as fit, straight
 * into a growing buffer that holds many messages.
 *
 *     if (writer.announce(encoded)) for (…) writer.add4(address, length);
 *     writer.withdraw(IPV6_UNICAST); for (…) writer.add6(w0, w1, w2, w3, length);
 *     writer.endOfRib(IPV4_UNICAST); writer.finish();  // send writer.out.view(), then writer.out.reset()
 *
 * MP_REACH_NLRI comes before all other attributes (RFC 7606 §5.1), so those are appended when a message is closed.
 */
import { Writer } from '../../base/mod.ts';
import type { EncodedAttributes } from './attribute-encoder.ts';
import {
  type AfiSafi,
  afiOf,
  AttributeFlag,
  AttributeType,
  HEADER_LENGTH,
  IPV4_UNICAST,
  MAX_MESSAGE_LENGTH,
  MessageType,
  safiOf,
} from './iana.ts';
import { writeHeader } from './messages.ts';

/** What the prefixes being added go into. */
const Part = { None: 0, Nlri: 1, MpReach: 2, Withdrawn: 3, MpUnreach: 4 } as const;
type Part = (typeof Part)[keyof typeof Part];

/** The longest prefix: path identifier, length, 16 octets. */
const MAX_PREFIX = 21;
const noOctets = new Uint8Array(0);

export class UpdateWriter {
  /** All closed messages, one after another; reset it after sending. */
  readonly out: Writer;
  /** Messages begun so far. */
  messages = 0;
  /** Each message is at most this long: 4096, or 65535 with RFC 8654. Not to be changed while a message is open. */
  maxLength: number;

  private part: Part = Part.None;
  private family: AfiSafi = IPV4_UNICAST;
  private attributes: Uint8Array = noOctets;
  private mpReach: Uint8Array = noOctets;
  private open = false;
  private bytes: Uint8Array;
  private messageStart = 0;
  /** Where the attributes begin, after Total Path Attribute Length. */
  private attributesStart = 0;
  private prefixesStart = 0;
  private at = 0;
  /** Prefixes must end here. */
  private limit = 0;

  constructor(maxLength: number = MAX_MESSAGE_LENGTH, out: Writer = new Writer(65536)) {
    this.maxLength = maxLength;
    this.out = out;
    this.bytes = out.bytes;
  }

  /**
   * The prefixes that follow are announced with these attributes. False when not even one prefix fits beside them: the
   * routes cannot be sent to this peer and count as withdrawn (RFC 8654 §4).
   */
  announce(attributes: EncodedAttributes): boolean {
    this.finish();
    const { octets, mpReach, family } = attributes;
    this.family = family;
    this.attributes = octets;
    this.mpReach = mpReach ?? noOctets;
    this.part = mpReach ? Part.MpReach : Part.Nlri;
    const fixed = HEADER_LENGTH + 4 + octets.length + (mpReach ? 4 + mpReach.length : 0);
    if (fixed + MAX_PREFIX <= this.maxLength) return true;
    this.part = Part.None;
    return false;
  }

  /** The prefixes that follow are withdrawn. */
  withdraw(family: AfiSafi): void {
    this.finish();
    this.family = family;
    this.part = family === IPV4_UNICAST ? Part.Withdrawn : Part.MpUnreach;
  }

  /** An IPv4 prefix with host bits zero. */
  add4(address: number, length: number): void {
    const octets = (length + 7) >> 3;
    if (this.at + 1 + octets > this.limit) this.begin();
    const bytes = this.bytes;
    const at = this.at;
    bytes[at] = length;
    if (octets > 0) bytes[at + 1] = address >>> 24;
    if (octets > 1) bytes[at + 2] = address >>> 16;
    if (octets > 2) bytes[at + 3] = address >>> 8;
    if (octets > 3) bytes[at + 4] = address;
    this.at = at + 1 + octets;
  }

  /** An IPv6 prefix of four words, most significant first, with host bits zero. */
  add6(w0: number, w1: number, w2: number, w3: number, length: number): void {
    const octets = (length + 7) >> 3;
    if (this.at + 1 + octets > this.limit) this.begin();
    const bytes = this.bytes;
    let at = this.at;
    bytes[at++] = length;
    const end = at + octets;
    // whole words are written where they overshoot the prefix: what is too much is overwritten by the next one
    at = this.word(w0, at);
    if (octets > 4) at = this.word(w1, at);
    if (octets > 8) at = this.word(w2, at);
    if (octets > 12) this.word(w3, at);
    this.at = end;
  }

  private word(word: number, at: number): number {
    const bytes = this.bytes;
    bytes[at] = word >>> 24;
    bytes[at + 1] = word >>> 16;
    bytes[at + 2] = word >>> 8;
    bytes[at + 3] = word;
    return at + 4;
  }

  /** `count` prefixes from flat arrays, `words` with one entry each (IPv4) or four (IPv6), as in `PrefixBuffer`. */
  addAll(words: Uint32Array, lengths: Uint8Array, from: number, count: number): void {
    if (afiOf(this.family) === 1) for (let i = from; i < from + count; i++) this.add4(words[i]!, lengths[i]!);
    else {
      for (let i = from; i < from + count; i++) {
        this.add6(words[4 * i]!, words[4 * i + 1]!, words[4 * i + 2]!, words[4 * i + 3]!, lengths[i]!);
      }
    }
  }

  /** End-of-RIB, RFC 4724 §2. */
  endOfRib(family: AfiSafi): void {
    this.withdraw(family);
    this.begin();
    this.finish();
  }

  /** Closes the message that is open. To be called before `out` is sent. */
  finish(): void {
    if (this.open) this.close();
    this.part = Part.None;
    this.limit = 0;
  }

  /** Begins a message of the current part, closing the one that is full. */
  private begin(): void {
    if (this.open) this.close();
    if (this.part === Part.None) throw new Error('prefixes before announce or withdraw');
    this.messages++;
    this.open = true;
    const start = this.out.length;
    // a few octets more, for IPv6 words that overshoot
    this.reserve(start + this.maxLength + 16);
    this.messageStart = start;
    this.limit = start + this.maxLength;
    const bytes = this.bytes;
    let at = start + HEADER_LENGTH + 2;
    bytes[at - 2] = 0;
    bytes[at - 1] = 0;
    if (this.part === Part.Withdrawn) {
      this.prefixesStart = this.at = at;
      this.limit -= 2;
      return;
    }
    this.attributesStart = at += 2;
    if (this.part === Part.Nlri) {
      bytes.set(this.attributes, at);
      at += this.attributes.length;
    } else {
      bytes[at] = AttributeFlag.Optional | AttributeFlag.ExtendedLength;
      bytes[at + 1] = this.part === Part.MpReach ? AttributeType.MpReachNlri : AttributeType.MpUnreachNlri;
      at += 4;
      if (this.part === Part.MpReach) {
        bytes.set(this.mpReach, at);
        at += this.mpReach.length;
        this.limit -= this.attributes.length;
      } else {
        bytes[at] = afiOf(this.family) >> 8;
        bytes[at + 1] = afiOf(this.family);
        bytes[at + 2] = safiOf(this.family);
        at += 3;
      }
    }
    this.prefixesStart = this.at = at;
  }

  private close(): void {
    const { bytes, attributesStart, messageStart: start } = this;
    let at = this.at;
    switch (this.part) {
      case Part.Withdrawn:
        u16(bytes, start + HEADER_LENGTH, at - this.prefixesStart);
        u16(bytes, at, 0);
        at += 2;
        break;
      case Part.Nlri:
        u16(bytes, attributesStart - 2, this.prefixesStart - attributesStart);
        break;
      case Part.MpReach:
      case Part.MpUnreach:
        u16(bytes, attributesStart + 2, at - attributesStart - 4);
        if (this.part === Part.MpReach) {
          bytes.set(this.attributes, at);
          at += this.attributes.length;
        }
        u16(bytes, attributesStart - 2, at - attributesStart);
        break;
      case Part.None:
        break;
    }
    writeHeader(bytes, start, at - start, MessageType.Update);
    this.out.length = at;
    this.open = false;
  }

  private reserve(length: number): void {
    const { out } = this;
    if (out.bytes.length < length) {
      const grown = new Uint8Array(Math.max(length, out.bytes.length * 2));
      grown.set(out.bytes.subarray(0, out.length));
      out.bytes = grown;
    }
    this.bytes = out.bytes;
  }
}

function u16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}
