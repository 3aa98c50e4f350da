/** Columns of the flat tables, and how they are made longer; what was in them is kept. */
import type { Family } from '../../net/mod.ts';

/**
 * Entries that the columns of a table begin with. Columns are filled from the front, and what was never touched costs no
 * memory (the kernel gives pages of zeros when they are), while growing copies everything and leaves the old behind.
 */
export const firstCapacity: { readonly [F in Family]: number } = { 4: 1 << 17, 6: 1 << 14 };

export function longer32(old: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const grown = new Uint32Array(length);
  grown.set(old);
  return grown;
}

export function longer16(old: Uint16Array, length: number): Uint16Array<ArrayBuffer> {
  const grown = new Uint16Array(length);
  grown.set(old);
  return grown;
}

export function longer8(old: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const grown = new Uint8Array(length);
  grown.set(old);
  return grown;
}
