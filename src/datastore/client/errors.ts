/** What a gRPC error means for the program. etcd uses few codes, so the text decides where a code says too little. */
import { messageOf, printable } from '../../base/mod.ts';
import { GrpcError, grpcStatus } from '../wire/grpc.ts';
import { DatastoreError } from '../datastore.ts';
import type { DatastoreErrorKind } from '../datastore.ts';

function kindOf(error: GrpcError): DatastoreErrorKind {
  const text = error.message;
  switch (error.status) {
    case grpcStatus.unauthenticated:
    case grpcStatus.permissionDenied:
      return 'permission';
    case grpcStatus.resourceExhausted:
      return text.includes('space exceeded') ? 'no-space' : 'unavailable';
    case grpcStatus.notFound:
      return text.includes('lease') ? 'lease-not-found' : 'invalid';
    case grpcStatus.outOfRange:
      return text.includes('compacted') ? 'compacted' : 'invalid';
    case grpcStatus.invalidArgument:
    case grpcStatus.failedPrecondition:
      return /auth|password|user name/.test(text) ? 'permission' : 'invalid';
    case grpcStatus.unimplemented:
      return 'invalid';
    default:
      return 'unavailable';
  }
}

/** `what` is the operation and its object, as a person would say it: `get /a/b`. */
export function datastoreError(store: string, what: string, error: unknown): DatastoreError {
  const text = messageOf(error);
  if (error instanceof DatastoreError && text.startsWith('datastore ')) return error;
  const known = error instanceof DatastoreError ? error.kind : undefined;
  const kind = known ?? (error instanceof GrpcError ? kindOf(error) : 'unavailable');
  return new DatastoreError(kind, `datastore ${store}: ${printable(`${what}: ${text}`)}`, { cause: error });
}
