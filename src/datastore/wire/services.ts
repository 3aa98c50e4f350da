/** etcd's gRPC methods: path, request and response. */
import * as m from './messages.ts';
import type { MessageType } from './protobuf.ts';

export interface Method<Request, OutgoingRequest, Response, OutgoingResponse> {
  readonly path: string;
  readonly request: MessageType<Request, OutgoingRequest>;
  readonly response: MessageType<Response, OutgoingResponse>;
}

function method<A, B, C, D>(path: string, request: MessageType<A, B>, response: MessageType<C, D>): Method<A, B, C, D> {
  return { path: `/etcdserverpb.${path}`, request, response };
}

export const methods = {
  range: method('KV/Range', m.rangeRequest, m.rangeResponse),
  put: method('KV/Put', m.putRequest, m.putResponse),
  deleteRange: method('KV/DeleteRange', m.deleteRangeRequest, m.deleteRangeResponse),
  txn: method('KV/Txn', m.txnRequest, m.txnResponse),
  compact: method('KV/Compact', m.compactionRequest, m.headerOnly),
  /** Both ways a stream. */
  watch: method('Watch/Watch', m.watchRequest, m.watchResponse),
  leaseGrant: method('Lease/LeaseGrant', m.leaseGrantRequest, m.leaseGrantResponse),
  leaseRevoke: method('Lease/LeaseRevoke', m.leaseRevokeRequest, m.headerOnly),
  /** Both ways a stream. */
  leaseKeepAlive: method('Lease/LeaseKeepAlive', m.leaseKeepAliveRequest, m.leaseKeepAliveResponse),
  leaseTimeToLive: method('Lease/LeaseTimeToLive', m.leaseTimeToLiveRequest, m.leaseTimeToLiveResponse),
  leaseLeases: method('Lease/LeaseLeases', m.empty, m.leaseLeasesResponse),
  memberList: method('Cluster/MemberList', m.empty, m.memberListResponse),
  alarm: method('Maintenance/Alarm', m.alarmRequest, m.alarmResponse),
  status: method('Maintenance/Status', m.empty, m.statusResponse),
  defragment: method('Maintenance/Defragment', m.empty, m.headerOnly),
  authenticate: method('Auth/Authenticate', m.authenticateRequest, m.authenticateResponse),
} as const;
