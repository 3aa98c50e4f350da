/**
 * The VXLAN device of a node, and what the kernel needs to know of the others: a permanent neighbour (tunnel address to
 * MAC) and a forwarding entry (MAC to node) for each. Nothing is learned, nothing is flooded.
 */
import type { VxlanPeer, VxlanTunnel } from '../../desired/mod.ts';
import { deleteLink, addLink, deleteNeighbour, NTF, NUD, setNeighbour } from '../../netlink/mod.ts';
import type { Link, Neighbour, Rtnetlink } from '../../netlink/mod.ts';
import { settleDevice } from './device.ts';

type Entry = Pick<Neighbour, 'index' | 'address' | 'linkAddress' | 'bridge'>;
const entryKey = (entry: Entry): string => `${entry.bridge} ${entry.address} ${entry.linkAddress}`;

/** What the kernel holds for one peer: the neighbour first, so that nothing is ever resolved to nowhere. */
const entriesOf = (index: number, peer: VxlanPeer): Entry[] => [
  { index, address: peer.gateway, linkAddress: peer.mac, bridge: false },
  { index, address: peer.node, linkAddress: peer.mac, bridge: true },
];

/** Makes the kernel hold this tunnel; writes only what differs. Throws KernelError with what was refused. */
export function applyVxlan(netlink: Rtnetlink, tunnel: VxlanTunnel): void {
  const link = ensureDevice(netlink, tunnel);
  settleDevice(netlink, link, tunnel.mtu, tunnel.address);
  const wanted = new Map<string, Entry>();
  for (const peer of tunnel.peers) for (const entry of entriesOf(link.index, peer)) wanted.set(entryKey(entry), entry);
  const there = new Map(permanentEntries(netlink, link.index).map((entry) => [entryKey(entry), entry]));
  const missing = [...wanted].filter(([key]) => !there.has(key)).map(([, entry]) => entry);
  const stale = [...there].filter(([key]) => !wanted.has(key)).map(([, entry]) => entry);
  // a peer with a new MAC keeps its neighbour's address: that entry is replaced in place, not deleted afterwards
  const replaced = new Set(missing.filter((entry) => !entry.bridge).map((entry) => entry.address));
  const surplus = stale.filter((entry) => entry.bridge || !replaced.has(entry.address));
  const refused = [
    ...netlink.changeEach(missing, (batch, entry) => setNeighbour(batch, entry)),
    ...netlink.changeEach(surplus, (batch, entry) => deleteNeighbour(batch, entry)),
  ];
  for (const error of refused) if (error) throw error;
}

/** Takes the device away, and with it its entries. */
export function removeVxlan(netlink: Rtnetlink, device: string): void {
  const link = netlink.link(device);
  if (link) netlink.change((batch) => deleteLink(batch, link.index, device));
}

function ensureDevice(netlink: Rtnetlink, tunnel: VxlanTunnel): Link {
  const uplink = netlink.link(tunnel.uplink);
  if (!uplink) throw new Error(`VXLAN: there is no uplink ${tunnel.uplink}`);
  const found = netlink.link(tunnel.device);
  const { vni, port, local } = tunnel;
  const wanted = { vni, port, local, lower: uplink.index, learning: false };
  if (found) {
    const same = found.kind === 'vxlan' && found.address === tunnel.mac && Bun.deepEquals(found.vxlan, wanted);
    if (same) return found;
    // these cannot be changed on a living device
    netlink.change((batch) => deleteLink(batch, found.index, tunnel.device));
  }
  const { device: name, mac: address } = tunnel;
  netlink.change((batch) => addLink(batch, { kind: 'vxlan', name, address, ...wanted }));
  return netlink.link(tunnel.device)!;
}

function permanentEntries(netlink: Rtnetlink, index: number): Entry[] {
  const neighbours = netlink.neighbours().filter((n) => n.index === index && (n.state & NUD.PERMANENT) !== 0);
  const forwarding = netlink.forwarding().filter((n) => n.index === index && (n.flags & NTF.SELF) !== 0);
  return [...neighbours.filter((n) => !n.bridge), ...forwarding];
}
