/** The datastore: etcd v3, and the embedded store that speaks etcd's API. */
export type { CopiedUpdate } from './copy/handover.ts';
export { LastKnown } from './copy/last-known.ts';
export * from './datastore.ts';
export { openDatastore } from './open.ts';
export type { DatastoreOptions } from './open.ts';
export { parseRecord } from './record.ts';
