/**
 * Adj-RIB-In → decision → Loc-RIB → Adj-RIB-Out over flat tables. `types.ts` is the interface: a `Rib` takes the bytes of
 * UPDATE messages and gives the bytes of UPDATE messages, encoded once per update group.
 *
 * To read on: `rib.ts` (all together), then along the way of a route: `intake.ts`, `sets.ts` (attributes), `importstage.ts`,
 * `table.ts` (prefixes and their paths), `decide.ts` (the best path), `outbound.ts` and `outtable.ts` (what is announced of
 * it), `group.ts` (to whom, and at whose pace), `composer.ts` (in which messages). Why it is built like this:
 * docs/adr/0010-bgp-tables.md.
 */
export { decisionSteps, defaultDecision } from './decide.ts';
export type { DecisionOptions, DecisionReason } from './decide.ts';
export { directResolver } from './nexthops.ts';
export { createRib } from './rib.ts';
export * from './types.ts';
export { warmUp } from './warmup.ts';
