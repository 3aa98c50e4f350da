/** The errors of etcd's API, with its codes and texts: clients tell them apart by both. */
import { GrpcError, grpcStatus } from '../wire/grpc.ts';

const error = (status: number, text: string) => (): GrpcError => new GrpcError(status, `etcdserver: ${text}`);

export const etcdErrors = {
  emptyKey: error(grpcStatus.invalidArgument, 'key is not provided'),
  keyNotFound: error(grpcStatus.invalidArgument, 'key not found'),
  valueProvided: error(grpcStatus.invalidArgument, 'value is provided'),
  leaseProvided: error(grpcStatus.invalidArgument, 'lease is provided'),
  tooManyOps: error(grpcStatus.invalidArgument, 'too many operations in txn request'),
  duplicateKey: error(grpcStatus.invalidArgument, 'duplicate key given in txn request'),
  requestTooLarge: error(grpcStatus.invalidArgument, 'request is too large'),
  compacted: error(grpcStatus.outOfRange, 'mvcc: required revision has been compacted'),
  futureRevision: error(grpcStatus.outOfRange, 'mvcc: required revision is a future revision'),
  noSpace: error(grpcStatus.resourceExhausted, 'mvcc: database space exceeded'),
  leaseNotFound: error(grpcStatus.notFound, 'requested lease not found'),
  leaseExists: error(grpcStatus.failedPrecondition, 'lease already exists'),
  leaseTtlTooLarge: error(grpcStatus.outOfRange, 'too large lease TTL'),
  authNotEnabled: error(grpcStatus.failedPrecondition, 'authentication is not enabled'),
  stopped: error(grpcStatus.unavailable, 'server stopped'),
} as const;
