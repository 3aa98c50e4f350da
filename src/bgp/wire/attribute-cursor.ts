/**
 * The structure of a block of path attributes (RFC 4271 §4.3): where each one lies, not what it means.
 *
 *     +---------------+---------------+------------------------------+----------------
 *     | Flags O T P E | Type          | Length (1 octet, 2 with E)   |  Value
 *     +---------------+---------------+------------------------------+----------------
 */
import { AttributeFlag } from './iana.ts';

export class AttributeCursor {
  flags = 0;
  type = 0;
  /** Where the attribute itself begins, with its header. */
  start = 0;
  valueStart = 0;
  valueEnd = 0;
  /** In words, when the last attribute does not fit into the block (RFC 7606 §4); `next` gave false then. */
  overrun: string | undefined;

  private readonly bytes: Uint8Array;
  private readonly end: number;
  private at: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  /** Moves to the next attribute; false at the end and at an overrun. */
  next(): boolean {
    const { bytes, at, end } = this;
    if (at === end) return false;
    const flags = bytes[at]!;
    const header = flags & AttributeFlag.ExtendedLength ? 4 : 3;
    if (at + header > end) {
      this.overrun = `${end - at} octets are left where an attribute should begin`;
      return false;
    }
    const length = header === 4 ? (bytes[at + 2]! << 8) | bytes[at + 3]! : bytes[at + 2]!;
    const next = at + header + length;
    if (next > end) {
      this.overrun = `attribute ${bytes[at + 1]!} of ${length} octets runs past the end`;
      return false;
    }
    this.flags = flags;
    this.type = bytes[at + 1]!;
    this.start = at;
    this.valueStart = at + header;
    this.valueEnd = next;
    this.at = next;
    return true;
  }
}
