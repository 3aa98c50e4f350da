/** Pure: what the datastore says, to what this node's kernel should hold. */
export { LeaseTable } from './lease-table.ts';
export type { RouteChanges } from './lease-table.ts';
export { keepRoute, leaseRoutes } from './leases.ts';
export type {
  Connected,
  LeaseFact,
  LeaseProblem,
  LeaseProblemKind,
  LeaseRoutes,
  LeaseView,
  LeaseVxlan,
} from './leases.ts';
export * from './bgp/cluster.ts';
export * from './bgp/gateways.ts';
export * from './bgp/sessions.ts';
export * from './nat.ts';
export * from './tunnels/encapsulation.ts';
export * from './tunnels/peers.ts';
export * from './tunnels/settings.ts';
export * from './reflectors/mod.ts';
