/** What is in the kernel: routes, addresses and links of each namespace of a lab, read at one moment. */
import { readFileSync } from 'node:fs';
import { isLinkLocal, isLoopback } from '../net/mod.ts';
import type { InterfaceAddress } from '../net/mod.ts';
import { iprouteLine, Rtnetlink, RT_TABLE } from '../netlink/mod.ts';
import type { KernelRoute } from '../netlink/mod.ts';
import { NetworkNamespace } from '../sys/mod.ts';

export interface ObservedRoute {
  readonly route: KernelRoute;
  /** As `ip route` shows it. */
  readonly line: string;
}

export interface ObservedNode {
  readonly name: string;
  /** The main table's IPv4 routes, in the kernel's order. */
  readonly routes: readonly ObservedRoute[];
  readonly addresses: readonly (InterfaceAddress & { readonly device: string })[];
  /** Whether it passes on packets that are not for itself. */
  readonly forwards: boolean;
}

/** Throws KernelError when there is no such namespace. */
export function observe(name: string, path: string): ObservedNode {
  using namespace = NetworkNamespace.open(path);
  using netlink = Rtnetlink.in(namespace);
  const names = new Map(netlink.links().map((link) => [link.index, link.name]));
  const nameOf = (index: number) => names.get(index) ?? `if${index}`;
  const routes = netlink
    .routes(4, { table: RT_TABLE.MAIN })
    .filter((route) => route.table === RT_TABLE.MAIN)
    .map((route) => ({ route, line: iprouteLine(route, nameOf) }));
  const addresses = netlink
    .addresses(4)
    .filter(({ address }) => !isLoopback(address) && !isLinkLocal(address))
    .map(({ address, prefixLength, index }) => ({ address, prefixLength, device: nameOf(index) }));
  const forwards = namespace.run(() => readFileSync('/proc/sys/net/ipv4/ip_forward', 'latin1')).trim() === '1';
  return { name, routes, addresses, forwards };
}
