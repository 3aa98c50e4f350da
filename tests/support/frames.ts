/** Ethernet frames made by hand and sent as they are, as a hostile pod would. */
import { addressBytes, familyOf, macBytes } from '../../src/net/mod.ts';
import type { IpAddress, MacAddress } from '../../src/net/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';
import { AF, check, openSocket, sendTo, SOCK } from '../../src/sys/mod.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';

const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
export const BROADCAST = 'ff:ff:ff:ff:ff:ff' as MacAddress;
const UDP = 17;
const ICMPV6 = 58;

const u16 = (value: number): [number, number] => [(value >> 8) & 255, value & 255];

/** RFC 1071. */
function checksum(bytes: readonly number[]): [number, number] {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return u16(~sum & 0xffff);
}

/** An IP packet with what it carries, checksums filled in; `at` is where the carried checksum stands. */
function packet(source: IpAddress, destination: IpAddress, protocol: number, carried: number[], at: number): number[] {
  const [from, to] = [[...addressBytes(source)], [...addressBytes(destination)]];
  const pseudo = [...from, ...to, 0, protocol, ...u16(carried.length)];
  [carried[at], carried[at + 1]] = checksum([...pseudo, ...carried]);
  if (familyOf(source) === 6) return [0x60, 0, 0, 0, ...u16(carried.length), protocol, 255, ...from, ...to, ...carried];
  const header = [0x45, 0, ...u16(20 + carried.length), 0, 1, 0, 0, 64, protocol, 0, 0, ...from, ...to];
  [header[10], header[11]] = checksum(header);
  return [...header, ...carried];
}

/** From port 4000 to 4001, carrying so many zeros. */
export const udp = (source: IpAddress, destination: IpAddress, bytes = 0): number[] =>
  packet(
    source,
    destination,
    UDP,
    [...u16(4000), ...u16(4001), ...u16(8 + bytes), 0, 0, ...Array.from({ length: bytes }, () => 0)],
    6,
  );

/** An IPv4 packet in an IPv4 packet (RFC 2003). */
export function encapsulated(source: IpAddress, destination: IpAddress, inner: readonly number[]): number[] {
  const [from, to] = [addressBytes(source), addressBytes(destination)];
  const header = [0x45, 0, ...u16(20 + inner.length), 0, 1, 0, 0, 64, 4, 0, 0, ...from, ...to];
  return [...swap(header, 10), ...inner];
}

const swap = (bytes: number[], checksumAt: number): number[] => {
  [bytes[checksumAt], bytes[checksumAt + 1]] = [0, 0];
  [bytes[checksumAt], bytes[checksumAt + 1]] = checksum(bytes);
  return bytes;
};

/** The same IPv4 packet to `by`, with the option "loose source route" (RFC 791) to where it went before. */
export function sourceRouted(plain: readonly number[], by: IpAddress): number[] {
  const [LSRR, POINTER, END] = [131, 4, 0];
  const option = [LSRR, 7, POINTER, ...plain.slice(16, 20), END];
  const header = [0x47, 0, ...u16(plain.length + 8), ...plain.slice(4, 10), 0, 0, ...plain.slice(12, 16)];
  return [...swap([...header, ...addressBytes(by), ...option], 10), ...plain.slice(20)];
}

/** The same IPv4 packet as a fragment that begins somewhere behind. */
export function laterFragment(plain: readonly number[]): number[] {
  const OFFSET = 64;
  return [...swap([...plain.slice(0, 6), ...u16(OFFSET), ...plain.slice(8, 20)], 10), ...plain.slice(20)];
}

/** The same IPv6 packet behind a destination options header (60), or as the first fragment of one (44). */
export function extended(plain: readonly number[], header: 44 | 60): number[] {
  const next = plain[6]!;
  const FIRST_OF_MORE = 1;
  const extension = header === 60 ? [next, 0, 1, 4, 0, 0, 0, 0] : [next, 0, 0, FIRST_OF_MORE, 0, 0, 0, 9];
  return [
    ...plain.slice(0, 4),
    ...u16(plain.length - 40 + 8),
    header,
    ...plain.slice(7, 40),
    ...extension,
    ...plain.slice(40),
  ];
}

/** RFC 4861 section 4.2, with a prefix to make an address of: "I am your router". */
export function routerAdvertisement(source: IpAddress, prefix: IpAddress): number[] {
  const advertisement = [134, 0, 0, 0, 64, 0, ...u16(1800), 0, 0, 0, 0, 0, 0, 0, 0];
  const lifetime = [0, 0, 0x0e, 0x10];
  const option = [3, 4, 64, 0xc0, ...lifetime, ...lifetime, 0, 0, 0, 0, ...addressBytes(prefix)];
  return packet(source, 'ff02::1' as IpAddress, ICMPV6, [...advertisement, ...option], 2);
}

/** RFC 826: "`address` is at `mac`", unasked. */
export const arpReply = (address: IpAddress, mac: MacAddress, to: IpAddress): number[] => [
  ...[0, 1, 8, 0, 6, 4, 0, 2],
  ...macBytes(mac),
  ...addressBytes(address),
  ...macBytes(BROADCAST),
  ...addressBytes(to),
];

/** Sends one frame out of `device` in that namespace. */
export function sendFrame(
  namespace: NetworkNamespace,
  device: string,
  to: MacAddress,
  kind: keyof typeof ETHERTYPE,
  payload: readonly number[],
): void {
  using netlink = Rtnetlink.in(namespace);
  const link = netlink.link(device)!;
  using socket = namespace.run(() => openSocket(AF.PACKET, SOCK.RAW, 0));
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF.PACKET, true);
  view.setInt32(4, link.index, true);
  const frame = Uint8Array.of(...macBytes(to), ...macBytes(link.address!), ...u16(ETHERTYPE[kind]), ...payload);
  check('send a frame', sendTo(socket, frame, address));
}
