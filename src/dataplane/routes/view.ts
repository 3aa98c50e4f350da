/** The routes a node has from elsewhere, by device name: what BGP's next hops are resolved through. */
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { isUp, RTN } from '../../netlink/mod.ts';
import type { RouteKernel } from './kernel.ts';

export interface ForeignRoute {
  readonly destination: Prefix;
  readonly metric: number;
  /** Those whose device is up; empty: the destination is out of reach (blackhole and the like). */
  readonly hops: readonly { readonly via?: IpAddress; readonly device: string }[];
}

/** The main table without the routes of `protocol`. Throws KernelError, also while the table changes faster than it is read. */
export function foreignRoutes(kernel: RouteKernel, protocol: number): ForeignRoute[] {
  const names = new Map(kernel.links().flatMap((link) => (isUp(link) ? [[link.index, link.name] as const] : [])));
  return kernel
    .routes()
    .filter((route) => route.protocol !== protocol)
    .map(({ destination, priority: metric, type, nextHops }) => {
      const usable = type === RTN.UNICAST ? nextHops : [];
      const hops = usable.flatMap(({ index, gateway }) => {
        const device = names.get(index);
        return device === undefined ? [] : [{ device, ...(gateway && { via: gateway }) }];
      });
      return { destination, metric, hops };
    });
}
