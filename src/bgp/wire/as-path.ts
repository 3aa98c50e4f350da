/**
 * AS_PATH and AS4_PATH (RFC 4271 §4.3, 5.1.2; RFC 6793): segments of AS numbers, two or four octets each.
 *
 *     +---------------+---------------+-------------------------------
 *     | Segment type  | Number of ASs |  AS numbers (2 or 4 octets each)
 *     +---------------+---------------+-------------------------------
 */
import type { Writer } from '../../base/mod.ts';
import { AS_TRANS, SegmentType } from './iana.ts';
import type { AsPath, AsSegment } from './types.ts';

/** RFC 4271 §4.3: the count of a segment is one octet. */
const MAX_SEGMENT = 255;

/**
 * Gives the path, or in words why the octets are none: an unknown segment type, an empty or overrunning segment (RFC 7606
 * §7.2), AS 0 (RFC 7607), or a confederation segment, which nobody outside a confederation may send (RFC 5065 §5).
 */
export function decodeAsPath(bytes: Uint8Array, start: number, end: number, octets: 2 | 4): AsSegment[] | string {
  const path: AsSegment[] = [];
  let at = start;
  while (at < end) {
    const type = bytes[at]!;
    const count = bytes[at + 1]!;
    const next = at + 2 + count * octets;
    if (at + 2 > end || next > end) return 'a segment runs past the end of the attribute';
    if (type === SegmentType.ConfedSequence || type === SegmentType.ConfedSet) return 'a confederation segment';
    if (type !== SegmentType.Set && type !== SegmentType.Sequence) return `segment type ${type}`;
    if (count === 0) return 'an empty segment';
    const asns: number[] = [];
    for (let p = at + 2; p < next; p += octets) {
      let asn = (bytes[p]! << 8) | bytes[p + 1]!;
      if (octets === 4) asn = asn * 65536 + ((bytes[p + 2]! << 8) | bytes[p + 3]!);
      if (asn === 0) return 'AS number 0';
      asns.push(asn);
    }
    path.push({ type, asns });
    at = next;
  }
  return path;
}

/** AS4_PATH, where confederation segments are dropped instead of condemned (RFC 6793 §6). */
export function decodeAs4Path(bytes: Uint8Array, start: number, end: number): AsSegment[] | string {
  if (end - start < 6) return 'it is too short';
  const kept: AsSegment[] = [];
  let at = start;
  while (at < end) {
    const type = bytes[at]!;
    const next = Math.min(end, at + 2 + (bytes[at + 1] ?? 0) * 4);
    const confederation = type === SegmentType.ConfedSequence || type === SegmentType.ConfedSet;
    const whole = at + 2 <= end && at + 2 + bytes[at + 1]! * 4 === next && next > at + 2;
    if (!whole || !confederation) {
      const segment = decodeAsPath(bytes, at, whole ? next : end, 4);
      if (typeof segment === 'string') return segment;
      kept.push(...segment);
    }
    at = next;
  }
  return kept;
}

/** Appends the segments' octets; longer sequences than one segment can hold are split. */
export function encodeAsPath(path: AsPath, octets: 2 | 4, writer: Writer): void {
  for (const { type, asns } of path) {
    for (let from = 0; from < asns.length; from += MAX_SEGMENT) {
      const to = Math.min(asns.length, from + MAX_SEGMENT);
      writer.u8(type).u8(to - from);
      for (let i = from; i < to; i++) {
        const asn = asns[i]!;
        if (octets === 4) writer.u32(asn);
        else writer.u16(asn > 0xffff ? AS_TRANS : asn);
      }
    }
  }
}

/** Octets that `encodeAsPath` writes. */
export function encodedAsPathLength(path: AsPath, octets: 2 | 4): number {
  let length = 0;
  for (const { asns } of path) length += asns.length * octets + 2 * Math.ceil(asns.length / MAX_SEGMENT);
  return length;
}

/** The length that best-path selection compares: a set counts as one, RFC 4271 §9.1.2.2 a. */
export function asPathLength(path: AsPath): number {
  let length = 0;
  for (const { type, asns } of path) length += type === SegmentType.Set ? 1 : asns.length;
  return length;
}

/** The neighbouring AS: the first of the leading sequence; undefined when the path is empty or starts with a set. */
export const firstAsn = (path: AsPath): number | undefined =>
  path[0]?.type === SegmentType.Sequence ? path[0].asns[0] : undefined;

/** The AS that originated the route: the last of a trailing sequence; undefined for an empty path or a trailing set. */
export function originAsn(path: AsPath): number | undefined {
  const last = path.at(-1);
  return last?.type === SegmentType.Sequence ? last.asns.at(-1) : undefined;
}

/** How often the AS stands in the path, for loop detection (RFC 4271 §9.1.2). */
export function countAsn(path: AsPath, asn: number): number {
  let n = 0;
  for (const segment of path) for (const a of segment.asns) if (a === asn) n++;
  return n;
}

/** The path with `asn` put in front `times` times, RFC 4271 §5.1.2. */
export function prependAsn(path: AsPath, asn: number, times = 1): AsPath {
  const added = Array.from({ length: times }, () => asn);
  const head = path[0];
  if (head?.type === SegmentType.Sequence && head.asns.length + times <= MAX_SEGMENT) {
    return [{ type: SegmentType.Sequence, asns: [...added, ...head.asns] }, ...path.slice(1)];
  }
  return times === 0 ? path : [{ type: SegmentType.Sequence, asns: added }, ...path];
}

export function hasFourOctetAsn(path: AsPath): boolean {
  for (const segment of path) for (const asn of segment.asns) if (asn > 0xffff) return true;
  return false;
}

/**
 * RFC 6793 §4.2.3: what AS_PATH says of the ASs nearest to us, which do not know AS4_PATH, in front of AS4_PATH. When
 * AS4_PATH is longer something is wrong with it and AS_PATH stands alone.
 */
export function mergeAs4Path(path: AsPath, as4: AsPath): AsPath {
  let lead = asPathLength(path) - asPathLength(as4);
  if (lead < 0) return path;
  const merged: AsSegment[] = [];
  for (const segment of path) {
    if (lead <= 0) break;
    if (segment.type === SegmentType.Set || segment.asns.length <= lead) {
      merged.push(segment);
      lead -= segment.type === SegmentType.Set ? 1 : segment.asns.length;
    } else {
      merged.push({ type: segment.type, asns: segment.asns.slice(0, lead) });
      lead = 0;
    }
  }
  const last = merged.at(-1);
  const first = as4[0];
  const joins =
    last?.type === SegmentType.Sequence &&
    first?.type === SegmentType.Sequence &&
    last.asns.length + first.asns.length <= MAX_SEGMENT;
  if (!joins) return [...merged, ...as4];
  return [...merged.slice(0, -1), { type: last.type, asns: [...last.asns, ...first.asns] }, ...as4.slice(1)];
}

/** `65001 65002 {65003,65004}`, as routers print paths. */
export function formatAsPath(path: AsPath): string {
  return path.map((s) => (s.type === SegmentType.Set ? `{${s.asns.join(',')}}` : s.asns.join(' '))).join(' ');
}
