/**
 * This node's tunnels: which ones the pools ask for, the addresses of their ends, the devices, and what other nodes are
 * told of them. The decisions are calc's (`Encapsulation`); here they meet IPAM, the kernel and the Node resource.
 */
import { Backoff, sleep, Wakeup } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import { Encapsulation, IPIP_DEVICE, tunnelKinds, tunnelSettings, VXLAN_DEVICE, vxlanKind } from '../../calc/mod.ts';
import type { TunnelKind, Uplink } from '../../calc/mod.ts';
import { IpipPart, NeighbourWatch, PathMtus, VxlanPart } from '../../dataplane/mod.ts';
import type { Caretaker, IpipForm, ReversePaths } from '../../dataplane/mod.ts';
import { ensureTunnelAddress, releaseTunnelAddress } from '../../ipam/blocks/mod.ts';
import type { BlockIpam } from '../../ipam/blocks/mod.ts';
import type { ResourceStore } from '../../model/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import type { TunnelStatus } from '../../status/mod.ts';
import type { NodeKernel } from '../kernel.ts';

/** In IPAM's words. */
const inIpam = {
  ipip: { kind: 'ipip', family: 4 },
  vxlan: { kind: 'vxlan', family: 4 },
  vxlan6: { kind: 'vxlan', family: 6 },
} as const satisfies Record<TunnelKind, object>;

/** How soon it is seen that a program was taken off a device: nobody is told. */
const HARM_INTERVAL_MS = 1000;

export type TunnelAddresses = Readonly<Partial<Record<TunnelKind, IpAddress>>>;

export class Tunnels {
  /** How packets get to other nodes, as of the last plan. */
  encapsulation: Encapsulation | undefined;
  /** Ranges of `externalNodesList` that are too large to be honoured. */
  refusedRanges: readonly Prefix[] = [];
  /** By tunnel: why its end has no address. */
  readonly problems = new Map<TunnelKind, string>();
  private readonly node: string;
  private readonly resources: ResourceStore;
  private readonly ipip: IpipPart;
  private readonly vxlan: Readonly<Record<Family, VxlanPart>>;
  private readonly pathMtus: PathMtus;
  private readonly kernel: NodeKernel;
  private readonly caretaker: Caretaker;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly changed: () => void;
  private readonly wakeup = new Wakeup();
  private given: Partial<Record<TunnelKind, IpAddress>> = {};
  /** The pools each address was asked for of, as text. */
  private readonly settled = new Map<TunnelKind, string>();

  constructor(options: {
    readonly node: string;
    readonly resources: ResourceStore;
    readonly kernel: NodeKernel;
    readonly caretaker: Caretaker;
    readonly clock: Clock;
    /** How long a tunnel nobody wants stays after the last packet, milliseconds. */
    readonly quietMs: number;
    /** Names of pods' devices. */
    readonly pods: readonly string[];
    readonly reversePaths: ReversePaths;
    readonly log: Logger;
    /** An address came, a device is in place, a path takes less than was thought: plan anew. */
    readonly changed: () => void;
  }) {
    this.node = options.node;
    this.resources = options.resources;
    this.kernel = options.kernel;
    this.caretaker = options.caretaker;
    this.log = options.log;
    this.changed = options.changed;
    const { kernel, clock, quietMs, pods, reversePaths } = options;
    this.clock = clock;
    this.ipip = new IpipPart(kernel, { clock, quietMs, pods, reversePaths }, IPIP_DEVICE);
    const vxlan = (family: Family) =>
      new VxlanPart(kernel, VXLAN_DEVICE[family], family, { clock, quietMs, pods, reversePaths });
    this.vxlan = { 4: vxlan(4), 6: vxlan(6) };
    const isPod = (address: IpAddress) => this.encapsulation?.isPod(address) === true;
    this.pathMtus = new PathMtus({ clock, changed: () => this.changed(), isPod });
    for (const part of [this.ipip, this.vxlan[4], this.vxlan[6]]) options.caretaker.add(part);
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

  /** Whether these are the names of this node's tunnels. */
  ownsLink(name: string): boolean {
    return name === IPIP_DEVICE || Object.values(VXLAN_DEVICE).includes(name);
  }

  status(): TunnelStatus[] {
    return tunnelKinds.flatMap((kind): TunnelStatus[] => {
      const needed = this.encapsulation?.needed.has(kind) === true;
      const { inPlace, waiting } = this.writerOf(kind).state();
      if (!needed && !inPlace) return [];
      const address = this.addresses[kind];
      const problem = this.problems.get(kind) ?? waiting;
      const form: IpipForm | undefined = kind === 'ipip' ? this.ipip.form() : 'kernel';
      return [
        {
          ...{ kind, device: kind === 'ipip' ? IPIP_DEVICE : VXLAN_DEVICE[inIpam[kind].family], needed, inPlace },
          ...(form !== undefined && { form }),
          ...(address !== undefined && { address }),
          ...(problem !== undefined && { problem }),
        },
      ];
    });
  }

  /** The tunnels as they should be from now on, told to their writers. */
  replan(uplinks: Readonly<Partial<Record<Family, Uplink>>>): Encapsulation {
    const { node, resources } = this;
    const settings = tunnelSettings(node, resources.list('FelixConfiguration'));
    this.refusedRanges = settings.refusedRanges;
    const encapsulation = new Encapsulation({
      node,
      pools: [...resources.list('IPPool')].map(({ spec }) => spec),
      nodes: resources.list('Node'),
      ...{ settings, uplinks, addresses: this.addresses, inPlace: this.inPlace, pathMtus: this.pathMtus.values() },
    });
    this.encapsulation = encapsulation;
    // from a copy nothing is taken away
    const unless = (kind: TunnelKind) => (encapsulation.needed.has(kind) || !resources.inSync ? undefined : 'absent');
    const ipip = encapsulation.ipip();
    this.ipip.setDesired(ipip ?? unless('ipip'));
    this.pathMtus.setTunnel(ipip);
    for (const family of [4, 6] as const)
      this.vxlan[family].setDesired(
        encapsulation.vxlan(family) ?? unless(vxlanKind(family)),
        encapsulation.vxlanPeers(family),
      );
    if (tunnelKinds.some((kind) => this.due(kind) !== undefined)) this.wakeup.notify();
    return encapsulation;
  }

  /** Brings the devices up to the last plan: routes through them may be wanted already, and are written later. */
  bringUp(): void {
    for (const kind of tunnelKinds) {
      const writer = this.writerOf(kind);
      if (this.encapsulation?.needed.has(kind) || writer.state().inPlace) this.caretaker.settle(writer);
    }
  }

  /** Asks IPAM for the ends' addresses, and gives back those that nobody needs, until aborted. */
  async run(ipam: BlockIpam, signal: AbortSignal): Promise<void> {
    using _sizes = this.kernel.inside(() => this.pathMtus.watch());
    using neighbours = new NeighbourWatch(this.kernel, () => this.caretaker.notify());
    using _passes = this.watchDevices(neighbours);
    await Promise.all([this.watchPrograms(signal), this.settling(ipam, signal)]);
  }

  private async watchPrograms(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(HARM_INTERVAL_MS, signal, this.clock);
      if (this.ipip.harmed()) this.caretaker.notify();
    }
  }

  private async settling(ipam: BlockIpam, signal: AbortSignal): Promise<void> {
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

  /** Others are told of a tunnel when its device is there, and its address is given back when it is gone. */
  private watchDevices(neighbours: NeighbourWatch): Disposable {
    let before = '';
    return this.caretaker.onPass(() => {
      neighbours.follow(Object.values(VXLAN_DEVICE));
      const now = [...this.inPlace].join();
      if (now === before) return;
      before = now;
      this.changed();
    });
  }

  /** The pools to ask for an address of; empty to give it back, undefined when there is nothing to do. */
  private due(kind: TunnelKind): readonly string[] | undefined {
    const { encapsulation } = this;
    if (!encapsulation || !this.resources.inSync) return undefined;
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

  private writerOf(kind: TunnelKind): IpipPart | VxlanPart {
    return kind === 'ipip' ? this.ipip : this.vxlan[inIpam[kind].family];
  }
}
