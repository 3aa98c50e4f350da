/**
 * How this node reaches next hops: the main table without our own routes, followed through the kernel's events. BGP's
 * next hops are resolved through it, and what is directly connected decides where a tunnel is needed.
 */
import { RouteViewResolver } from '../../bgp/fib/mod.ts';
import type { ViewRoute } from '../../bgp/fib/mod.ts';
import type { Clock } from '../../base/mod.ts';
import { gatewaysOf, noGateways } from '../../calc/mod.ts';
import type { Gateways } from '../../calc/mod.ts';
import { foreignRoutes } from '../../dataplane/mod.ts';
import type { RouteKernel } from '../../dataplane/mod.ts';
import type { KernelEvent } from '../../netlink/mod.ts';
import { KernelError } from '../../sys/mod.ts';

/** Bursts of kernel events are looked at once, milliseconds. */
const SETTLE_MS = 20;

export class NextHops {
  readonly resolver = new RouteViewResolver();
  /** Where this node's default routes go. */
  gateways: Gateways = noGateways;
  private readonly kernel: RouteKernel;
  private readonly protocol: number;
  private readonly clock: Clock;
  private readonly extra: () => readonly ViewRoute[];
  private readonly changed: () => void;
  private look: Disposable | undefined;

  /**
   * `extra`: routes of ours that next hops may go through all the same; `changed` is called when the gateways have. Throws
   * KernelError.
   */
  constructor(
    kernel: RouteKernel,
    protocol: number,
    options: { readonly extra: () => readonly ViewRoute[]; readonly changed: () => void; readonly clock: Clock },
  ) {
    this.kernel = kernel;
    this.protocol = protocol;
    this.extra = options.extra;
    this.changed = options.changed;
    this.clock = options.clock;
    this.refresh();
  }

  /** Follows the kernel until disposed. */
  follow(): Disposable {
    const watch = this.kernel.watch((event) => this.onEvent(event));
    this.refresh();
    return {
      [Symbol.dispose]: () => {
        watch[Symbol.dispose]();
        this.look?.[Symbol.dispose]();
      },
    };
  }

  /** Reads the kernel's routes anew. */
  refresh(): void {
    let view: ViewRoute[];
    try {
      view = foreignRoutes(this.kernel, this.protocol);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      // the table changes faster than it can be read: what was seen holds until the next look
      this.later();
      return;
    }
    this.resolver.replace([...this.extra(), ...view]);
    const gateways = gatewaysOf(view, this.gateways);
    if (Bun.deepEquals(gateways, this.gateways)) return;
    this.gateways = gateways;
    this.changed();
  }

  private onEvent(event: KernelEvent): void {
    // our own writes do not change how next hops are reached, nor do neighbours come and go with pods' links
    if (event.type === 'route' && event.route.protocol === this.protocol) return;
    if (event.type === 'link' && event.link.alias.startsWith('godwit:')) return;
    this.later();
  }

  private later(): void {
    this.look ??= this.clock.after(SETTLE_MS, () => {
      this.look = undefined;
      this.refresh();
    });
  }
}
