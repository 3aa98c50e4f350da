/** Other BGP daemons as peers in namespaces: start one with `start…`, ask it for its sessions and routes. */
export * from './bird.ts';
export { testCollisions } from './collisions.ts';
export * from './daemon.ts';
export * from './exabgp.ts';
export * from './frr.ts';
export * from './gobgp.ts';
export * from './godwit.ts';
export * from './lan.ts';
export * from './openbgpd.ts';
export * from './pair.ts';
export * from './spec.ts';
export { collisionSettings } from './star.ts';
