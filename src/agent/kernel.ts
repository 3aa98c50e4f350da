/** All that the agent touches in the kernel, opened in one network namespace: its own, or one it is told. */
import { openRouteKernel, openSysctls, watchForwarding } from '../dataplane/mod.ts';
import type { RouteKernel, Sysctls } from '../dataplane/mod.ts';
import { monitorKernel, RT_TABLE, Rtnetlink } from '../netlink/mod.ts';
import type { KernelEvent } from '../netlink/mod.ts';
import { openNftables } from '../nft/mod.ts';
import type { Nftables } from '../nft/mod.ts';
import type { NetworkNamespace } from '../sys/mod.ts';
import type { HostSnapshot } from './detect.ts';

export interface NodeKernel extends Disposable {
  readonly netlink: Rtnetlink;
  readonly routes: RouteKernel;
  readonly sysctls: Sysctls;
  /** Opened at the first call; throws KernelError on a kernel without netfilter, and tries again at the next. */
  nft(): Nftables;
  /** Runs a synchronous stretch inside; sockets opened there stay there. */
  inside<T>(action: () => T): T;
  /** With `routes`, the main tables too. */
  snapshot(options?: { readonly routes?: boolean }): HostSnapshot;
  /** Links and addresses. */
  watch(tell: (event: KernelEvent) => void): Disposable;
  /** Somebody switched forwarding. */
  watchForwarding(changed: () => void): Disposable;
  /** Somebody else changed nf_tables; throws KernelError without netfilter. */
  watchNft(changed: () => void): Disposable;
}

export function openNodeKernel(namespace?: NetworkNamespace): NodeKernel {
  const inside = <T>(action: () => T): T => (namespace ? namespace.run(action) : action());
  const netlink = inside(() => new Rtnetlink());
  const routes = inside(openRouteKernel);
  let nft: Nftables | undefined;
  return {
    netlink,
    routes: { ...routes, watch: (tell) => inside(() => routes.watch(tell)) },
    sysctls: openSysctls(namespace),
    nft: () => (nft ??= inside(openNftables)),
    inside,
    snapshot(options = {}) {
      const table = { table: RT_TABLE.MAIN };
      const all = options.routes === true ? [...netlink.routes(4, table), ...netlink.routes(6, table)] : [];
      return { links: netlink.links(), addresses: netlink.addresses(), routes: all };
    },
    watch: (tell) => inside(() => monitorKernel(tell, { groups: ['LINK', 'IPV4_IFADDR', 'IPV6_IFADDR'] })),
    watchForwarding: (changed) => inside(() => watchForwarding(changed)),
    watchNft(changed) {
      const tables = (nft ??= inside(openNftables));
      return inside(() => tables.watch(changed));
    },
    [Symbol.dispose]() {
      netlink[Symbol.dispose]();
      routes[Symbol.dispose]();
      nft?.[Symbol.dispose]();
    },
  };
}
