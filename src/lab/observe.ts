/** What is in the kernel: routes, addresses and links of each namespace of a lab, read at one moment. */
import { readFileSync } from 'node:fs';
import { isLinkLocal, isLoopback, prefixAddress } from '../net/mod.ts';
import type { Family, InterfaceAddress } from '../net/mod.ts';
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
  /** The main table's routes, IPv4's first, in the kernel's order; without the link-local one each interface has. */
  readonly routes: readonly ObservedRoute[];
  readonly addresses: readonly (InterfaceAddress & { readonly device: string })[];
  /** In which families it passes on packets that are not for itself. */
  readonly forwards: readonly Family[];
}

const families = [4, 6] as const;
const FORWARDING = { 4: '/proc/sys/net/ipv4/ip_forward', 6: '/proc/sys/net/ipv6/conf/all/forwarding' } as const;

/** Throws KernelError when there is no such namespace. */
export function observe(name: string, path: string): ObservedNode {
  using namespace = NetworkNamespace.open(path);
  using netlink = Rtnetlink.in(namespace);
  const names = new Map(netlink.links().map((link) => [link.index, link.name]));
  const nameOf = (index: number) => names.get(index) ?? `if${index}`;
  const routes = families
    .flatMap((family) => netlink.routes(family, { table: RT_TABLE.MAIN }))
    .filter(({ table, destination }) => table === RT_TABLE.MAIN && !isLinkLocal(prefixAddress(destination)))
    .map((route) => ({ route, line: iprouteLine(route, nameOf) }));
  const addresses = families
    .flatMap((family) => netlink.addresses(family))
    .filter(({ address }) => !isLoopback(address) && !isLinkLocal(address))
    .map(({ address, prefixLength, index }) => ({ address, prefixLength, device: nameOf(index) }));
  const forwards = namespace.run(() => families.filter((f) => readFileSync(FORWARDING[f], 'latin1').trim() === '1'));
  return { name, routes, addresses, forwards };
}
