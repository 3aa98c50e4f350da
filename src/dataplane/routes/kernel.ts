/** What the route reconciler needs of a kernel: a narrow interface, so that a fake can stand beside the real one. */
import { familyOf, hostPrefix } from '../../net/mod.ts';
import { addRoute, deleteRoute, monitorKernel, RTNH_F, Rtnetlink, RT_TABLE } from '../../netlink/mod.ts';
import type { KernelAddress, KernelEvent, KernelRoute, Link } from '../../netlink/mod.ts';
import { errno } from '../../sys/mod.ts';
import type { KernelError } from '../../sys/mod.ts';

export type RouteWrite = { readonly op: 'create' | 'replace' | 'delete'; readonly route: KernelRoute };

export interface RouteKernel extends Disposable {
  links(): readonly Link[];
  /** The node's own addresses. */
  addresses(): readonly KernelAddress[];
  /** The main table of both families; with `protocol` only that owner's routes. */
  routes(protocol?: number): readonly KernelRoute[];
  /** One entry a write: undefined, or what the kernel refused. */
  write(writes: readonly RouteWrite[]): readonly (KernelError | undefined)[];
  /** Tells changes of others until disposed. */
  watch(tell: (event: KernelEvent) => void): Disposable;
}

/**
 * IPv6 refuses a gateway that is said to be on a link while another route has it elsewhere, and the route that is to be
 * replaced is such a one where the gateway lies within its own destination, as the ends of VXLAN do. A host route to the
 * gateway, there for that moment, convinces it; packets to the destination are carried all the time.
 */
function gatewayRoute({ nextHops, ...route }: KernelRoute): KernelRoute | undefined {
  const [hop] = nextHops;
  if (nextHops.length !== 1 || hop?.gateway === undefined || (hop.flags & RTNH_F.ONLINK) === 0) return undefined;
  if (familyOf(hop.gateway) !== 6) return undefined;
  return { ...route, destination: hostPrefix(hop.gateway), nextHops: [{ ...hop, gateway: undefined, flags: 0 }] };
}

/** The kernel of the network namespace this thread is in when it is made. */
export function openRouteKernel(): RouteKernel {
  const netlink = new Rtnetlink();
  return {
    links: () => netlink.links(),
    addresses: () => netlink.addresses(),
    routes(protocol) {
      const filter = { table: RT_TABLE.MAIN, ...(protocol === undefined ? {} : { protocol }) };
      return [...netlink.routes(4, filter), ...netlink.routes(6, filter)];
    },
    write(writes) {
      const put = (list: readonly RouteWrite[]) =>
        netlink.changeEach(list, (batch, { op, route }) => {
          if (op === 'delete') deleteRoute(batch, route);
          else addRoute(batch, route, op);
        });
      const outcomes = put(writes);
      for (const [i, write] of writes.entries()) {
        if (outcomes[i]?.errno !== errno.EINVAL || write.op === 'delete') continue;
        const helper = gatewayRoute(write.route);
        if (!helper || put([{ op: 'create', route: helper }])[0]) continue;
        [outcomes[i]] = put([write, { op: 'delete', route: helper }]);
      }
      return outcomes;
    },
    watch: (tell) => monitorKernel(tell, { except: netlink.portId }),
    [Symbol.dispose]: () => netlink[Symbol.dispose](),
  };
}
