/**
 * This node's tunnels: which ones the pools ask for, the addresses of their ends, the devices, and what other nodes are
 * told of them. The decisions are calc's (`Encapsulation`); here they meet IPAM, the kernel and the Node resource.
 */
import { Backoff, sleep, Wakeup } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import { Encapsulation, tunnelKinds, tunnelSettings } from '../../calc/mod.ts';
import type { TunnelKind, Uplink } from '../../calc/mod.ts';
import type { IpipTunnel, VxlanTunnel } from '../../desired/mod.ts';
import { ensureTunnelAddress, releaseTunnelAddress } from '../../ipam/blocks/mod.ts';
import type { BlockIpam } from '../../ipam/blocks/mod.ts';
import type { ResourceStore } from '../../model/mod.ts';
import type { Family, IpAddress } from '../../net/mod.ts';

/** A writer of one tunnel device; undefined: nothing is known yet, and nothing is touched. */
interface TunnelWriter<T> {
  setDesired(want: T | 'absent' | undefined): void;
  state(): { readonly inPlace: boolean; readonly waiting: string | undefined };
}

export interface TunnelWriters {
  readonly ipip: TunnelWriter<IpipTunnel>;
  readonly vxlan: Readonly<Record<Family, TunnelWriter<VxlanTunnel>>>;
}

/** In IPAM's words. */
const inIpam = {
  ipip: { kind: 'ipip', family: 4 },
  vxlan: { kind: 'vxlan', family: 4 },
  vxlan6: { kind: 'vxlan', family: 6 },
} as const satisfies Record<TunnelKind, object>;

export type TunnelAddresses = Readonly<Partial<Record<TunnelKind, IpAddress>>>;

export class Tunnels {
  /** How packets get to other nodes, as of the last plan. */
  encapsulation: Encapsulation | undefined;
  /** By tunnel: why its end has no address. */
  readonly problems = new Map<TunnelKind, string>();
  private readonly node: string;
  private readonly resources: ResourceStore;
  private readonly writers: TunnelWriters;
  private readonly log: Logger;
  private readonly changed: () => void;
  private readonly wakeup = new Wakeup();
  private given: Partial<Record<TunnelKind, IpAddress>> = {};
  /** The pools each address was asked for of, as text. */
  private readonly settled = new Map<TunnelKind, string>();

  constructor(options: {
    readonly node: string;
    readonly resources: ResourceStore;
    readonly writers: TunnelWriters;
    readonly log: Logger;
    /** An address came: plan anew. */
    readonly changed: () => void;
  }) {
    this.node = options.node;
    this.resources = options.resources;
    this.writers = options.writers;
    this.log = options.log;
    this.changed = options.changed;
  }

  /** The ends' addresses: those IPAM gave; before it was asked, those of this node's resource. */
  get addresses(): TunnelAddresses {
    const spec = this.resources.get('Node', this.node)?.spec;
    const before = {
      ipip: spec?.bgp?.ipv4IPIPTunnelAddr,
      vxlan: spec?.ipv4VXLANTunnelAddr,
      vxlan6: spec?.ipv6VXLANTunnelAddr,
    };
    const entries = tunnelKinds.flatMap((kind) => {
      const address = this.settled.has(kind) ? this.given[kind] : before[kind];
      return address === undefined ? [] : [[kind, address] as const];
    });
    return Object.fromEntries(entries);
  }

  get inPlace(): ReadonlySet<TunnelKind> {
    return new Set(tunnelKinds.filter((kind) => this.writerOf(kind).state().inPlace));
  }

  /** The tunnels as they should be from now on, told to their writers. True when a device should be other than before. */
  replan(uplinks: Readonly<Partial<Record<Family, Uplink>>>): Encapsulation {
    const { node, resources, writers } = this;
    const encapsulation = new Encapsulation({
      node,
      pools: [...resources.list('IPPool')].map(({ spec }) => spec),
      nodes: resources.list('Node'),
      settings: tunnelSettings(node, resources.list('FelixConfiguration')),
      ...{ uplinks, addresses: this.addresses, inPlace: this.inPlace },
    });
    this.encapsulation = encapsulation;
    const { needed } = encapsulation;
    writers.ipip.setDesired(encapsulation.ipip() ?? (needed.has('ipip') ? undefined : 'absent'));
    writers.vxlan[4].setDesired(encapsulation.vxlan(4) ?? (needed.has('vxlan') ? undefined : 'absent'));
    writers.vxlan[6].setDesired(encapsulation.vxlan(6) ?? (needed.has('vxlan6') ? undefined : 'absent'));
    if (tunnelKinds.some((kind) => this.due(kind) !== undefined)) this.wakeup.notify();
    return encapsulation;
  }

  /** Asks IPAM for the ends' addresses, and gives back those that nobody needs, until aborted. */
  async run(ipam: BlockIpam, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(200, 30_000);
    while (!signal.aborted) {
      let failed = false;
      for (const kind of tunnelKinds) {
        const pools = this.due(kind);
        if (pools !== undefined && !(await this.settle(ipam, kind, pools, signal))) failed = true;
      }
      if (!failed) {
        backoff.reset();
        await this.wakeup.wait(signal);
      } else await sleep(backoff.next(), signal);
    }
  }

  /** The pools to ask for an address of; empty to give it back, undefined when there is nothing to do. */
  private due(kind: TunnelKind): readonly string[] | undefined {
    const { encapsulation } = this;
    if (!encapsulation) return undefined;
    const needed = encapsulation.needed.has(kind);
    // others may still send to it
    if (!needed && this.writerOf(kind).state().inPlace) return undefined;
    const pools = needed ? encapsulation.poolsFor(kind) : [];
    return this.settled.get(kind) === pools.join() ? undefined : pools;
  }

  private async settle(ipam: BlockIpam, kind: TunnelKind, pools: readonly string[], signal: AbortSignal) {
    const { kind: name, family } = inIpam[kind];
    const done =
      pools.length > 0
        ? await ensureTunnelAddress(ipam, { kind: name, family, pools }, signal)
        : await releaseTunnelAddress(ipam, name, family, signal);
    if (!done.ok) {
      if (this.problems.get(kind) !== done.error.message)
        this.log.warn({ tunnel: kind, error: done.error.message }, 'no address for a tunnel’s end; trying again');
      this.problems.set(kind, done.error.message);
      return false;
    }
    this.problems.delete(kind);
    this.settled.set(kind, pools.join());
    const before = this.given[kind];
    if (typeof done.value === 'string') this.given[kind] = done.value;
    else delete this.given[kind];
    if (this.given[kind] !== before)
      this.log.info({ tunnel: kind, address: this.given[kind] }, 'the address of a tunnel’s end');
    this.changed();
    return true;
  }

  private writerOf(kind: TunnelKind): TunnelWriter<IpipTunnel> | TunnelWriter<VxlanTunnel> {
    return kind === 'ipip' ? this.writers.ipip : this.writers.vxlan[inIpam[kind].family];
  }
}
