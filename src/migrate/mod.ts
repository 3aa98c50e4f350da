/**
 * From one kind of network to the other without a lost packet: `plan.ts` tells what will change, `run.ts` does it node by
 * node, `finish.ts` takes away what is left, `keeper.ts` is the agent's part, `records.ts` what the datastore holds of it.
 */
export { finishMigration, planFinish } from './finish.ts';
export type { FinishOptions, FinishPlan } from './finish.ts';
export { MigrationKeeper } from './keeper.ts';
export type { MigrationKeeperOptions } from './keeper.ts';
export * from './plan.ts';
export { readDecisions, readMigration } from './read.ts';
export type { MigrationPicture, ReadOptions } from './read.ts';
export * from './records.ts';
export { migrationStatus, runMigration } from './run.ts';
export type { MigrationStatus, RunOptions } from './run.ts';
