/**
 * The gateway announcer: ownership from the datastore, by BGP to the gateways, so that the hosts need no session with them.
 *
 *     sources/ ─► facts ─► plan (announce, aggregate) ─► guard ─► speaker
 *
 * `facts.ts` is what the sources say, `announce.ts` and `aggregate.ts` decide what is made of it, `plan.ts` keeps that up
 * to date, `guard.ts` holds back what would be too much at once: all pure. `announcer.ts` wires them to a speaker.
 */
export type { AggregateRule } from './aggregate.ts';
export type { AnnounceOptions, Announcement, LeftOut } from './announce.ts';
export * from './announcer.ts';
export * from './config.ts';
export * from './control.ts';
export { needsDatastore, openSources } from './open.ts';
export * from './peer-config.ts';
