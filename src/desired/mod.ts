/**
 * What this node's kernel should hold, as plain values. Producers (ownership, BGP, endpoints) make these; the
 * reconcilers in `src/dataplane` are the only ones that act on them.
 */
export * from './nat.ts';
export * from './network.ts';
export * from './route.ts';
export * from './tunnel.ts';
