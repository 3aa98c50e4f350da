/** Desired routes in the kernel's terms: device names become interface indexes, and two routes can be compared. */
import { err, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import type { Route } from '../../desired/mod.ts';
import { isUp, kernelRoute, RTN, RTNH_F } from '../../netlink/mod.ts';
import type { KernelNextHop, KernelRoute, Link } from '../../netlink/mod.ts';

/** The kernel's form of a desired route, or why it cannot be written now. */
export function resolveRoute(
  route: Route,
  protocol: number,
  links: ReadonlyMap<string, Link>,
): Result<KernelRoute, string> {
  const nextHops: Partial<KernelNextHop>[] = [];
  for (const hop of route.nextHops) {
    const link = links.get(hop.device);
    if (!link) return err(`there is no device ${hop.device}`);
    if (!isUp(link)) return err(`device ${hop.device} is down`);
    nextHops.push({ gateway: hop.via, index: link.index, flags: hop.onlink === true ? RTNH_F.ONLINK : 0 });
  }
  return ok(
    kernelRoute({
      ...{ destination: route.destination, protocol, nextHops, source: route.source, mtu: route.mtu ?? 0 },
      ...(route.type === 'blackhole' ? { type: RTN.BLACKHOLE } : {}),
      ...(route.metric === undefined ? {} : { priority: route.metric }),
    }),
  );
}

const hopKey = (hop: KernelNextHop): string => `${hop.gateway} ${hop.index} ${hop.flags & RTNH_F.ONLINK} ${hop.weight}`;

/** Whether the kernel holds what is wanted; state the kernel adds by itself (linkdown, dead) does not count. */
export function sameRoute(a: KernelRoute, b: KernelRoute): boolean {
  if (a.type !== b.type || a.source !== b.source || a.mtu !== b.mtu || a.nextHops.length !== b.nextHops.length)
    return false;
  if (a.nextHops.length === 1) return hopKey(a.nextHops[0]!) === hopKey(b.nextHops[0]!);
  const hops = new Set(a.nextHops.map(hopKey));
  return b.nextHops.every((hop) => hops.has(hopKey(hop)));
}
