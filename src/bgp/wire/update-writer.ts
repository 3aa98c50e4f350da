/**
 * UPDATE on the way out: packs the prefixes of one attribute set into as few messages as fit, straight into a growing
 * buffer that may hold many messages.
 *
 *     writer.announce(encoded); for (…) writer.add4(address, length); writer.withdraw(family); for (…) …; writer.finish();
 */
import { Writer } from '../../base/mod.ts';
import type { AfiSafi } from './iana.ts';
import type { EncodedAttributes } from './attributes.ts';

export class UpdateWriter {
  /** All finished messages, one after another. */
  readonly out: Writer = new Writer(65536);
  /** Messages written since `out` was reset. */
  messages = 0;
  /** Each message is at most this long: 4096, or 65535 with RFC 8654. */
  maxLength: number;

  constructor(maxLength: number) {
    this.maxLength = maxLength;
  }

  /**
   * The prefixes that follow are announced with these attributes. False when not even one prefix fits beside them: the
   * routes cannot be sent to this peer and count as withdrawn (RFC 8654 §4).
   */
  announce(_attributes: EncodedAttributes): boolean {
    throw new Error('coming with the next merge');
  }

  /** The prefixes that follow are withdrawn. */
  withdraw(_family: AfiSafi): void {
    throw new Error('coming with the next merge');
  }

  /** An IPv4 prefix, host bits zero. */
  add4(_address: number, _length: number): void {
    throw new Error('coming with the next merge');
  }

  /** An IPv6 prefix of four words, host bits zero. */
  add6(_w0: number, _w1: number, _w2: number, _w3: number, _length: number): void {
    throw new Error('coming with the next merge');
  }

  /** RFC 4724 §2. */
  endOfRib(_family: AfiSafi): void {
    throw new Error('coming with the next merge');
  }

  /** Closes the message that is open. To be called before `out` is sent. */
  finish(): void {
    throw new Error('coming with the next merge');
  }
}
