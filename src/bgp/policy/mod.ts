/**
 * Import and export policies: terms that match on attributes and prefixes, and change attributes or decide. `compile`
 * turns their description into the `RoutePolicy` that the tables run.
 */
export * from './types.ts';
