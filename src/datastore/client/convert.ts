/** The program's values and etcd's messages, each way. */
import { unreachable } from '../../base/mod.ts';
import type { Compare, KeyValue, LeaseId, Operation, Revision } from '../datastore.ts';
import { prefixEnd, toBytes, toText } from '../wire/keys.ts';
import { compareTarget } from '../wire/messages.ts';
import type { compare as compareMessage, KeyValueMessage, OutgoingRequestOp } from '../wire/messages.ts';
import type { Outgoing } from '../wire/protobuf.ts';

export const revisionOf = (answer: { header?: { revision: number } | undefined }): Revision =>
  answer.header?.revision ?? 0;

export function toKeyValue(kv: KeyValueMessage): KeyValue {
  return {
    key: toText(kv.key),
    value: toText(kv.value),
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
    version: kv.version,
    lease: kv.lease as LeaseId,
  };
}

export function toCompare(condition: Compare): Outgoing<typeof compareMessage> {
  const key = toBytes(condition.key);
  if ('modRevision' in condition) return { key, target: compareTarget.modRevision, modRevision: condition.modRevision };
  if ('version' in condition) return { key, target: compareTarget.version, version: condition.version };
  return { key, target: compareTarget.value, value: toBytes(condition.value) };
}

export function toRequestOp(operation: Operation): OutgoingRequestOp {
  switch (operation.op) {
    case 'put': {
      const { key, value, lease } = operation;
      return { put: { key: toBytes(key), value: toBytes(value), lease } };
    }
    case 'delete':
      return { deleteRange: { key: toBytes(operation.key) } };
    case 'deletePrefix': {
      const key = toBytes(operation.prefix);
      return { deleteRange: { key: key.length === 0 ? new Uint8Array(1) : key, rangeEnd: prefixEnd(key) } };
    }
    case 'get':
      return { range: { key: toBytes(operation.key) } };
    default:
      return unreachable(operation);
  }
}
