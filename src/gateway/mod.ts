/**
 * The gateway announcer: ownership from the datastore, by BGP to the gateways, so that the hosts need no session with them.
 * `announce.ts` and `guard.ts` decide and are pure; `announcer.ts` wires them to the datastore and a speaker.
 */
export * from './announce.ts';
export * from './announcer.ts';
export * from './config.ts';
export * from './control.ts';
export * from './guard.ts';
export * from './peer-config.ts';
