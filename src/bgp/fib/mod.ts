/**
 * From best paths to routes of this node, and from the node's routes to how a next hop is reached. Pure: the reconciler
 * that writes routes and the dump that reads them are the caller's.
 */
export * from './resolver.ts';
export * from './routes.ts';
