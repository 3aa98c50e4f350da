/**
 * Communities as text: standard `65000:100` (RFC 1997) and the well-known names, large `65000:1:2` (RFC 8092), extended
 * `rt:65000:1`, `ro:10.0.0.1:5`, `soo:…` or sixteen hex digits after `0x` (RFC 4360, 5668). `*` stands for any value of a
 * field in patterns.
 */
import { err, ok, printable } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { addressBytes, parseAddress } from '../../net/mod.ts';
import { WellKnownCommunity } from '../wire/mod.ts';

export type CommunityKind = 'standard' | 'extended' | 'large';

/** Words to compare under masks; standard 1, extended 2, large 3 of them. A mask of zero matches anything. */
export interface CommunityPattern {
  readonly kind: CommunityKind;
  readonly words: readonly number[];
  readonly masks: readonly number[];
  /** Other encodings of the same, for extended ones whose AS number fits both forms. */
  readonly or?: CommunityPattern;
}

const wellKnown: Readonly<Record<string, number>> = {
  'graceful-shutdown': WellKnownCommunity.GracefulShutdown,
  blackhole: WellKnownCommunity.Blackhole,
  'no-export': WellKnownCommunity.NoExport,
  'no-advertise': WellKnownCommunity.NoAdvertise,
  'no-export-subconfed': WellKnownCommunity.NoExportSubconfed,
};
/** RFC 4360 §4, §5: route target and route origin, the latter also known as site of origin. */
const subtypes: Readonly<Record<string, number>> = { rt: 2, ro: 3, soo: 3 };
export const kindWords: Readonly<Record<CommunityKind, number>> = { standard: 1, extended: 2, large: 3 };

interface Field {
  readonly value: number;
  readonly any: boolean;
}

function field(text: string, max: number): Field | undefined {
  if (text === '*') return { value: 0, any: true };
  if (!/^\d{1,10}$/.test(text) || Number(text) > max) return undefined;
  return { value: Number(text), any: false };
}

/** Parses a community or, with wildcards, a pattern of one. */
export function parseCommunity(text: string): Result<CommunityPattern, string> {
  const bad = err(
    `"${printable(text)}" is not a community: 65000:100, 65000:1:2, rt:65000:1, 0x0002fde800000001 or no-export are`,
  );
  const named = wellKnown[text];
  if (named !== undefined) return ok({ kind: 'standard', words: [named], masks: [0xffffffff] });
  if (/^0x[0-9a-f]{16}$/i.test(text)) {
    const words = [parseInt(text.slice(2, 10), 16), parseInt(text.slice(10), 16)];
    return ok({ kind: 'extended', words, masks: [0xffffffff, 0xffffffff] });
  }
  const parts = text.split(':');
  const subtype = subtypes[parts[0]!];
  if (subtype !== undefined && parts.length === 3) {
    const pattern = extended(subtype, parts[1]!, parts[2]!);
    return pattern ? ok(pattern) : bad;
  }
  const max = parts.length === 2 ? 0xffff : 0xffffffff;
  const fields = parts.map((part) => field(part, max));
  if (fields.some((f) => f === undefined)) return bad;
  const mask = (i: number): number => (fields[i]!.any ? 0 : max);
  if (fields.length === 3) {
    return ok({ kind: 'large', words: fields.map((f) => f!.value), masks: [mask(0), mask(1), mask(2)] });
  }
  if (fields.length !== 2) return bad;
  return ok({
    kind: 'standard',
    words: [((fields[0]!.value << 16) | fields[1]!.value) >>> 0],
    masks: [((mask(0) << 16) | mask(1)) >>> 0],
  });
}

/**
 * Extended communities: type 0 holds an AS of two octets and a value of four, type 1 an address and a value of two, type
 * 2 (RFC 5668) an AS of four octets and a value of two.
 */
function extended(subtype: number, administrator: string, value: string): CommunityPattern | undefined {
  const address = parseAddress(administrator);
  if (address) {
    const bytes = addressBytes(address);
    const local = field(value, 0xffff);
    if (bytes.length !== 4 || !local) return undefined;
    return wide(0x0100, subtype, new DataView(bytes.buffer).getUint32(0), 0xffffffff, local);
  }
  const as = field(administrator, 0xffffffff);
  if (!as) return undefined;
  const small = field(value, 0xffff);
  const large = field(value, 0xffffffff);
  const asMask = as.any ? 0 : 0xffffffff;
  const wideForm = small && wide(0x0200, subtype, as.value, asMask, small);
  if (as.value > 0xffff || !large) return wideForm;
  const narrow: CommunityPattern = {
    kind: 'extended',
    words: [((subtype << 16) | as.value) >>> 0, large.value],
    masks: [(0xffff0000 | (as.any ? 0 : 0xffff)) >>> 0, large.any ? 0 : 0xffffffff],
  };
  return wideForm ? { ...narrow, or: wideForm } : narrow;
}

function wide(type: number, subtype: number, administrator: number, mask: number, local: Field): CommunityPattern {
  const all = BigInt.asUintN(
    64,
    (BigInt(type | subtype) << 48n) | (BigInt(administrator) << 16n) | BigInt(local.value),
  );
  const masks = (0xffffn << 48n) | (BigInt(mask) << 16n) | (local.any ? 0n : 0xffffn);
  const split = (v: bigint): number[] => [Number(v >> 32n), Number(v & 0xffffffffn)];
  return { kind: 'extended', words: split(all), masks: split(masks) };
}

/** Whether the community whose words begin at `at` of the list fits. */
export function fits(pattern: CommunityPattern, list: readonly number[], at: number): boolean {
  let same = true;
  for (let w = 0; w < pattern.words.length; w++) {
    same &&= ((list[at + w]! ^ pattern.words[w]!) & pattern.masks[w]!) === 0;
  }
  return same || (pattern.or !== undefined && fits(pattern.or, list, at));
}

export function includesCommunity(list: readonly number[], pattern: CommunityPattern): boolean {
  const step = kindWords[pattern.kind];
  for (let at = 0; at < list.length; at += step) if (fits(pattern, list, at)) return true;
  return false;
}

export const hasWildcard = (pattern: CommunityPattern): boolean => pattern.masks.some((mask) => mask !== 0xffffffff);
