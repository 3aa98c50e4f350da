/** Where a machine of a scenario sends packets, by its own wires and static routes. Pure. */
import { prefixContains, prefixLength } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import type { Machine } from './topology.ts';

/** The interface whose segment an address is on. */
export function deviceTo(machine: Machine, address: IpAddress): string | undefined {
  return machine.interfaces.find((own) => prefixContains(own.segment.prefix, address))?.name;
}

/** Where a machine sends what is for an address: to itself when connected, or by the longest of its static routes. */
export function nextHop(machine: Machine, address: IpAddress): IpAddress | undefined {
  if (deviceTo(machine, address) !== undefined) return address;
  const routes = machine.routes.filter(({ to }) => prefixContains(to, address));
  return routes.sort((a, b) => prefixLength(b.to) - prefixLength(a.to))[0]?.via;
}
