/**
 * The BGP session machine, pure: events in, actions out. Read `types.ts` for the vocabulary, `session.ts` for RFC 4271
 * §8.2.2 itself (one connection), `neighbor.ts` for two connections at once and for damping. `src/bgp/speaker` carries out the
 * actions; `src/bgp/wire` judges OPENs.
 */
export * from './neighbor.ts';
export * from './notification.ts';
export * from './session.ts';
export * from './types.ts';
