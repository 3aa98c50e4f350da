/**
 * `fib: kernel` of a speaker that runs alone: next hops are resolved through the kernel's main table, best paths go into
 * it through the route reconciler, which owns nothing but routes with our protocol number.
 */
import type { Logger } from '../base/mod.ts';
import type { BgpConfig, KernelFib } from '../bgp/mod.ts';
import { BgpRoutes, RouteViewResolver } from '../bgp/fib/mod.ts';
import type { ViewRoute } from '../bgp/fib/mod.ts';
import { openRouteKernel, RouteReconciler } from '../dataplane/mod.ts';
import type { RouteKernel } from '../dataplane/mod.ts';
import { RTN } from '../netlink/mod.ts';

/** Bursts of kernel events are looked at once. */
const SETTLE_MS = 50;
const PRODUCER = 'bgp';

export function openKernelFib(config: BgpConfig, log: Logger): KernelFib {
  const protocol = config.fib.type === 'kernel' ? config.fib.protocol : 0;
  const kernel = openRouteKernel();
  const reconciler = new RouteReconciler({ kernel, protocol, log });
  reconciler.expect(PRODUCER);
  const routes = new BgpRoutes({
    addDesired: (route) => reconciler.addDesired(PRODUCER, route),
    removeDesired: (destination) => reconciler.removeDesired(PRODUCER, { destination }),
    markInSync: () => reconciler.markInSync(PRODUCER),
  });
  const resolver = new RouteViewResolver();
  resolver.replace(viewOf(kernel, protocol));

  let look: ReturnType<typeof setTimeout> | undefined;
  const watch = kernel.watch((event) => {
    // our own writes do not change how next hops are reached
    if (event.type === 'route' && event.route.protocol === protocol) return;
    look ??= setTimeout(() => {
      look = undefined;
      resolver.replace(viewOf(kernel, protocol));
    }, SETTLE_MS);
  });
  const stop = new AbortController();
  const running = reconciler.run(stop.signal);
  return {
    sink: routes,
    resolver,
    async close(keepRoutes) {
      clearTimeout(look);
      watch[Symbol.dispose]();
      stop.abort();
      await running;
      if (!keepRoutes) {
        reconciler.setDesired(PRODUCER, []);
        reconciler.markInSync(PRODUCER);
        await reconciler.pass();
      }
      kernel[Symbol.dispose]();
    },
  };
}

/** The main table without our own routes, in terms of device names. */
function viewOf(kernel: RouteKernel, protocol: number): ViewRoute[] {
  const names = new Map(kernel.links().map((link) => [link.index, link.name]));
  return kernel
    .routes()
    .filter((route) => route.protocol !== protocol)
    .map((route) => ({
      destination: route.destination,
      metric: route.priority,
      hops:
        route.type === RTN.UNICAST
          ? route.nextHops.flatMap((hop) => {
              const device = names.get(hop.index);
              return device === undefined ? [] : [{ device, ...(hop.gateway && { via: hop.gateway }) }];
            })
          : [],
    }));
}
