/** Keys and values are text in the program and bytes on the wire. */

const decoder = new TextDecoder();
const encoder = new TextEncoder();
export const toText = (value: Uint8Array): string => decoder.decode(value);
export const toBytes = (value: string): Uint8Array => encoder.encode(value);

/**
 * The end of the range of all keys with this prefix: the prefix with its last byte below 0xff raised by one, what
 * follows cut off; a single zero byte ("no end") when there is none.
 */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let i = prefix.length - 1; i >= 0; i--) {
    if (prefix[i]! < 0xff) {
      const end = new Uint8Array(prefix.subarray(0, i + 1)); // a copy, also of a Buffer
      end[i]!++;
      return end;
    }
  }
  return new Uint8Array(1);
}
