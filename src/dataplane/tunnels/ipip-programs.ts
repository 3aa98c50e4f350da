/**
 * IP in IP (RFC 2003) as two tc programs, for kernels without ipip.ko. `tunl0` is a TUN device; the kernel's routes stay
 * the only state, as with the real one.
 *
 * Egress of tunl0: ask the FIB for the packet's gateway (the other node), put an outer header before it, send it out by
 * the uplink. Ingress of the uplink: packets of protocol 4 from known nodes to this one lose their outer header and come
 * in by tunl0. GSO packets stay whole both ways.
 */
import { Assembler } from '../../bpf/mod.ts';
import { addressBytes } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';

// struct __sk_buff
const SKB = { protocol: 16, data: 76, dataEnd: 80 } as const;
// struct bpf_fib_lookup (64 bytes); ipv4_dst is the gateway afterwards
const FIB = { family: 0, ifindex: 8, source: 16, destination: 32, length: 64 } as const;
// struct iphdr
const IP = {
  tos: 1,
  length: 2,
  id: 4,
  fragment: 6,
  ttl: 8,
  protocol: 9,
  checksum: 10,
  source: 12,
  destination: 16,
  size: 20,
} as const;
const HELPER = {
  ...{ mapLookup: 1, storeBytes: 9, redirect: 23, checksumDiff: 28, changeHead: 43, adjustRoom: 50, fibLookup: 69 },
  ...{ redirectNeighbour: 152, coarseTime: 160 },
} as const;
const ETHERNET = 14;
const AF_INET = 2;
const [TC_ACT_UNSPEC, TC_ACT_SHOT] = [-1, 2];
const ETH_P_IP = 0x0008; // network order, as a little-endian number
const [FIB_OUTPUT, FIB_SKIP_NEIGHBOUR] = [2, 8];
const ADJ_ROOM_MAC = 1;
const [FIXED_GSO, ENCAP_IPV4, DECAP_IPV4] = [1, 2, 0x80];
const REDIRECT_INGRESS = 1;

/** A peer's value: nanoseconds after boot, coarsely, when its last packet came; 0 for never. */
export const PEER_VALUE_BYTES = 8;

/** An address as the 32-bit number a little-endian load of its bytes gives. */
const asLoaded = (address: IpAddress): number => new DataView(addressBytes(address).buffer).getInt32(0, true);

export interface IpipEnds {
  /** This node's own address: the outer source, and the only outer destination that is unpacked. */
  readonly local: IpAddress;
  /** Interface indexes. */
  readonly tunnel: number;
  readonly uplink: number;
}

/** For the egress of the tunnel device. */
export function ipipEncapsulation({ local, tunnel, uplink }: IpipEnds): Uint8Array {
  const OUTER = -24; // the outer header on the stack
  const LOOKUP = -96; // the FIB question and answer
  const a = new Assembler();
  // r6 = packet, r2 = data; drop what is not a whole IPv4 header
  a.mov(6, 1).load('w', 2, 6, SKB.data).load('w', 3, 6, SKB.dataEnd).load('w', 0, 6, SKB.protocol);
  a.jumpIf('ne', 0, ETH_P_IP, 'drop');
  a.mov(4, 2).addImmediate(4, IP.size).jumpIfRegister('gt', 4, 3, 'drop');
  // outer header: TOS (with ECN, RFC 6040 normal mode) and id of the inner one, DF always: the underlay never fragments
  a.storeImmediate('b', 10, OUTER, 0x45)
    .load('b', 0, 2, IP.tos)
    .store('b', 10, OUTER + IP.tos, 0);
  a.load('h', 0, 2, IP.length)
    .swap16(0)
    .addImmediate(0, IP.size)
    .swap16(0)
    .store('h', 10, OUTER + IP.length, 0);
  a.load('h', 0, 2, IP.id)
    .store('h', 10, OUTER + IP.id, 0)
    .storeImmediate('h', 10, OUTER + IP.fragment, 0x0040);
  a.storeImmediate('w', 10, OUTER + IP.ttl, 64 | (4 << 8)); // TTL 64, protocol 4, checksum 0
  a.storeImmediate('w', 10, OUTER + IP.source, asLoaded(local));
  // which gateway does the route through the tunnel name?
  for (let at = 0; at < FIB.length; at += 8) a.storeImmediate('d', 10, LOOKUP + at, 0);
  a.storeImmediate('b', 10, LOOKUP + FIB.family, AF_INET).storeImmediate('w', 10, LOOKUP + FIB.ifindex, tunnel);
  a.load('w', 0, 2, IP.source).store('w', 10, LOOKUP + FIB.source, 0);
  a.load('w', 0, 2, IP.destination).store('w', 10, LOOKUP + FIB.destination, 0);
  a.mov(1, 6).mov(2, 10).addImmediate(2, LOOKUP).movImmediate(3, FIB.length);
  a.movImmediate(4, FIB_OUTPUT | FIB_SKIP_NEIGHBOUR)
    .call(HELPER.fibLookup)
    .jumpIf64('ne', 0, 0, 'drop');
  a.load('w', 0, 10, LOOKUP + FIB.ifindex).jumpIf('ne', 0, tunnel, 'drop');
  a.load('w', 0, 10, LOOKUP + FIB.destination).store('w', 10, OUTER + IP.destination, 0);
  // header checksum, folded twice
  a.movImmediate(1, 0).movImmediate(2, 0).mov(3, 10).addImmediate(3, OUTER).movImmediate(4, IP.size).movImmediate(5, 0);
  a.call(HELPER.checksumDiff);
  for (let fold = 0; fold < 2; fold++) a.mov(1, 0).and(0, 0xffff).shiftRight(1, 16).add(0, 1);
  a.and(0, 0xffff)
    .xor(0, 0xffff)
    .store('h', 10, OUTER + IP.checksum, 0);
  // make room, write the header, put an Ethernet header before it, and leave it to the neighbour code of the uplink
  a.mov(1, 6)
    .movImmediate(2, IP.size)
    .movImmediate(3, ADJ_ROOM_MAC)
    .movImmediate(4, FIXED_GSO | ENCAP_IPV4);
  a.movImmediate(5, 0).call(HELPER.adjustRoom).jumpIf64('ne', 0, 0, 'drop');
  a.mov(1, 6).movImmediate(2, 0).mov(3, 10).addImmediate(3, OUTER).movImmediate(4, IP.size).movImmediate(5, 0);
  a.call(HELPER.storeBytes).jumpIf64('ne', 0, 0, 'drop');
  a.mov(1, 6).movImmediate(2, ETHERNET).movImmediate(3, 0).call(HELPER.changeHead).jumpIf64('ne', 0, 0, 'drop');
  a.storeImmediate('h', 10, OUTER, ETH_P_IP).mov(1, 6).movImmediate(2, 12).mov(3, 10).addImmediate(3, OUTER);
  a.movImmediate(4, 2).movImmediate(5, 0).call(HELPER.storeBytes).jumpIf64('ne', 0, 0, 'drop');
  a.movImmediate(1, uplink).movImmediate(2, 0).movImmediate(3, 0).movImmediate(4, 0);
  a.call(HELPER.redirectNeighbour).exit();
  return a.label('drop').movImmediate(0, TC_ACT_SHOT).exit().assemble();
}

/**
 * What the programs at the uplink's ingress begin with: IPIP to this node from others than `peers` is dropped, what is none
 * goes to `pass`, and what is for another address to `elsewhere`, its header at r2. `peers` maps the 4 bytes of each known
 * node's address to when it was last heard.
 */
function checkPeer(a: Assembler, local: IpAddress, peers: number, elsewhere: string): void {
  a.mov(6, 1).load('w', 0, 6, SKB.protocol).jumpIf('ne', 0, ETH_P_IP, 'pass');
  a.load('w', 2, 6, SKB.data).load('w', 3, 6, SKB.dataEnd);
  a.mov(4, 2)
    .addImmediate(4, ETHERNET + IP.size)
    .jumpIfRegister('gt', 4, 3, 'pass');
  a.load('b', 0, 2, ETHERNET + IP.protocol).jumpIf('ne', 0, 4, 'pass');
  a.load('w', 0, 2, ETHERNET + IP.destination).jumpIf('ne', 0, asLoaded(local), elsewhere);
  a.load('w', 0, 2, ETHERNET + IP.source).store('w', 10, -4, 0);
  a.load('b', 7, 2, ETHERNET).load('h', 8, 2, ETHERNET + IP.fragment);
  a.mov(2, 10).addImmediate(2, -4).loadMap(1, peers).call(HELPER.mapLookup).jumpIf64('eq', 0, 0, 'drop');
  a.mov(9, 0).call(HELPER.coarseTime).store('d', 9, 0, 0);
}

function verdicts(a: Assembler): Uint8Array {
  a.label('pass').movImmediate(0, TC_ACT_UNSPEC).exit();
  return a.label('drop').movImmediate(0, TC_ACT_SHOT).exit().assemble();
}

/**
 * For the ingress of the uplink, where the kernel unpacks IPIP itself: also what comes to another address of this node. What
 * is on its way through is let go.
 */
export function ipipGuard({ local, uplink }: Pick<IpipEnds, 'local' | 'uplink'>, peers: number): Uint8Array {
  const LOOKUP = -72;
  const FIB_NOT_FORWARDED = 4;
  const a = new Assembler();
  checkPeer(a, local, peers, 'elsewhere');
  a.movImmediate(0, 0).jumpIf64('eq', 0, 0, 'pass').label('elsewhere').mov(7, 2);
  for (let at = 0; at < FIB.length; at += 8) a.storeImmediate('d', 10, LOOKUP + at, 0);
  a.storeImmediate('b', 10, LOOKUP + FIB.family, AF_INET).storeImmediate('w', 10, LOOKUP + FIB.ifindex, uplink);
  a.load('w', 0, 7, ETHERNET + IP.source).store('w', 10, LOOKUP + FIB.source, 0);
  a.load('w', 0, 7, ETHERNET + IP.destination).store('w', 10, LOOKUP + FIB.destination, 0);
  a.mov(1, 6).mov(2, 10).addImmediate(2, LOOKUP).movImmediate(3, FIB.length).movImmediate(4, 0);
  a.call(HELPER.fibLookup).jumpIf64('eq', 0, FIB_NOT_FORWARDED, 'drop');
  return verdicts(a);
}

/**
 * For the ingress of the uplink: what comes from a peer loses its outer header and comes in by the tunnel. Fragments go to
 * the kernel, and what it makes of them to `ipip-reassembled.ts`.
 */
export function ipipDecapsulation({ local, tunnel }: IpipEnds, peers: number): Uint8Array {
  const a = new Assembler();
  checkPeer(a, local, peers, 'pass');
  // options and fragments, which this form sends none of (DF is always set): the kernel makes whole packets of them
  a.jumpIf('ne', 7, 0x45, 'pass').and(8, 0xff3f).jumpIf('ne', 8, 0, 'pass');
  a.mov(1, 6)
    .movImmediate(2, -IP.size)
    .movImmediate(3, ADJ_ROOM_MAC)
    .movImmediate(4, FIXED_GSO | DECAP_IPV4);
  a.movImmediate(5, 0).call(HELPER.adjustRoom).jumpIf64('ne', 0, 0, 'drop');
  a.movImmediate(1, tunnel).movImmediate(2, REDIRECT_INGRESS).call(HELPER.redirect).exit();
  return verdicts(a);
}
