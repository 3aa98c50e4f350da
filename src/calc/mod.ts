/** Pure: what the datastore says, to what this node's kernel should hold. */
export * from './leases.ts';
