/**
 * Adj-RIB-In → decision → Loc-RIB → Adj-RIB-Out over flat tables. `types.ts` is the interface: a `Rib` takes the bytes of
 * UPDATE messages and gives the bytes of UPDATE messages, encoded once per update group.
 */
export * from './decide.ts';
export * from './types.ts';
