import type { IpAddress, Prefix } from '../net/mod.ts';

/**
 * Where a desired route comes from. When two producers want the same destination the class that stands first here wins;
 * the loser is kept and takes over when the winner goes.
 */
export const routeClasses = ['endpoint', 'tunnel', 'lease', 'bgp', 'blackhole'] as const;
export type RouteClass = (typeof routeClasses)[number];

export interface NextHop {
  /** The gateway; absent for a destination that is directly on `device`. */
  readonly via?: IpAddress;
  /** Interface name. */
  readonly device: string;
  /** The gateway is reachable on `device` although no connected prefix says so. */
  readonly onlink?: boolean;
}

export interface Route {
  readonly destination: Prefix;
  readonly class: RouteClass;
  readonly type: 'unicast' | 'blackhole';
  /** Empty for a blackhole; more than one for multipath. Order does not matter. */
  readonly nextHops: readonly NextHop[];
  /** Preferred source address of packets this node itself sends. */
  readonly source?: IpAddress;
  readonly metric?: number;
  /** Path MTU for this destination, bytes. */
  readonly mtu?: number;
}
