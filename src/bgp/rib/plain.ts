/**
 * Plain attribute blocks, without taking them apart. Nearly all attribute sets of a full table are alike: IPv4, AS numbers
 * of four octets, one AS_PATH sequence, attributes in ascending order, flags as in the book. For these the few fields the
 * decision compares are read where they stand, and what eBGP or a reflector changes on the way out is done octet by octet
 * (`plain-outbound.ts`).
 * Everything else goes the long way through `decodeAttributes`, `outbound` and `encodeAttributes`; a test holds the two
 * ways against each other. The short way is worth a third of the time a full table takes.
 */
import { AttributeFlag, AttributeType, SegmentType } from '../wire/mod.ts';

/** Flags of the types that may stand in a plain block, 0 for those that may not. */
const flagsOf = new Uint8Array(33);
for (const type of [1, 2, 3, 5, 6]) flagsOf[type] = AttributeFlag.Transitive;
for (const type of [4, 9, 10]) flagsOf[type] = AttributeFlag.Optional;
for (const type of [7, 8, 16, 32]) flagsOf[type] = AttributeFlag.Optional | AttributeFlag.Transitive;
/** Those that have one length only; the length itself, or 255. */
const fixedLength = new Uint8Array(33).fill(255);
fixedLength[AttributeType.Origin] = 1;
fixedLength[AttributeType.NextHop] = 4;
fixedLength[AttributeType.MultiExitDisc] = 4;
fixedLength[AttributeType.LocalPref] = 4;
fixedLength[AttributeType.AtomicAggregate] = 0;
fixedLength[AttributeType.Aggregator] = 8;
fixedLength[AttributeType.OriginatorId] = 4;
/** Those that hold a list: octets of an entry. */
const entryLength = new Uint8Array(33);
entryLength[AttributeType.Communities] = 4;
entryLength[AttributeType.ClusterList] = 4;
entryLength[AttributeType.ExtendedCommunities] = 8;
entryLength[AttributeType.LargeCommunities] = 12;

/** A reusable view of one plain block. */
export class PlainBlock {
  bytes: Uint8Array = new Uint8Array(0);
  /** By type: where the value begins, 0 when the attribute is not there; and how long it is. */
  readonly at = new Int32Array(33);
  readonly size = new Uint8Array(33);
  /** ASs in the path. */
  pathLength = 0;

  /**
   * Whether `bytes[start, end)` is plain, which includes that `decodeAttributes` would find no fault with it and that
   * encoding what it gives would give the same octets.
   */
  scan(bytes: Uint8Array, start: number, end: number, external: boolean): boolean {
    const { at, size } = this;
    this.bytes = bytes;
    at.fill(0);
    let last = 0;
    let p = start;
    while (p < end) {
      const type = bytes[p + 1]!;
      const length = bytes[p + 2]!;
      const value = p + 3;
      p = value + length;
      // also false past the end, where octets are undefined
      if (!(p <= end && type > last && type <= 32)) return false;
      if (flagsOf[type] === 0 || bytes[value - 3] !== flagsOf[type]) return false;
      if (fixedLength[type] !== 255 && fixedLength[type] !== length) return false;
      const entry = entryLength[type]!;
      if (entry !== 0 && (length === 0 || length % entry !== 0)) return false;
      at[type] = value;
      size[type] = length;
      last = type;
    }
    if (at[AttributeType.Origin] === 0 || at[AttributeType.AsPath] === 0 || at[AttributeType.NextHop] === 0)
      return false;
    if (external && (at[5]! | at[9]! | at[10]!) !== 0) return false;
    if (bytes[at[AttributeType.Origin]!]! > 2) return false;
    return this.plainNextHop() && this.plainPath() && this.plainAggregator();
  }

  /** A host's address, as `decodeNextHop` sees it, and not in the class E space where one would be odd. */
  private plainNextHop(): boolean {
    const first = this.bytes[this.at[AttributeType.NextHop]!]!;
    return first !== 0 && first !== 127 && first < 224;
  }

  private plainPath(): boolean {
    const { bytes } = this;
    const start = this.at[AttributeType.AsPath]!;
    const length = this.size[AttributeType.AsPath]!;
    this.pathLength = 0;
    if (length === 0) return true;
    const count = bytes[start + 1]!;
    if (bytes[start] !== SegmentType.Sequence || count === 0 || length !== 2 + 4 * count) return false;
    this.pathLength = count;
    for (let i = 0; i < count; i++) if (this.asn(i) === 0) return false;
    return true;
  }

  private plainAggregator(): boolean {
    const at = this.at[AttributeType.Aggregator]!;
    return at === 0 || this.u32(at) !== 0;
  }

  asn(i: number): number {
    return this.u32(this.at[AttributeType.AsPath]! + 2 + 4 * i);
  }

  /** The value of an attribute of four octets, or -1. */
  number(type: number): number {
    const at = this.at[type]!;
    return at === 0 ? -1 : this.u32(at);
  }

  u32(at: number): number {
    const { bytes } = this;
    return bytes[at]! * 0x1000000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
  }
}
