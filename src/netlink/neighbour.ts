/** Neighbour and bridge forwarding entries: RTM_{NEW,DEL,GET}NEIGH, struct ndmsg. */
import type { Reader } from '../base/mod.ts';
import { addressBytes, addressFromBytes, familyOf, macBytes, macFromBytes } from '../net/mod.ts';
import type { IpAddress, MacAddress } from '../net/mod.ts';
import { AF } from '../sys/mod.ts';
import { NDA, NLM_F, NTF, NUD, RTM } from './codes.ts';
import { forEachAttribute } from './message.ts';
import type { Batch } from './message.ts';

export interface Neighbour {
  /** Interface index. */
  readonly index: number;
  /** The protocol address; for a forwarding entry (`bridge`) the remote tunnel end. */
  readonly address: IpAddress | undefined;
  readonly linkAddress: MacAddress | undefined;
  /** NUD bits. */
  readonly state: number;
  /** NTF bits. */
  readonly flags: number;
  /** A forwarding database entry, not an ARP or ND one. */
  readonly bridge: boolean;
}

export function decodeNeighbour(body: Reader): Neighbour | undefined {
  const family = body.u8();
  body.skip(3);
  const [index, state, flags] = [body.i32le(), body.u16le(), body.u8()];
  body.skip(1);
  if (body.failed) return undefined;
  let address: IpAddress | undefined;
  let linkAddress: MacAddress | undefined;
  forEachAttribute(body, (type, value) => {
    if (type === NDA.DST && (value.remaining === 4 || value.remaining === 16)) {
      address = addressFromBytes(value.view(value.remaining));
    } else if (type === NDA.LLADDR && value.remaining === 6) linkAddress = macFromBytes(value.view(6));
  });
  return { index, address, linkAddress, state, flags, bridge: family === AF.BRIDGE };
}

type NewNeighbour = Pick<Neighbour, 'index' | 'address' | 'linkAddress'> & {
  readonly bridge?: boolean;
  readonly proxy?: boolean;
  /** A mark of who made it, as on routes. */
  readonly protocol?: number;
};

function encode(batch: Batch, n: NewNeighbour): Batch {
  const family =
    n.bridge === true ? AF.BRIDGE : n.address !== undefined && familyOf(n.address) === 6 ? AF.INET6 : AF.INET;
  batch
    .u8(family)
    .u8(0)
    .u16(0)
    .u32(n.index)
    .u16(n.proxy === true ? 0 : NUD.PERMANENT);
  batch.u8((n.bridge === true ? NTF.SELF : 0) | (n.proxy === true ? NTF.PROXY : 0)).u8(0);
  // shown by iproute2 as `proto 71`; the kernel keeps it for neighbours only
  if (n.bridge !== true && n.protocol !== undefined) batch.attributeU8(NDA.PROTOCOL, n.protocol);
  if (n.address !== undefined) batch.attribute(NDA.DST, addressBytes(n.address));
  if (n.linkAddress !== undefined) batch.attribute(NDA.LLADDR, macBytes(n.linkAddress));
  return batch.end();
}

/** Adds or replaces a permanent entry. */
export function setNeighbour(batch: Batch, neighbour: NewNeighbour): Batch {
  const name = `neighbour ${neighbour.address ?? neighbour.linkAddress} on link ${neighbour.index}`;
  return encode(batch.begin(RTM.NEWNEIGH, NLM_F.ACK | NLM_F.CREATE | NLM_F.REPLACE, name), neighbour);
}

export function deleteNeighbour(batch: Batch, neighbour: NewNeighbour): Batch {
  const name = `delete neighbour ${neighbour.address ?? neighbour.linkAddress} on link ${neighbour.index}`;
  return encode(batch.begin(RTM.DELNEIGH, NLM_F.ACK, name), neighbour);
}
