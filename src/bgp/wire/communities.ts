/**
 * COMMUNITIES (RFC 1997), EXTENDED COMMUNITIES (RFC 4360) and LARGE COMMUNITIES (RFC 8092), and with them CLUSTER_LIST
 * (RFC 4456): arrays of fixed-size values, kept as flat lists of 32-bit numbers.
 */
import type { Writer } from '../../base/mod.ts';

/** 32-bit numbers in `bytes[start, end)`; undefined unless there is at least one value of `octets` octets and no rest. */
export function decodeWords(bytes: Uint8Array, start: number, end: number, octets: number): number[] | undefined {
  const length = end - start;
  if (length === 0 || length % octets !== 0) return undefined;
  const words: number[] = [];
  for (let at = start; at < end; at += 4) words.push(u32(bytes, at));
  return words;
}

export const u32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;

export function encodeWords(words: readonly number[], writer: Writer): void {
  for (const word of words) writer.u32(word);
}

/** `65000:100` */
export const formatCommunity = (value: number): string => `${value >>> 16}:${value & 0xffff}`;

/** `4200000000:1:2`, for each three numbers. */
export function formatLargeCommunities(words: readonly number[]): string[] {
  const out: string[] = [];
  for (let i = 0; i + 2 < words.length; i += 3) out.push(`${words[i]}:${words[i + 1]}:${words[i + 2]}`);
  return out;
}

/** `rt:65000:1`, `soo:…` for the kinds of RFC 4360 §4 and RFC 5668; 16 hexadecimal digits for all others. */
export function formatExtendedCommunities(words: readonly number[]): string[] {
  const out: string[] = [];
  for (let i = 0; i + 1 < words.length; i += 2) out.push(formatExtendedCommunity(words[i]!, words[i + 1]!));
  return out;
}

function formatExtendedCommunity(high: number, low: number): string {
  const kind = (high >>> 16) & 0xff;
  const name = kind === 2 ? 'rt' : kind === 3 ? 'soo' : undefined;
  const hex = high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
  if (!name) return hex;
  switch (high >>> 24) {
    case 0:
      return `${name}:${high & 0xffff}:${low}`;
    case 1: {
      const address = [(high >>> 8) & 0xff, high & 0xff, low >>> 24, (low >>> 16) & 0xff].join('.');
      return `${name}:${address}:${low & 0xffff}`;
    }
    case 2:
      return `${name}:${(((high & 0xffff) << 16) | (low >>> 16)) >>> 0}:${low & 0xffff}`;
    default:
      return hex;
  }
}
