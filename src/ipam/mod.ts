/** Addresses for nodes: Flannel's network configuration and subnet leases. */
export { acquireLease } from './acquire.ts';
export type { HeldLease } from './acquire.ts';
export * from './choose.ts';
export * from './config.ts';
export * from './lease.ts';
export * from './manager.ts';
export * from './network.ts';
export * from './subnet-env.ts';
