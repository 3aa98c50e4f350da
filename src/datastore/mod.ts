/** The datastore: etcd v3, and the embedded store that speaks etcd's API. */
export * from './datastore.ts';
export { openDatastore } from './open.ts';
export type { DatastoreOptions } from './open.ts';
export { parseRecord } from './record.ts';
