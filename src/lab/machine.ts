/** Where a machine of a scenario sends packets, by its own wires and static routes. Pure. */
import { familyOf, prefixContains, prefixLength } from '../net/mod.ts';
import type { Family, IpAddress } from '../net/mod.ts';
import type { Machine } from './topology.ts';

/** The address it is known by: the first of its first interface, or the one of that family, if it has one. */
export const addressOf = ({ interfaces }: Machine, family?: Family): IpAddress | undefined =>
  interfaces[0]!.addresses.find(({ address }) => family === undefined || familyOf(address) === family)?.address;

/** The one it has for certain: routing programs run only on machines with IPv4, and so do Flannel's agents. */
export const ipv4Of = (machine: Machine): IpAddress => addressOf(machine, 4)!;

export const allAddresses = ({ interfaces }: Machine): IpAddress[] =>
  interfaces.flatMap(({ addresses }) => addresses.map(({ address }) => address));

/** The interface whose segment an address is on. */
export function deviceTo(machine: Machine, address: IpAddress): string | undefined {
  return machine.interfaces.find(({ segment }) => segment.prefixes.some((prefix) => prefixContains(prefix, address)))
    ?.name;
}

/** Where a machine sends what is for an address: to itself when connected, or by the longest of its static routes. */
export function nextHop(machine: Machine, address: IpAddress): IpAddress | undefined {
  if (deviceTo(machine, address) !== undefined) return address;
  const routes = machine.routes.filter(({ to }) => prefixContains(to, address));
  return routes.sort((a, b) => prefixLength(b.to) - prefixLength(a.to))[0]?.via;
}
