/**
 * What a routed pod's link needs beyond the pair itself, as Calico sets it up. All pods have the same gateway, an address no
 * interface carries: for 169.254.1.1 the host's end answers ARP in the place of its owner (proxy ARP), and every host's end
 * has the same MAC, so that a pod that is moved finds its gateway where it was. With IPv6 the gateway is the host's end's
 * link-local address, the same everywhere for the same reason.
 *
 * The host's end is the border to whatever runs in the pod: a strict reverse path check (RFC 3704 section 2.2) drops what
 * claims another source than the route leads to, and router advertisements and redirects are not listened to. IPv6 has no
 * reverse path setting; see `source-check.ts`. A pod without IPv6 has an end here that takes none: the node may forward it
 * for others.
 */
import { readFileSync } from 'node:fs';
import { familyOf, hostPrefix } from '../net/mod.ts';
import type { IpAddress, MacAddress } from '../net/mod.ts';
import { addAddress, addRoute, IFA_F, IPV4_DEVCONF, kernelRoute, RTPROT, setLink } from '../netlink/mod.ts';
import { setNeighbour } from '../netlink/mod.ts';
import type { Batch, Link } from '../netlink/mod.ts';
import { writeSysctl } from '../sys/mod.ts';
import type { NetworkNamespace } from '../sys/mod.ts';

/** The MAC of every routed pod's host end. */
export const ROUTED_HOST_MAC = 'ee:ee:ee:ee:ee:ee' as MacAddress;

/** The gateway of every routed pod; the IPv6 one is made of the MAC (RFC 4291 appendix A). */
export const ROUTED_GATEWAY: Readonly<Record<4 | 6, IpAddress>> = {
  4: '169.254.1.1' as IpAddress,
  6: 'fe80::ecee:eeff:feee:eeee' as IpAddress,
};

/** Names of host ends of routed pods begin so. */
export const ROUTED_PREFIX = 'cali';

/** The settings that only /proc can write; before the link is up. Synchronous. */
export function guardLink(host: NetworkNamespace, name: string, ipv6: boolean): void {
  host.run(() => {
    // a proxy's answer is else put off by a random time
    writeSysctl(`net/ipv4/neigh/${name}/proxy_delay`, 0);
    const settings = {
      // no pod becomes this node's router (CVE-2020-10749), or bends its routes
      ...{ accept_ra: 0, accept_redirects: 0 },
      ...(ipv6 ? { disable_ipv6: 0, accept_dad: 0, proxy_ndp: 1, forwarding: 1 } : { disable_ipv6: 1 }),
    };
    try {
      for (const [key, value] of Object.entries(settings)) writeSysctl(`net/ipv6/conf/${name}/${key}`, value);
    } catch (error) {
      // a kernel without IPv6 has nothing to guard
      if (ipv6) throw error;
    }
  });
}

/** Sets the rest and lets the link go up. */
export function openLink(batch: Batch, link: Link, ipv6: boolean): void {
  // what it makes by itself comes late, after duplicate detection
  const address = { address: ROUTED_GATEWAY[6], prefixLength: 64 };
  if (ipv6) addAddress(batch, link.index, address, { flags: IFA_F.NODAD });
  const ipv4 = {
    [IPV4_DEVCONF.FORWARDING]: 1,
    [IPV4_DEVCONF.PROXY_ARP]: 1,
    [IPV4_DEVCONF.RP_FILTER]: 1,
    [IPV4_DEVCONF.ACCEPT_SOURCE_ROUTE]: 0,
    // what listens on 127.0.0.1 trusts its callers; who forwards a port there sets this, as the portmap plugin does
    [IPV4_DEVCONF.ROUTE_LOCALNET]: 0,
    [IPV4_DEVCONF.ACCEPT_REDIRECTS]: 0,
    [IPV4_DEVCONF.SEND_REDIRECTS]: 0,
  };
  setLink(batch, link.index, { ipv4 }, link.name);
  setLink(batch, link.index, { up: true }, link.name);
}

/** Inside the pod: where its gateways are; without asking, as they never move. */
export function reachGateways(
  batch: Batch,
  index: number,
  endpoint: { readonly addresses: readonly { readonly address: IpAddress }[]; readonly hostMac: MacAddress },
): void {
  for (const family of new Set(endpoint.addresses.map((a) => familyOf(a.address)))) {
    const gateway = ROUTED_GATEWAY[family];
    setNeighbour(batch, { index, address: gateway, linkAddress: endpoint.hostMac });
    if (family === 6) continue; // link-local: on every link by itself
    const route = kernelRoute({ destination: hostPrefix(gateway), protocol: RTPROT.BOOT, nextHops: [{ index }] });
    addRoute(batch, route, 'replace');
  }
}

interface Guard {
  readonly setting: string;
  /** What it stands at. */
  readonly value: string;
  readonly wanted: string;
}

/** The host end's settings that were changed since it was made. */
function changedGuards(name: string, ipv6: boolean): Guard[] {
  const guards: readonly (readonly [string, string, string?])[] = [
    // systemd makes interfaces that come loose (2); without an address of its own that end is strict all the same
    [`ipv4/conf/${name}/rp_filter`, '1', '2'],
    [`ipv4/conf/${name}/proxy_arp`, '1'],
    [`ipv4/conf/${name}/forwarding`, '1'],
    [`ipv4/conf/${name}/accept_source_route`, '0'],
    [`ipv6/conf/${name}/accept_ra`, '0'],
    [`ipv6/conf/${name}/disable_ipv6`, ipv6 ? '0' : '1'],
  ];
  return guards.flatMap(([setting, wanted, good]) => {
    const value = readSetting(setting);
    return value === undefined || value === wanted || value === good ? [] : [{ setting, value, wanted }];
  });
}

/** The same in words. */
export function unguarded(host: NetworkNamespace, name: string, ipv6: boolean): string[] {
  const changed = host.run(() => changedGuards(name, ipv6));
  return changed.map(({ setting, value, wanted }) => `net/${setting} is ${value}, not ${wanted}`);
}

/** Puts them back, and tells what it put back. Throws what the file system says. */
export function guardAgain(host: NetworkNamespace, name: string, ipv6: boolean): string[] {
  const changed = unguarded(host, name, ipv6);
  host.run(() => {
    for (const { setting, wanted } of changedGuards(name, ipv6)) writeSysctl(`net/${setting}`, wanted);
  });
  return changed;
}

function readSetting(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/net/${name}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}
