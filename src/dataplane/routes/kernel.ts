/** What the route reconciler needs of a kernel: a narrow interface, so that a fake can stand beside the real one. */
import { addRoute, deleteRoute, monitorKernel, Rtnetlink, RT_TABLE } from '../../netlink/mod.ts';
import type { KernelEvent, KernelRoute, Link } from '../../netlink/mod.ts';
import type { KernelError } from '../../sys/mod.ts';

export type RouteWrite = { readonly op: 'create' | 'replace' | 'delete'; readonly route: KernelRoute };

export interface RouteKernel extends Disposable {
  links(): readonly Link[];
  /** The main table of both families; with `protocol` only that owner's routes. */
  routes(protocol?: number): readonly KernelRoute[];
  /** One entry a write: undefined, or what the kernel refused. */
  write(writes: readonly RouteWrite[]): readonly (KernelError | undefined)[];
  /** Tells changes of others until disposed. */
  watch(tell: (event: KernelEvent) => void): Disposable;
}

/** The kernel of the network namespace this thread is in when it is made. */
export function openRouteKernel(): RouteKernel {
  const netlink = new Rtnetlink();
  return {
    links: () => netlink.links(),
    routes(protocol) {
      const filter = { table: RT_TABLE.MAIN, ...(protocol === undefined ? {} : { protocol }) };
      return [...netlink.routes(4, filter), ...netlink.routes(6, filter)];
    },
    write: (writes) =>
      netlink.changeEach(writes, (batch, { op, route }) => {
        if (op === 'delete') deleteRoute(batch, route);
        else addRoute(batch, route, op);
      }),
    watch: (tell) => monitorKernel(tell, { except: netlink.portId }),
    [Symbol.dispose]: () => netlink[Symbol.dispose](),
  };
}
