/**
 * Route reflectors that look after themselves. `topology.ts` says what a plan is, `step.ts` how one follows from another,
 * `choose.ts` who reflects; `effective.ts` makes a node's sessions of a plan and `sync.ts` its word about them.
 */
export * from './choose.ts';
export * from './effective.ts';
export * from './step.ts';
export * from './sync.ts';
export * from './topology.ts';
