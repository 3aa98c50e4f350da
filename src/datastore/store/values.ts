/** Between etcd's messages and the state's own values. */
import * as m from '../wire/messages.ts';
import type { Outgoing } from '../wire/protobuf.ts';
import type { Key, KeyRange, Version } from './mvcc.ts';

/** One character a byte. */
export const toKey = (bytes: Uint8Array): Key => Buffer.from(bytes).toString('latin1') as Key;
export const fromKey = (key: Key): Buffer => Buffer.from(key, 'latin1');

/** etcd's range: no end means one key, an end of a single zero byte means "all from the key on". */
export function toRange(key: Uint8Array, rangeEnd?: Uint8Array): KeyRange {
  if (rangeEnd === undefined || rangeEnd.length === 0) return { key: toKey(key), end: undefined };
  return { key: toKey(key), end: rangeEnd.length === 1 && rangeEnd[0] === 0 ? null : toKey(rangeEnd) };
}

export function toKeyValue(version: Version, withValue = true): Outgoing<typeof m.keyValue> {
  return {
    key: fromKey(version.key),
    createRevision: version.createRevision,
    modRevision: version.revision,
    version: version.version,
    lease: version.lease,
    ...(withValue && { value: version.value }),
  };
}

const order = <T>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0);

/** The order of a key's state against what the condition gives; an absent key counts as zeros. */
function compareTo(compare: m.CompareMessage, version: Version | undefined): number {
  switch (compare.target) {
    case m.compareTarget.version:
      return order(version?.version ?? 0, compare.version);
    case m.compareTarget.createRevision:
      return order(version?.createRevision ?? 0, compare.createRevision);
    case m.compareTarget.modRevision:
      return order(version?.revision ?? 0, compare.modRevision);
    case m.compareTarget.value:
      return Buffer.compare(version?.value ?? new Uint8Array(0), compare.value);
    case m.compareTarget.lease:
      return order(BigInt(version?.lease ?? '0'), BigInt(compare.lease));
    default:
      return Number.NaN;
  }
}

export function compareHolds(compare: m.CompareMessage, version: Version | undefined): boolean {
  const result = compareTo(compare, version);
  switch (compare.result) {
    case m.compareResult.equal:
      return result === 0;
    case m.compareResult.notEqual:
      return result !== 0;
    case m.compareResult.greater:
      return result > 0;
    case m.compareResult.less:
      return result < 0;
    default:
      return false;
  }
}
