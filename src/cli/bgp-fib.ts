/**
 * `fib: kernel` of a speaker that runs alone: next hops are resolved through the kernel's main table, best paths go into
 * it through the route reconciler, which owns nothing but routes with our protocol number.
 */
import { systemClock } from '../base/mod.ts';
import type { Logger } from '../base/mod.ts';
import type { BgpConfig, KernelFib } from '../bgp/mod.ts';
import { BgpRoutes, RouteViewResolver } from '../bgp/fib/mod.ts';
import { MainTable, openRouteKernel, RouteReconciler } from '../dataplane/mod.ts';

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
  const table = new MainTable(kernel, { clock: systemClock, protocol, changed: (view) => resolver.replace(view) });
  const following = table.follow();
  const stop = new AbortController();
  const running = reconciler.run(stop.signal);
  return {
    sink: routes,
    resolver,
    async close(keepRoutes) {
      following[Symbol.dispose]();
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
