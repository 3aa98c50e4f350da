/** Calico's IPAM: addresses by block, affinity and handle. */
export * from './affinities.ts';
export * from './audit.ts';
export * from './block.ts';
export * from './collect.ts';
export { BlockIpam } from './engine.ts';
export type { BlockIpamOptions } from './engine.ts';
export { FollowedSettings } from './followed-settings.ts';
export * from './keys.ts';
export * from './operations.ts';
export * from './ownership.ts';
export * from './records.ts';
export * from './requests.ts';
export { nextBlock } from './search.ts';
export * from './settings.ts';
export * from './tunnels.ts';
