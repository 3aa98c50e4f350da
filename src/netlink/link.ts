/** Links: RTM_{NEW,DEL,GET,SET}LINK, struct ifinfomsg. */
import type { Reader } from '../base/mod.ts';
import type { IpAddress, MacAddress } from '../net/mod.ts';
import { addressBytes, addressFromBytes, familyOf, macBytes, macFromBytes } from '../net/mod.ts';
import { AF } from '../sys/mod.ts';
import { IFF, IFLA, NLM_F, RTM } from './codes.ts';
import { forEachAttribute, readString } from './message.ts';
import type { Batch } from './message.ts';

export interface Link {
  readonly index: number;
  readonly name: string;
  /** IFF bits. */
  readonly flags: number;
  readonly mtu: number;
  /** ARPHRD number. */
  readonly hardwareType: number;
  readonly address: MacAddress | undefined;
  /** Index of the bridge it is a port of, 0 for none. */
  readonly master: number;
  /** Index of its peer or lower device, in the namespace `linkNamespace` tells; 0 for none. */
  readonly link: number;
  /** Number this namespace gives to the one `link` lives in; undefined when it is this one. */
  readonly linkNamespace: number | undefined;
  /** `veth`, `bridge`, `vxlan`, …; empty for hardware and loopback. */
  readonly kind: string;
  readonly alias: string;
  /** Of a VXLAN device. */
  readonly vxlan?: VxlanParameters;
}

export interface VxlanParameters {
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  readonly local: IpAddress | undefined;
  /** Index of the device underneath. */
  readonly lower: number;
  readonly learning: boolean;
}

function decodeVxlan(data: Reader): VxlanParameters {
  let [vni, port, lower, learning] = [0, 0, 0, false];
  let local: IpAddress | undefined;
  forEachAttribute(data, (type, value) => {
    if (type === IFLA.VXLAN_ID) vni = value.u32le();
    else if (type === IFLA.VXLAN_PORT) port = value.u16();
    else if (type === IFLA.VXLAN_LINK) lower = value.u32le();
    else if (type === IFLA.VXLAN_LEARNING) learning = value.u8() !== 0;
    else if (type === IFLA.VXLAN_LOCAL || type === IFLA.VXLAN_LOCAL6)
      local = addressFromBytes(value.view(value.remaining));
  });
  return { vni, port, local, lower, learning };
}

export const isUp = (link: Link): boolean => (link.flags & IFF.UP) !== 0;

/** Undefined also for a bridge's own messages about its ports (AF_BRIDGE): a port that leaves is not a link that goes. */
export function decodeLink(body: Reader): Link | undefined {
  if (body.u8() === AF.BRIDGE) return undefined;
  body.skip(1);
  const hardwareType = body.u16le();
  const index = body.i32le();
  const flags = body.u32le();
  body.skip(4);
  if (body.failed) return undefined;
  let [name, kind, alias] = ['', '', ''];
  let [mtu, master, link] = [0, 0, 0];
  let linkNamespace: number | undefined;
  let address: MacAddress | undefined;
  let vxlan: VxlanParameters | undefined;
  forEachAttribute(body, (type, value) => {
    if (type === IFLA.IFNAME) name = readString(value);
    else if (type === IFLA.MTU) mtu = value.u32le();
    else if (type === IFLA.MASTER) master = value.u32le();
    else if (type === IFLA.LINK) link = value.u32le();
    else if (type === IFLA.LINK_NETNSID) linkNamespace = value.i32le();
    else if (type === IFLA.IFALIAS) alias = readString(value);
    else if (type === IFLA.ADDRESS && value.remaining === 6) address = macFromBytes(value.view(6));
    else if (type === IFLA.LINKINFO) {
      forEachAttribute(value, (inner, info) => {
        if (inner === IFLA.INFO_KIND) kind = readString(info);
        else if (inner === IFLA.INFO_DATA && kind === 'vxlan') vxlan = decodeVxlan(info);
      });
    }
  });
  return {
    index,
    name,
    flags,
    mtu,
    hardwareType,
    address,
    master,
    link,
    linkNamespace,
    kind,
    alias,
    ...(vxlan ? { vxlan } : {}),
  };
}

/** Packets a link has received since it was made, of the same messages as `decodeLink`. */
export function decodeReceived(body: Reader): number {
  let packets = 0;
  body.skip(16);
  forEachAttribute(body, (type, value) => {
    // struct rtnl_link_stats64 begins with it
    if (type === IFLA.STATS64) packets = value.u32le() + value.u32le() * 2 ** 32;
  });
  return packets;
}

interface LinkSettings {
  readonly name: string;
  /** Asks for this interface index. */
  readonly index?: number;
  readonly mtu?: number;
  readonly address?: MacAddress;
  readonly up?: boolean;
  /** Descriptor of the namespace it shall be born in. */
  readonly namespace?: number;
}

export type NewLink = LinkSettings & { readonly master?: number } & (
    | { readonly kind: 'bridge' | 'dummy' | 'ipip' }
    /** The peer must not ask for `up`: the kernel refuses (ENOTCONN) until this end exists. */
    | { readonly kind: 'veth'; readonly peer: Omit<LinkSettings, 'up'> }
    | ({ readonly kind: 'vxlan' } & VxlanParameters & { readonly local: IpAddress })
  );

function header(batch: Batch, index: number, flags = 0, change = 0, family: number = AF.UNSPEC): Batch {
  return batch.u8(family).u8(0).u16(0).u32(index).u32(flags).u32(change);
}

function settings(batch: Batch, link: LinkSettings): void {
  batch.attributeString(IFLA.IFNAME, link.name);
  if (link.address !== undefined) batch.attribute(IFLA.ADDRESS, macBytes(link.address));
  if (link.mtu !== undefined) batch.attributeU32(IFLA.MTU, link.mtu);
  if (link.namespace !== undefined) batch.attributeU32(IFLA.NET_NS_FD, link.namespace);
}

export function addLink(batch: Batch, link: NewLink): Batch {
  const up = link.up === true ? IFF.UP : 0;
  batch.begin(RTM.NEWLINK, NLM_F.ACK | NLM_F.CREATE | NLM_F.EXCL, `create ${link.kind} ${link.name}`);
  header(batch, link.index ?? 0, up, up);
  settings(batch, link);
  if (link.master !== undefined) batch.attributeU32(IFLA.MASTER, link.master);
  batch.nested(IFLA.LINKINFO, () => {
    batch.attributeString(IFLA.INFO_KIND, link.kind);
    if (link.kind === 'veth') {
      batch.nested(IFLA.INFO_DATA, () => {
        batch.nested(IFLA.VETH_PEER, () => settings(header(batch, link.peer.index ?? 0), link.peer));
      });
    } else if (link.kind === 'vxlan') {
      batch.nested(IFLA.INFO_DATA, () => {
        batch.attributeU32(IFLA.VXLAN_ID, link.vni).attributeU16be(IFLA.VXLAN_PORT, link.port);
        batch.attributeU32(IFLA.VXLAN_LINK, link.lower);
        const local = familyOf(link.local) === 4 ? IFLA.VXLAN_LOCAL : IFLA.VXLAN_LOCAL6;
        batch.attribute(local, addressBytes(link.local));
        batch.attributeU8(IFLA.VXLAN_LEARNING, link.learning ? 1 : 0);
      });
    }
  });
  return batch.end();
}

export interface LinkChange {
  readonly name?: string;
  readonly up?: boolean;
  readonly mtu?: number;
  readonly address?: MacAddress;
  /** A note on the link, for owners' marks; the kernel takes it only from a change, not at creation. */
  readonly alias?: string;
  /** Index of a bridge, 0 to leave it. */
  readonly master?: number;
  /** A number shared by links that are handled together. */
  readonly group?: number;
  /** Descriptor of the namespace to move to. */
  readonly namespace?: number;
  /** Settings of net/ipv4/conf by IPV4_DEVCONF number, here in place of one write to /proc each. */
  readonly ipv4?: Readonly<Record<number, number>>;
}

export function setLink(batch: Batch, index: number, change: LinkChange, name = `link ${index}`): Batch {
  const mask = change.up === undefined ? 0 : IFF.UP;
  batch.begin(RTM.SETLINK, NLM_F.ACK, `set ${name} ${JSON.stringify(change)}`);
  header(batch, index, change.up === true ? IFF.UP : 0, mask);
  if (change.name !== undefined) batch.attributeString(IFLA.IFNAME, change.name);
  if (change.address !== undefined) batch.attribute(IFLA.ADDRESS, macBytes(change.address));
  if (change.mtu !== undefined) batch.attributeU32(IFLA.MTU, change.mtu);
  if (change.master !== undefined) batch.attributeU32(IFLA.MASTER, change.master);
  if (change.group !== undefined) batch.attributeU32(IFLA.GROUP, change.group);
  if (change.namespace !== undefined) batch.attributeU32(IFLA.NET_NS_FD, change.namespace);
  if (change.alias !== undefined) batch.attribute(IFLA.IFALIAS, new TextEncoder().encode(change.alias));
  const { ipv4 } = change;
  if (ipv4 !== undefined) {
    batch.nested(IFLA.AF_SPEC, () => {
      batch.nested(AF.INET, () => {
        batch.nested(IFLA.INET_CONF, () => {
          for (const [setting, value] of Object.entries(ipv4)) batch.attributeU32(Number(setting), value);
        });
      });
    });
  }
  return batch.end();
}

/** Settings of a bridge port. Hairpin lets a frame leave by the port it came in by. */
export function setBridgePort(batch: Batch, index: number, port: { hairpin?: boolean; isolated?: boolean }): Batch {
  batch.begin(RTM.SETLINK, NLM_F.ACK, `set bridge port ${index}`);
  header(batch, index, 0, 0, AF.BRIDGE);
  batch.nested(IFLA.PROTINFO, () => {
    if (port.hairpin !== undefined) batch.attributeU8(IFLA.BRPORT_MODE, port.hairpin ? 1 : 0);
    if (port.isolated !== undefined) batch.attributeU8(IFLA.BRPORT_ISOLATED, port.isolated ? 1 : 0);
  });
  return batch.end();
}

export function deleteLink(batch: Batch, index: number, name = `link ${index}`): Batch {
  return header(batch.begin(RTM.DELLINK, NLM_F.ACK, `delete ${name}`), index).end();
}

/** Deletes every link of that group as one operation; refused when there is none. */
export function deleteLinkGroup(batch: Batch, group: number): Batch {
  header(batch.begin(RTM.DELLINK, NLM_F.ACK, `delete links of group ${group}`), 0);
  return batch.attributeU32(IFLA.GROUP, group).end();
}

/** The fixed part and the selector of a request for one link. */
export function selectLink(batch: Batch, name: string): void {
  header(batch, 0).attributeString(IFLA.IFNAME, name);
}
