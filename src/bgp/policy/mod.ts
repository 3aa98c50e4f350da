/**
 * Import and export policies: terms that match on attributes and prefixes, and change attributes or decide. `compilePolicy`
 * turns their description into the `RoutePolicy` that the tables run.
 */
export * from './types.ts';
export { compileAsPath } from './aspath.ts';
export { hasWildcard, parseCommunity } from './community.ts';
export { compilePolicy } from './compile.ts';
export type { DevicesOf } from './compile.ts';
export { permits } from './prefixlist.ts';
