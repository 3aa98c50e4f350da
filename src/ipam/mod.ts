/**
 * Who owns which address: subnets for nodes (Flannel's network configuration and leases), and the node's own pods inside
 * its subnet.
 */
export { acquireLease } from './acquire.ts';
export type { HeldLease } from './acquire.ts';
export * from './choose.ts';
export * from './config.ts';
export * from './lease.ts';
export * from './local-pool.ts';
export * from './local-store.ts';
export * from './manager.ts';
export * from './network.ts';
export * from './subnet-env.ts';
export * from './vxlan-backend.ts';
