/**
 * A VXLAN device of a node, and what the kernel needs to know of the others: a permanent neighbour (tunnel address to
 * MAC) and a forwarding entry (MAC to node) for each. Nothing is learned, nothing is flooded. Everything on a device that
 * bears our mark is ours.
 */
import { systemClock } from '../../base/mod.ts';
import type { VxlanPeer, VxlanTunnel } from '../../desired/mod.ts';
import type { Family, IpAddress } from '../../net/mod.ts';
import { addLink, deleteLink, deleteNeighbour, NTF, NUD, setLink, setNeighbour } from '../../netlink/mod.ts';
import type { Link, Neighbour, Rtnetlink } from '../../netlink/mod.ts';
import type { TableName } from '../../nft/mod.ts';
import type { Part, PlannedChange } from '../part.ts';
import { ROUTE_PROTOCOL } from '../routes/reconciler.ts';
import { DEFAULT_PODS, DEFAULT_QUIET_MS, deviceChanges, Farewell, gatewaysThrough, routesThrough } from './device.ts';
import type { TunnelKernel, TunnelOptions, TunnelState, Waiting } from './device.ts';
import { Guard, guardTable } from './guard.ts';
import { ReversePaths } from './reverse-paths.ts';

export const VXLAN_MARK = 'godwit:vxlan';
const guardName = (device: string, family: Family): TableName => {
  return { family: family === 4 ? 'ip' : 'ip6', name: `godwit-${device}` };
};

export class VxlanPart implements Part {
  readonly name: string;
  private readonly kernel: TunnelKernel;
  private readonly farewell: Farewell;
  private readonly guard: Guard;
  private readonly pods: readonly string[];
  private readonly reversePaths: ReversePaths;
  private want: VxlanTunnel | 'absent' | undefined;
  private leaving: readonly VxlanPeer[] = [];
  private waiting: Waiting | undefined;

  /** Whether it was seen that nothing of ours is there. */
  private gone = false;

  /** `device` is the only one it touches; the part bears its name. `family`: of the outer packets. */
  constructor(
    kernel: TunnelKernel,
    device: string,
    family: Family,
    { clock = systemClock, quietMs = DEFAULT_QUIET_MS, pods = DEFAULT_PODS, reversePaths }: TunnelOptions = {},
  ) {
    this.kernel = kernel;
    this.name = device;
    this.farewell = new Farewell(clock, quietMs);
    this.guard = new Guard(() => kernel.nft(), guardName(device, family));
    this.pods = pods;
    this.reversePaths = reversePaths ?? new ReversePaths(kernel.sysctls);
  }

  /**
   * Undefined: not known yet, and nothing is touched. `leaving` are the peers that a device which is not wanted any more
   * still knows while it is there: routes may fall back to it.
   */
  setDesired(want: VxlanTunnel | 'absent' | undefined, leaving: readonly VxlanPeer[] = []): void {
    this.want = want;
    this.leaving = leaving;
  }

  state(): TunnelState {
    return { inPlace: this.link()?.alias === VXLAN_MARK, waiting: this.waiting?.reason };
  }

  lookAgainMs(): number | undefined {
    return this.waiting?.forMs;
  }

  plan(): PlannedChange[] {
    const { want } = this;
    this.waiting = undefined;
    if (want === undefined) return [];
    const link = this.link();
    if (want === 'absent') return this.removal(link?.alias === VXLAN_MARK ? link : undefined);
    this.farewell.reset();
    this.gone = false;
    const uplink = this.kernel.netlink.link(want.uplink);
    if (!uplink) throw new Error(`VXLAN: there is no uplink ${want.uplink}`);
    if (link && isSame(link, want, uplink)) return [...this.guardChanges(want), ...this.repairs(want, link)];
    // kind, number, port and ends cannot be changed on a living device
    const deletion = link ? [this.deletion(link)] : [];
    const text = `ip link add ${this.name} address ${want.mac} type vxlan id ${want.vni} dstport ${want.port} local ${want.local} dev ${want.uplink} nolearning # and its peers`;
    const apply = () => {
      const made = this.create(want, uplink);
      for (const change of this.repairs(want, made)) change.apply();
    };
    return [...deletion, ...this.guardChanges(want), { text, apply }];
  }

  private link(): Link | undefined {
    return this.kernel.netlink.link(this.name);
  }

  private create({ mac: address, vni, port, local }: VxlanTunnel, uplink: Link): Link {
    const parameters = { vni, port, local, lower: uplink.index, learning: false };
    this.kernel.netlink.change((b) => void addLink(b, { kind: 'vxlan', name: this.name, address, ...parameters }));
    const made = this.link();
    if (!made) throw new Error(`${this.name} is gone again`);
    return made;
  }

  private repairs(want: VxlanTunnel, link: Link): PlannedChange[] {
    const { netlink } = this.kernel;
    const mac: PlannedChange[] = [];
    if (link.address !== want.mac) {
      const apply = () => {
        netlink.change((b) => void setLink(b, link.index, { address: want.mac }, this.name));
        // the kernel forgets all neighbours of a device whose address changes, permanent ones too
        for (const change of this.peerChanges(link, want.peers)) change.apply();
      };
      mac.push({ text: `ip link set ${this.name} address ${want.mac}`, apply });
    }
    return [
      ...mac,
      ...deviceChanges(netlink, link, { mark: VXLAN_MARK, mtu: want.mtu, address: want.address }),
      ...this.peerChanges(link, want.peers),
      ...this.reversePaths.changes(this.name, [this.name, want.uplink]),
    ];
  }

  /** A peer's entries come before the routes through it and go after them: while there are any, they stay. */
  private peerChanges(link: Link, peers: readonly VxlanPeer[]): PlannedChange[] {
    const { netlink } = this.kernel;
    const wanted = wantedEntries(link.index, peers);
    const there = new Map(permanentEntries(netlink, link.index).map((entry) => [entryKey(entry), entry]));
    const missing = [...wanted].filter(([key]) => !there.has(key)).map(([, entry]) => entry);
    const stale = [...there].filter(([key]) => !wanted.has(key)).map(([, entry]) => entry);
    const surplus = this.removable(link, stale, missing);
    const lines = [
      ...missing.map((entry) => formatEntry('replace', entry, link.name)),
      ...surplus.map((entry) => formatEntry('del', entry, link.name)),
    ];
    if (lines.length === 0) return [];
    const apply = () => {
      const refused = [
        ...netlink.changeEach(
          missing,
          (batch, entry) => void setNeighbour(batch, { ...entry, protocol: ROUTE_PROTOCOL }),
        ),
        ...netlink.changeEach(surplus, (batch, entry) => void deleteNeighbour(batch, entry)),
      ];
      for (const error of refused) if (error) throw error;
    };
    return [{ text: lines.join('\n'), apply }];
  }

  private removable(link: Link, stale: readonly Entry[], missing: readonly Entry[]): Entry[] {
    // a peer with a new MAC keeps its neighbour's address: that entry is replaced in place, not deleted afterwards
    const replaced = new Set(missing.filter((entry) => !entry.bridge).map((entry) => entry.address));
    const neighbours = stale.filter((entry) => !entry.bridge && !replaced.has(entry.address));
    const used = neighbours.length > 0 ? gatewaysThrough(this.kernel.netlink, link.index) : new Set<IpAddress>();
    const kept = neighbours.filter((entry) => entry.address !== undefined && used.has(entry.address));
    if (kept.length > 0) this.waiting = { reason: `${kept.length} routes through nodes that are gone`, forMs: 100 };
    const keptMacs = new Set(kept.map((entry) => entry.linkAddress));
    return [
      ...neighbours.filter((entry) => !kept.includes(entry)),
      ...stale.filter((entry) => entry.bridge && !keptMacs.has(entry.linkAddress)),
    ];
  }

  /** Before the device is there, as it takes packets at once. A kernel without nf_tables has no guard. */
  private guardChanges({ port, local, from }: VxlanTunnel): readonly PlannedChange[] {
    const packets = { type: 'udpPort', port } as const;
    return this.guard.changes(guardTable(this.guard.name, { packets, local, from, pods: this.pods }), () => []);
  }

  private removal(link: Link | undefined): PlannedChange[] {
    const { netlink } = this.kernel;
    if (!link) {
      const rest = this.gone ? [] : [...this.reversePaths.changes(this.name, []), ...this.guard.removal()];
      this.gone = rest.length === 0;
      return rest;
    }
    this.gone = false;
    this.waiting = this.farewell.waitsFor(routesThrough(netlink, link.index), netlink.receivedPackets(this.name));
    if (this.waiting === undefined)
      return [this.deletion(link), ...this.reversePaths.changes(this.name, []), ...this.guard.removal()];
    const { waiting } = this;
    const changes = this.peerChanges(link, this.leaving);
    this.waiting ??= waiting;
    return changes;
  }

  private deletion(link: Link): PlannedChange {
    const apply = () => this.kernel.netlink.change((b) => void deleteLink(b, link.index, this.name));
    return { text: `ip link del ${this.name}`, apply };
  }
}

const isSame = (link: Link, { vni, port, local }: VxlanTunnel, uplink: Link): boolean =>
  link.kind === 'vxlan' && Bun.deepEquals(link.vxlan, { vni, port, local, lower: uplink.index, learning: false });

type Entry = Pick<Neighbour, 'index' | 'address' | 'linkAddress' | 'bridge'>;
const entryKey = (entry: Entry): string => `${entry.bridge} ${entry.address} ${entry.linkAddress}`;

function formatEntry(verb: 'replace' | 'del', { bridge, address, linkAddress }: Entry, device: string): string {
  return bridge
    ? `bridge fdb ${verb} ${linkAddress} dev ${device} dst ${address}`
    : `ip neigh ${verb} ${address} lladdr ${linkAddress} dev ${device} nud permanent`;
}

/** What the kernel holds for one peer: the forwarding entry first, so that nothing is ever resolved to nowhere. */
const entriesOf = (index: number, peer: VxlanPeer): Entry[] => [
  { index, address: peer.node, linkAddress: peer.mac, bridge: true },
  { index, address: peer.gateway, linkAddress: peer.mac, bridge: false },
];

/** Every entry for these peers, by its key. The kernel keeps one for a MAC and one for an address: the first has it. */
function wantedEntries(index: number, peers: readonly VxlanPeer[]): Map<string, Entry> {
  const wanted = new Map<string, Entry>();
  const claimed = new Set<string>();
  for (const peer of peers) {
    if (claimed.has(peer.mac) || claimed.has(peer.gateway)) continue;
    claimed.add(peer.mac).add(peer.gateway);
    for (const entry of entriesOf(index, peer)) wanted.set(entryKey(entry), entry);
  }
  return wanted;
}

function permanentEntries(netlink: Rtnetlink, index: number): Entry[] {
  const neighbours = netlink.neighbours().filter((n) => n.index === index && (n.state & NUD.PERMANENT) !== 0);
  const forwarding = netlink.forwarding().filter((n) => n.index === index && (n.flags & NTF.SELF) !== 0);
  return [...neighbours.filter((n) => !n.bridge), ...forwarding];
}
