/** The datastore: etcd v3, and the embedded store that speaks etcd's API. */
export * from './datastore.ts';
