/** A range request: filters, order, limit, as etcd has them. */
import * as m from '../wire/messages.ts';
import type { Outgoing } from '../wire/protobuf.ts';
import { etcdErrors } from './errors.ts';
import type { KeyRange, Mvcc, Version } from './mvcc.ts';
import { toKeyValue, toRange } from './values.ts';

/** The range of a request that has one; throws etcd's error for an empty key. */
export function rangeOf(request: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array }): KeyRange {
  if (request.key.length === 0) throw etcdErrors.emptyKey();
  return toRange(request.key, request.rangeEnd);
}

/** `request.revision` must be one that is there. */
export function selectRange(mvcc: Mvcc, range: KeyRange, request: m.RangeRequest): Outgoing<typeof m.rangeResponse> {
  const revision = request.revision > 0 ? request.revision : Infinity;
  let count = 0;
  let versions: Version[] = [];
  const wanted = filterOf(request);
  const sorted = isSorted(request);
  for (const version of mvcc.range(range, revision)) {
    count++;
    // without an order of its own the range comes in key order: what is past the limit is only counted
    const enough = !sorted && request.limit > 0 && versions.length > request.limit;
    if (!request.countOnly && !enough && wanted(version)) versions.push(version);
  }
  if (request.countOnly) return { count };
  if (sorted) versions.sort(orderOf(request));
  const more = request.limit > 0 && versions.length > request.limit;
  if (more) versions = versions.slice(0, request.limit);
  return { kvs: versions.map((version) => toKeyValue(version, !request.keysOnly)), more, count };
}

function filterOf(request: m.RangeRequest): (version: Version) => boolean {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  return ({ revision, createRevision }) =>
    (minModRevision === 0 || revision >= minModRevision) &&
    (maxModRevision === 0 || revision <= maxModRevision) &&
    (minCreateRevision === 0 || createRevision >= minCreateRevision) &&
    (maxCreateRevision === 0 || createRevision <= maxCreateRevision);
}

function isSorted({ sortOrder, sortTarget }: m.RangeRequest): boolean {
  return sortTarget !== m.sortTarget.key || sortOrder === m.sortOrder.descending;
}

function orderOf({ sortOrder, sortTarget }: m.RangeRequest): (a: Version, b: Version) => number {
  const sign = sortOrder === m.sortOrder.descending ? -1 : 1;
  return (a, b) => sign * compareBy(sortTarget, a, b);
}

function compareBy(target: number, a: Version, b: Version): number {
  switch (target) {
    case m.sortTarget.version:
      return a.version - b.version;
    case m.sortTarget.createRevision:
      return a.createRevision - b.createRevision;
    case m.sortTarget.modRevision:
      return a.revision - b.revision;
    case m.sortTarget.value:
      return Buffer.compare(a.value, b.value);
    default:
      return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
  }
}
