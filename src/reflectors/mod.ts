/** Automatic route reflectors on a node: the plan in the datastore, this node's word about it, and whoever makes the next. */
export { ReflectorKeeper } from './keeper.ts';
export type { ReflectorKeeperOptions, TopologyView } from './keeper.ts';
export * from './records.ts';
