/**
 * The part of etcd's v3 API that Godwit speaks, as client and as server. Names and field numbers are those of etcd's
 * public protocol; what Godwit neither sends nor looks at is left out (protobuf skips unknown fields).
 */
import {
  bool,
  bytes,
  id64,
  int32,
  int64,
  message,
  repeated,
  repeatedBytes,
  repeatedInt32,
  repeatedString,
  string,
  sub,
  uid64,
} from './protobuf.ts';
import type { Decoded, MessageType, Outgoing } from './protobuf.ts';

export const keyValue = message({
  key: bytes(1),
  createRevision: int64(2),
  modRevision: int64(3),
  version: int64(4),
  value: bytes(5),
  lease: id64(6),
});
export const eventType = { put: 0, delete: 1 } as const;
export const event = message({ type: int32(1), kv: sub(2, () => keyValue), prevKv: sub(3, () => keyValue) });
export const responseHeader = message({
  clusterId: uid64(1),
  memberId: uid64(2),
  revision: int64(3),
  raftTerm: uid64(4),
});
const header = sub(1, () => responseHeader);
export const empty = message({});
export const headerOnly = message({ header });

// KV
export const sortOrder = { none: 0, ascending: 1, descending: 2 } as const;
export const sortTarget = { key: 0, version: 1, createRevision: 2, modRevision: 3, value: 4 } as const;
export const rangeRequest = message({
  key: bytes(1),
  rangeEnd: bytes(2),
  limit: int64(3),
  revision: int64(4),
  sortOrder: int32(5),
  sortTarget: int32(6),
  serializable: bool(7),
  keysOnly: bool(8),
  countOnly: bool(9),
  minModRevision: int64(10),
  maxModRevision: int64(11),
  minCreateRevision: int64(12),
  maxCreateRevision: int64(13),
});
export const rangeResponse = message({ header, kvs: repeated(2, () => keyValue), more: bool(3), count: int64(4) });
export const putRequest = message({
  key: bytes(1),
  value: bytes(2),
  lease: id64(3),
  prevKv: bool(4),
  ignoreValue: bool(5),
  ignoreLease: bool(6),
});
export const putResponse = message({ header, prevKv: sub(2, () => keyValue) });
export const deleteRangeRequest = message({ key: bytes(1), rangeEnd: bytes(2), prevKv: bool(3) });
export const deleteRangeResponse = message({ header, deleted: int64(2), prevKvs: repeated(3, () => keyValue) });

export const compareResult = { equal: 0, greater: 1, less: 2, notEqual: 3 } as const;
export const compareTarget = { version: 0, createRevision: 1, modRevision: 2, value: 3, lease: 4 } as const;
export const compare = message({
  result: int32(1),
  target: int32(2),
  key: bytes(3),
  // one of these, as `target` says
  version: int64(4),
  createRevision: int64(5),
  modRevision: int64(6),
  value: bytes(7),
  lease: id64(8),
  rangeEnd: bytes(64),
});

// Operations and transactions contain each other, so their types are spelled out. One field of an operation is set.
export interface RequestOp {
  readonly range?: Decoded<typeof rangeRequest> | undefined;
  readonly put?: Decoded<typeof putRequest> | undefined;
  readonly deleteRange?: Decoded<typeof deleteRangeRequest> | undefined;
  readonly txn?: TxnRequest | undefined;
}
export interface OutgoingRequestOp {
  readonly range?: Outgoing<typeof rangeRequest>;
  readonly put?: Outgoing<typeof putRequest>;
  readonly deleteRange?: Outgoing<typeof deleteRangeRequest>;
  readonly txn?: OutgoingTxnRequest;
}
export interface TxnRequest {
  readonly compare: readonly Decoded<typeof compare>[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}
export interface OutgoingTxnRequest {
  readonly compare?: readonly Outgoing<typeof compare>[];
  readonly success?: readonly OutgoingRequestOp[];
  readonly failure?: readonly OutgoingRequestOp[];
}
export const requestOp: MessageType<RequestOp, OutgoingRequestOp> = message({
  range: sub(1, () => rangeRequest),
  put: sub(2, () => putRequest),
  deleteRange: sub(3, () => deleteRangeRequest),
  txn: sub(4, (): MessageType<TxnRequest, OutgoingTxnRequest> => txnRequest),
});
export const txnRequest: MessageType<TxnRequest, OutgoingTxnRequest> = message({
  compare: repeated(1, () => compare),
  success: repeated(2, () => requestOp),
  failure: repeated(3, () => requestOp),
});

export interface ResponseOp {
  readonly range?: Decoded<typeof rangeResponse> | undefined;
  readonly put?: Decoded<typeof putResponse> | undefined;
  readonly deleteRange?: Decoded<typeof deleteRangeResponse> | undefined;
  readonly txn?: TxnResponse | undefined;
}
export interface OutgoingResponseOp {
  readonly range?: Outgoing<typeof rangeResponse>;
  readonly put?: Outgoing<typeof putResponse>;
  readonly deleteRange?: Outgoing<typeof deleteRangeResponse>;
  readonly txn?: OutgoingTxnResponse;
}
export interface TxnResponse {
  readonly header: Decoded<typeof responseHeader> | undefined;
  readonly succeeded: boolean;
  readonly responses: readonly ResponseOp[];
}
export interface OutgoingTxnResponse {
  readonly header?: Outgoing<typeof responseHeader>;
  readonly succeeded?: boolean;
  readonly responses?: readonly OutgoingResponseOp[];
}
export const responseOp: MessageType<ResponseOp, OutgoingResponseOp> = message({
  range: sub(1, () => rangeResponse),
  put: sub(2, () => putResponse),
  deleteRange: sub(3, () => deleteRangeResponse),
  txn: sub(4, (): MessageType<TxnResponse, OutgoingTxnResponse> => txnResponse),
});
export const txnResponse: MessageType<TxnResponse, OutgoingTxnResponse> = message({
  header,
  succeeded: bool(2),
  responses: repeated(3, () => responseOp),
});
export const compactionRequest = message({ revision: int64(1), physical: bool(2) });

// Watch
export const watchFilter = { noPut: 0, noDelete: 1 } as const;
export const watchCreateRequest = message({
  key: bytes(1),
  rangeEnd: bytes(2),
  startRevision: int64(3),
  progressNotify: bool(4),
  filters: repeatedInt32(5),
  prevKv: bool(6),
  watchId: int64(7),
  fragment: bool(8),
});
export const watchCancelRequest = message({ watchId: int64(1) });
/** One field is set. */
export const watchRequest = message({
  create: sub(1, () => watchCreateRequest),
  cancel: sub(2, () => watchCancelRequest),
  progress: sub(3, () => empty),
});
export const watchResponse = message({
  header,
  watchId: int64(2),
  created: bool(3),
  canceled: bool(4),
  compactRevision: int64(5),
  cancelReason: string(6),
  fragment: bool(7),
  events: repeated(11, () => event),
});

// Lease
export const leaseGrantRequest = message({ ttl: int64(1), id: id64(2) });
export const leaseGrantResponse = message({ header, id: id64(2), ttl: int64(3), error: string(4) });
export const leaseRevokeRequest = message({ id: id64(1) });
export const leaseKeepAliveRequest = message({ id: id64(1) });
export const leaseKeepAliveResponse = message({ header, id: id64(2), ttl: int64(3) });
export const leaseTimeToLiveRequest = message({ id: id64(1), keys: bool(2) });
export const leaseTimeToLiveResponse = message({
  header,
  id: id64(2),
  ttl: int64(3),
  grantedTtl: int64(4),
  keys: repeatedBytes(5),
});
export const leaseStatus = message({ id: id64(1) });
export const leaseLeasesResponse = message({ header, leases: repeated(2, () => leaseStatus) });

// Maintenance, Cluster, Auth
export const statusResponse = message({
  header,
  version: string(2),
  dbSize: int64(3),
  leader: uid64(4),
  raftIndex: int64(5),
  raftTerm: uid64(6),
  raftAppliedIndex: int64(7),
  errors: repeatedString(8),
  dbSizeInUse: int64(9),
});
export const alarmAction = { get: 0, activate: 1, deactivate: 2 } as const;
export const alarmType = { none: 0, noSpace: 1, corrupt: 2 } as const;
export const alarmRequest = message({ action: int32(1), memberId: uid64(2), alarm: int32(3) });
export const alarmMember = message({ memberId: uid64(1), alarm: int32(2) });
export const alarmResponse = message({ header, alarms: repeated(2, () => alarmMember) });
export const member = message({
  id: uid64(1),
  name: string(2),
  peerUrls: repeatedString(3),
  clientUrls: repeatedString(4),
});
export const memberListResponse = message({ header, members: repeated(2, () => member) });
export const authenticateRequest = message({ name: string(1), password: string(2) });
export const authenticateResponse = message({ header, token: string(2) });

export type KeyValueMessage = Decoded<typeof keyValue>;
export type EventMessage = Decoded<typeof event>;
export type RangeRequest = Decoded<typeof rangeRequest>;
export type PutRequest = Decoded<typeof putRequest>;
export type DeleteRangeRequest = Decoded<typeof deleteRangeRequest>;
export type CompareMessage = Decoded<typeof compare>;
export type WatchCreateRequest = Decoded<typeof watchCreateRequest>;
export type WatchResponse = Decoded<typeof watchResponse>;
