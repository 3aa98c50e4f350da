/**
 * `fib: kernel` of a speaker that runs alone: next hops are resolved through the kernel's main table, best paths go into
 * it through the route reconciler, which owns nothing but routes with our protocol number.
 */
import type { Logger } from '../base/mod.ts';
import type { BgpConfig, KernelFib } from '../bgp/mod.ts';
import { BgpRoutes, RouteViewResolver } from '../bgp/fib/mod.ts';
import { foreignRoutes, openRouteKernel, RouteReconciler } from '../dataplane/mod.ts';
import { KernelError } from '../sys/mod.ts';

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
  resolver.replace(foreignRoutes(kernel, protocol));

  let look: ReturnType<typeof setTimeout> | undefined;
  const lookLater = () => {
    look ??= setTimeout(() => {
      look = undefined;
      try {
        resolver.replace(foreignRoutes(kernel, protocol));
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        // the table changes faster than it can be read: what was seen holds until the next look
        lookLater();
      }
    }, SETTLE_MS);
  };
  const watch = kernel.watch((event) => {
    // our own writes do not change how next hops are reached
    if (event.type === 'route' && event.route.protocol === protocol) return;
    lookLater();
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
