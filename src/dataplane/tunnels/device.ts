/**
 * What every kind of tunnel device has in common: its mark, size and address, and that it goes only when nobody uses it
 * any more.
 */
import type { Clock } from '../../base/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { addAddress, deleteAddress, IFA_F, isUp, RT_TABLE, setLink } from '../../netlink/mod.ts';
import type { KernelAddress, KernelRoute, Link, Rtnetlink } from '../../netlink/mod.ts';
import type { Nftables } from '../../nft/mod.ts';
import { ROUTED_PREFIX } from '../endpoints-routed.ts';
import type { PlannedChange } from '../part.ts';
import type { Sysctls } from '../sysctl.ts';
import type { ReversePaths } from './reverse-paths.ts';

/** What tunnels touch of the kernel; the agent's kernel fits. */
export interface TunnelKernel {
  readonly netlink: Rtnetlink;
  readonly sysctls: Sysctls;
  /** Opened at the first call. */
  nft(): Nftables;
  /** Runs a synchronous stretch in the node's namespace. */
  inside<T>(action: () => T): T;
}

export interface TunnelOptions {
  readonly clock?: Clock;
  /** How long nothing must have come in before a tunnel that is not wanted any more goes. */
  readonly quietMs?: number;
  /** Names of the devices of this node's pods, for its guards; one that ends with `*` is the beginning of one. */
  readonly pods?: readonly string[];
  /** Shared by all tunnels of a node: they may have their uplink in common. */
  readonly reversePaths?: ReversePaths | undefined;
}

export const DEFAULT_QUIET_MS = 60_000;
export const DEFAULT_PODS: readonly string[] = [`${ROUTED_PREFIX}*`];

/** How a tunnel stands, for status and for what is published. */
export interface TunnelState {
  /** The other nodes may send to it. */
  readonly inPlace: boolean;
  /** What is not wanted any more and still there: what it waits for. */
  readonly waiting: string | undefined;
}

const LINK_SCOPE = 253;

const globalAddresses = (netlink: Rtnetlink, index: number): KernelAddress[] =>
  netlink.addresses().filter((a) => a.index === index && a.scope !== LINK_SCOPE);

/** Marks the device, brings it up with this MTU and exactly this one global address; what differs, as changes. */
export function deviceChanges(
  netlink: Rtnetlink,
  link: Link,
  want: { readonly mark: string; readonly mtu: number; readonly address: IpAddress | undefined },
): PlannedChange[] {
  const { index, name } = link;
  const changes: PlannedChange[] = [];
  const add = (text: string, build: (batch: Parameters<Parameters<Rtnetlink['change']>[0]>[0]) => void) =>
    changes.push({ text, apply: () => netlink.change(build) });
  if (link.alias !== want.mark)
    add(`ip link set ${name} alias ${want.mark}`, (b) => void setLink(b, index, { alias: want.mark }, name));
  if (link.mtu !== want.mtu)
    add(`ip link set ${name} mtu ${want.mtu}`, (b) => void setLink(b, index, { mtu: want.mtu }, name));
  const there = globalAddresses(netlink, index);
  const { address } = want;
  if (address !== undefined && !there.some((a) => a.address === address)) {
    const prefixLength = familyOf(address) === 4 ? 32 : 128;
    // there is nobody on a tunnel to ask whether the address is taken
    const options = familyOf(address) === 6 ? { flags: IFA_F.NODAD } : {};
    add(`ip address add ${address} dev ${name}`, (b) => void addAddress(b, index, { address, prefixLength }, options));
  }
  for (const surplus of there) {
    if (surplus.address === address) continue;
    add(`ip address del ${surplus.address} dev ${name}`, (b) => void deleteAddress(b, index, surplus));
  }
  if (!isUp(link)) add(`ip link set ${name} up`, (b) => void setLink(b, index, { up: true }, name));
  return changes;
}

/** Takes away every global address. */
export function clearAddresses(netlink: Rtnetlink, index: number): void {
  netlink.changeEach(globalAddresses(netlink, index), (batch, a) => void deleteAddress(batch, index, a));
}

/** Routes of the main tables through a device; the kernel's own do not count. */
function routesBy(netlink: Rtnetlink, index: number): KernelRoute[] {
  const RTPROT_KERNEL = 2;
  const main = { table: RT_TABLE.MAIN };
  const routes = [...netlink.routes(4, main), ...netlink.routes(6, main)];
  return routes.filter((r) => r.protocol !== RTPROT_KERNEL && r.nextHops.some((hop) => hop.index === index));
}

/** How many routes go through a device. */
export const routesThrough = (netlink: Rtnetlink, index: number): number => routesBy(netlink, index).length;

/** The gateways that routes through a device name. */
export function gatewaysThrough(netlink: Rtnetlink, index: number): Set<IpAddress> {
  const hops = routesBy(netlink, index).flatMap((route) => route.nextHops);
  return new Set(hops.flatMap((hop) => (hop.index === index && hop.gateway !== undefined ? [hop.gateway] : [])));
}

export interface Waiting {
  readonly reason: string;
  /** When to look again, milliseconds. */
  readonly forMs: number;
}

/**
 * When a tunnel that is not wanted any more may go: once no route of this node uses it, and nothing has come in by it for
 * a while. The others learn by and by that it is not wanted; until they have, they go on sending.
 */
export class Farewell {
  private readonly clock: Clock;
  private readonly quietMs: number;
  private since: number | undefined;
  private received: number | undefined;

  constructor(clock: Clock, quietMs: number) {
    this.clock = clock;
    this.quietMs = quietMs;
  }

  /** It is wanted again. */
  reset(): void {
    this.since = undefined;
    this.received = undefined;
  }

  /** Undefined when it may go now, else why not. `received` is any number that grows with what comes in. */
  waitsFor(routes: number, received: number): Waiting | undefined {
    const now = this.clock.now();
    if (this.received !== received || this.since === undefined) this.since = now;
    this.received = received;
    if (routes > 0) return { reason: `${routes} routes through it`, forMs: Math.max(100, this.quietMs) };
    const left = this.since + this.quietMs - now;
    if (left <= 0) return undefined;
    return { reason: `${Math.ceil(left / 1000)} s more without a packet from another node`, forMs: left };
  }
}
