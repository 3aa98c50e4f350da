/**
 * How this node reaches addresses by routes that are not ours: the main table in terms of device names, followed through
 * the kernel's events, and the node's own addresses, beyond which there is nothing to reach. BGP's next hops are resolved
 * through it.
 */
import type { Clock } from '../../base/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { hostPrefix, isLinkLocal } from '../../net/mod.ts';
import { isUp, RTN } from '../../netlink/mod.ts';
import type { KernelEvent } from '../../netlink/mod.ts';
import { KernelError } from '../../sys/mod.ts';
import type { RouteKernel } from './kernel.ts';

/** Bursts of kernel events are looked at once, milliseconds. */
const SETTLE_MS = 20;

export interface MainRoute {
  readonly destination: Prefix;
  readonly metric: number;
  /** Empty where nothing gets through: blackholes, devices that are down, our own addresses. */
  readonly hops: readonly { readonly via?: IpAddress; readonly device: string }[];
}

export interface MainTableOptions {
  readonly clock: Clock;
  /** Routes with this protocol number are ours, and left out. */
  readonly protocol: number;
  /** Told the whole view each time it was read. */
  readonly changed: (routes: readonly MainRoute[]) => void;
}

export class MainTable {
  private readonly kernel: RouteKernel;
  private readonly options: MainTableOptions;
  private look: Disposable | undefined;

  constructor(kernel: RouteKernel, options: MainTableOptions) {
    this.kernel = kernel;
    this.options = options;
  }

  /** Reads it now, and follows the kernel until disposed. Throws KernelError when there are no events to be had. */
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
    let routes: MainRoute[];
    try {
      routes = this.read();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      // the table changes faster than it can be read: what was seen holds until the next look
      this.later();
      return;
    }
    this.options.changed(routes);
  }

  private read(): MainRoute[] {
    const names = new Map(this.kernel.links().map((link) => [link.index, isUp(link) ? link.name : undefined]));
    // packets that come back to where they are get nowhere; of link-local addresses every link has its own
    const own = this.kernel
      .addresses()
      .filter(({ index, address }) => names.get(index) !== undefined && !isLinkLocal(address))
      .map(({ address }) => ({ destination: hostPrefix(address), metric: 0, hops: [] }));
    const routes = this.kernel
      .routes()
      .filter((route) => route.protocol !== this.options.protocol)
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
    // the kernel looks for its own addresses before all else
    return [...own, ...routes];
  }

  private onEvent(event: KernelEvent): void {
    // our own writes do not change how next hops are reached, nor do neighbours come and go with pods' links
    if (event.type === 'route' && event.route.protocol === this.options.protocol) return;
    if (event.type === 'link' && event.link.alias.startsWith('godwit:')) return;
    this.later();
  }

  private later(): void {
    this.look ??= this.options.clock.after(SETTLE_MS, () => {
      this.look = undefined;
      this.refresh();
    });
  }
}
