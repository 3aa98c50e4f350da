/**
 * How this node reaches next hops. BGP's are resolved through the main table without our own routes, and where its default
 * routes go decides who its gateways are.
 */
import { RouteViewResolver } from '../../bgp/fib/mod.ts';
import type { ViewRoute } from '../../bgp/fib/mod.ts';
import type { Clock } from '../../base/mod.ts';
import { gatewaysOf, noGateways } from '../../calc/mod.ts';
import type { Gateways } from '../../calc/mod.ts';
import { MainTable } from '../../dataplane/mod.ts';
import type { MainRoute, RouteKernel } from '../../dataplane/mod.ts';

export class NextHops {
  readonly resolver = new RouteViewResolver();
  /** Where this node's default routes go. */
  gateways: Gateways = noGateways;
  private readonly table: MainTable;
  private readonly extra: () => readonly ViewRoute[];
  private readonly changed: () => void;

  /** `extra`: routes of ours that next hops may go through all the same; `changed` is called when the gateways have. */
  constructor(
    kernel: RouteKernel,
    protocol: number,
    options: { readonly extra: () => readonly ViewRoute[]; readonly changed: () => void; readonly clock: Clock },
  ) {
    this.extra = options.extra;
    this.changed = options.changed;
    this.table = new MainTable(kernel, { clock: options.clock, protocol, changed: (routes) => this.take(routes) });
    this.refresh();
  }

  /** Follows the kernel until disposed. Throws KernelError. */
  follow(): Disposable {
    return this.table.follow();
  }

  /** Reads the kernel's routes anew. */
  refresh(): void {
    this.table.refresh();
  }

  private take(routes: readonly MainRoute[]): void {
    this.resolver.replace([...this.extra(), ...routes]);
    const gateways = gatewaysOf(routes, this.gateways);
    if (Bun.deepEquals(gateways, this.gateways)) return;
    this.gateways = gateways;
    this.changed();
  }
}
