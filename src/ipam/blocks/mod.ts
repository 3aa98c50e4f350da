/** Calico's IPAM: addresses by block, affinity and handle. */
export * from './block.ts';
export { BlockIpam } from './engine.ts';
export type { BlockIpamOptions } from './engine.ts';
export * from './keys.ts';
export * from './operations.ts';
export * from './records.ts';
export * from './requests.ts';
export * from './settings.ts';
