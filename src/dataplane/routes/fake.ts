/** A kernel in memory: keeps routes as the real one does, and refuses on demand. */
import type { KernelAddress, KernelEvent, KernelRoute, Link } from '../../netlink/mod.ts';
import { errno, KernelError } from '../../sys/mod.ts';
import type { RouteKernel, RouteWrite } from './kernel.ts';

export class FakeRouteKernel implements RouteKernel {
  linkList: Link[] = [];
  addressList: KernelAddress[] = [];
  table: KernelRoute[] = [];
  /** All writes so far. */
  readonly log: RouteWrite[] = [];
  /** Gives an errno for a write that shall be refused. */
  refuse: (write: RouteWrite) => number | undefined = () => undefined;
  private readonly listeners = new Set<(event: KernelEvent) => void>();

  links(): readonly Link[] {
    return this.linkList;
  }

  addresses(): readonly KernelAddress[] {
    return this.addressList;
  }

  routes(protocol?: number): readonly KernelRoute[] {
    return this.table.filter((route) => protocol === undefined || route.protocol === protocol);
  }

  write(writes: readonly RouteWrite[]): readonly (KernelError | undefined)[] {
    return writes.map((write) => {
      this.log.push(write);
      const number = this.refuse(write) ?? this.apply(write);
      return number === undefined ? undefined : new KernelError(`${write.op} ${write.route.destination}`, number);
    });
  }

  private apply({ op, route }: RouteWrite): number | undefined {
    const same = (r: KernelRoute) => r.destination === route.destination && r.priority === route.priority;
    const at = this.table.findIndex((r) => same(r) && (op !== 'delete' || r.protocol === route.protocol));
    if (op === 'create' && at >= 0) return errno.EEXIST;
    if (op === 'delete' && at < 0) return errno.ESRCH;
    if (op === 'delete') this.table.splice(at, 1);
    else if (at >= 0) this.table[at] = route;
    else this.table.push(route);
    // as from the real one, events are read after the write has returned
    queueMicrotask(() => this.tell({ type: 'route', gone: op === 'delete', route }));
    return undefined;
  }

  watch(tell: (event: KernelEvent) => void): Disposable {
    this.listeners.add(tell);
    return { [Symbol.dispose]: () => void this.listeners.delete(tell) };
  }

  tell(event: KernelEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  [Symbol.dispose](): void {
    this.listeners.clear();
  }
}
