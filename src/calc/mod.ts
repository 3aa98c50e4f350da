/** Pure: what the datastore says, to what this node's kernel should hold. */
export * from './leases.ts';
export * from './bgp/cluster.ts';
export * from './bgp/gateways.ts';
export * from './bgp/sessions.ts';
