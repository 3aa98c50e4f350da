/**
 * Reads MRT dumps (RFC 6396, ADD-PATH RFC 8050) as far as replays need them: BGP messages as peers sent them, and the
 * entries of table dumps with their attribute blocks.
 */
import { Reader } from '../../src/base/mod.ts';
import { addressFromBytes, type IpAddress, type Prefix, prefixOf } from '../../src/net/mod.ts';

export interface MrtMessage {
  readonly kind: 'message';
  readonly time: number;
  readonly peer: IpAddress;
  readonly peerAs: number;
  readonly localAs: number;
  readonly fourOctetAs: boolean;
  readonly addPath: boolean;
  /** The whole BGP message, with header. */
  readonly message: Uint8Array;
}

export interface MrtRoute {
  readonly kind: 'route';
  /** When the dump was written. */
  readonly time: number;
  readonly peer: IpAddress;
  readonly peerAs: number;
  readonly fourOctetAs: boolean;
  readonly prefix: Prefix;
  readonly pathId: number | undefined;
  /** The attribute block; MP_REACH_NLRI may be cut down to its next hop (RFC 6396 §4.3.4). */
  readonly attributes: Uint8Array;
}

export type MrtRecord = MrtMessage | MrtRoute;

/** Gives the records of a dump one by one; those of other types are passed over. */
export function* readMrt(bytes: Uint8Array): Generator<MrtRecord> {
  const file = new Reader(bytes);
  let peers: { address: IpAddress; asn: number }[] = [];
  while (file.remaining >= 12) {
    const time = file.u32();
    const type = file.u16();
    const subtype = file.u16();
    const body = file.sub(file.u32());
    if (type === 16) yield* bgp4mp(time, subtype, body);
    else if (type === 13 && subtype === 1) peers = peerIndex(body);
    else if (type === 13) yield* tableDumpV2(time, subtype, body, peers);
    else if (type === 12) yield* tableDump(time, subtype, body);
  }
}

const address = (r: Reader, afi: number): IpAddress => addressFromBytes(r.view(afi === 2 ? 16 : 4));

function* bgp4mp(time: number, subtype: number, r: Reader): Generator<MrtMessage> {
  // MESSAGE, MESSAGE_AS4, both _LOCAL forms, and the ADD-PATH forms of these
  if (![1, 4, 6, 7, 8, 9, 10, 11].includes(subtype)) return;
  const fourOctetAs = [4, 7, 9, 11].includes(subtype);
  const peerAs = fourOctetAs ? r.u32() : r.u16();
  const localAs = fourOctetAs ? r.u32() : r.u16();
  r.skip(2);
  const afi = r.u16();
  const peer = address(r, afi);
  address(r, afi);
  const addPath = subtype >= 8;
  yield { kind: 'message', time, peer, peerAs, localAs, fourOctetAs, addPath, message: r.view(r.remaining) };
}

function peerIndex(r: Reader): { address: IpAddress; asn: number }[] {
  r.skip(4);
  r.skip(r.u16());
  const count = r.u16();
  return Array.from({ length: count }, () => {
    const type = r.u8();
    r.skip(4);
    return { address: address(r, type & 1 ? 2 : 1), asn: type & 2 ? r.u32() : r.u16() };
  });
}

function* tableDumpV2(time: number, subtype: number, r: Reader, peers: readonly { address: IpAddress; asn: number }[]) {
  if (![2, 4, 8, 10].includes(subtype)) return;
  const addPath = subtype >= 8;
  const ipv6 = subtype === 4 || subtype === 10;
  r.skip(4);
  const length = r.u8();
  const octets = new Uint8Array(ipv6 ? 16 : 4);
  octets.set(r.view((length + 7) >> 3));
  const prefix = prefixOf(addressFromBytes(octets), length);
  for (let n = r.u16(); n > 0; n--) {
    const peer = peers[r.u16()]!;
    r.skip(4);
    const pathId = addPath ? r.u32() : undefined;
    const attributes = r.view(r.u16());
    const from = { peer: peer.address, peerAs: peer.asn };
    yield { kind: 'route', time, ...from, fourOctetAs: true, prefix, pathId, attributes } satisfies MrtRoute;
  }
}

function* tableDump(time: number, subtype: number, r: Reader): Generator<MrtRoute> {
  if (subtype !== 1 && subtype !== 2) return;
  r.skip(4);
  const base = address(r, subtype);
  const prefix = prefixOf(base, r.u8());
  r.skip(5);
  const peer = address(r, subtype);
  const peerAs = r.u16();
  const attributes = r.view(r.u16());
  yield { kind: 'route', time, peer, peerAs, fourOctetAs: false, prefix, pathId: undefined, attributes };
}
