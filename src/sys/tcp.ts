/**
 * TCP connections with what BGP needs set before the first segment leaves: TCP MD5 (RFC 2385), time to live (RFC 5082),
 * source address, device. The runtime has no form of these. A connection is begun here, non-blocking, and handed to the
 * runtime's event loop once it is up. Addresses are 4 or 16 bytes in network order.
 */
import { errno, KernelError } from './errno.ts';
import { Fd } from './fd.ts';
import { AF, bindSocket, getOption, openSocket, setOption, SO, SOCK, SOL } from './socket.ts';
import { check, cstring, NR, syscall } from './syscall.ts';

const IPPROTO = { IP: 0, TCP: 6, IPV6: 41 } as const;
const SO_BINDTODEVICE = 25;
const SIOCGIFNAME = 0x8910;
/** sizeof(struct ifreq): name 16, union 24. */
const IFREQ_LENGTH = 40;
const TCP_OPTION = { NODELAY: 1, MD5SIG: 14, MD5SIG_EXT: 32 } as const;
const IP_OPTION = { TTL: 2, MINTTL: 21, BIND_ADDRESS_NO_PORT: 24 } as const;
const IPV6_OPTION = { UNICAST_HOPS: 16, MINHOPCOUNT: 73 } as const;

/** sizeof(struct tcp_md5sig): address 128, flags 1, prefix length 1, key length 2, ifindex 4, key 80. */
const MD5SIG_LENGTH = 216;
const MD5SIG_FLAG_PREFIX = 1;
export const MAX_TCP_MD5_KEY = 80;

/** struct sockaddr_in or sockaddr_in6; `scope` is the interface index of an IPv6 link-local address. */
export function socketAddress(address: Uint8Array, port: number, scope = 0): Uint8Array {
  const v4 = address.length === 4;
  const bytes = new Uint8Array(v4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, v4 ? AF.INET : AF.INET6, true);
  view.setUint16(2, port);
  bytes.set(address, v4 ? 4 : 8);
  if (!v4) view.setUint32(24, scope, true);
  return bytes;
}

/**
 * Sets the key for a peer, or takes it away (empty key). With `prefixLength` it is for all addresses of that prefix
 * (Linux 4.13). On a listening socket it is in force for connections from then on.
 */
export function setTcpMd5Key(fd: number, peer: Uint8Array, key: string, prefixLength?: number): void {
  const secret = new TextEncoder().encode(key);
  if (secret.length > MAX_TCP_MD5_KEY) throw new Error(`a TCP MD5 key has at most ${MAX_TCP_MD5_KEY} bytes`);
  const bytes = new Uint8Array(MD5SIG_LENGTH);
  bytes.set(socketAddress(peer, 0));
  if (prefixLength !== undefined) {
    bytes[128] = MD5SIG_FLAG_PREFIX;
    bytes[129] = prefixLength;
  }
  new DataView(bytes.buffer).setUint16(130, secret.length, true);
  bytes.set(secret, 136);
  const option = prefixLength === undefined ? TCP_OPTION.MD5SIG : TCP_OPTION.MD5SIG_EXT;
  const result = syscall(NR.setsockopt, fd, IPPROTO.TCP, option, bytes, bytes.length);
  bytes.fill(0);
  // taking away a key that is not there is no error
  if (secret.length === 0 && result === -errno.ENOENT) return;
  check('setsockopt(TCP_MD5SIG)', result);
}

/** The time to live of what is sent, and the least of what is accepted (0: any). */
export function setTimeToLive(fd: number, family: 4 | 6, ttl: number, minimum: number): void {
  const set = (option: number, value: number, name: string) => {
    const level = family === 4 ? IPPROTO.IP : IPPROTO.IPV6;
    check(`setsockopt(${name})`, syscall(NR.setsockopt, fd, level, option, Int32Array.of(value), 4));
  };
  set(family === 4 ? IP_OPTION.TTL : IPV6_OPTION.UNICAST_HOPS, ttl, 'TTL');
  set(family === 4 ? IP_OPTION.MINTTL : IPV6_OPTION.MINHOPCOUNT, minimum, 'MINTTL');
}

export interface ConnectOptions {
  readonly remote: Uint8Array;
  readonly port: number;
  readonly source?: Uint8Array;
  readonly device?: string;
  /** Interface index, for a link-local remote. */
  readonly scope?: number;
  readonly md5Key?: string;
  readonly ttl?: number;
  readonly minimumTtl?: number;
}

/** Begins a connection; `connectionState` tells how it goes. Throws KernelError when it fails at once. */
export function beginConnect(options: ConnectOptions): Fd {
  const family = options.remote.length === 4 ? 4 : 6;
  const fd = openSocket(family === 4 ? AF.INET : AF.INET6, SOCK.STREAM | SOCK.NONBLOCK, 0);
  try {
    setOption(fd, IPPROTO.TCP, TCP_OPTION.NODELAY, 1);
    if (options.device !== undefined) setOption(fd, SOL.SOCKET, SO_BINDTODEVICE, cstring(options.device));
    if (options.md5Key !== undefined) setTcpMd5Key(fd.number, options.remote, options.md5Key);
    if (options.ttl !== undefined) setTimeToLive(fd.number, family, options.ttl, options.minimumTtl ?? 0);
    if (options.source) {
      // the port is chosen at connect, when the peer is known: one port serves many peers
      setOption(fd, IPPROTO.IP, IP_OPTION.BIND_ADDRESS_NO_PORT, 1);
      bindSocket(fd, socketAddress(options.source, 0, options.scope));
    }
    const address = socketAddress(options.remote, options.port, options.scope);
    const result = syscall(NR.connect, fd.number, address, address.length);
    if (result < 0 && result !== -errno.EINPROGRESS) throw new KernelError('connect', -result);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/**
 * The device on which the peer of a connected IPv6 socket is, when the peer's address means nothing without one
 * (fe80::/10); undefined for every other address.
 */
export function peerDevice(fd: number): string | undefined {
  const address = new Uint8Array(28);
  if (syscall(NR.getpeername, fd, address, Int32Array.of(address.length)) !== 0) return undefined;
  const scope = new DataView(address.buffer).getUint32(24, true);
  if (scope === 0) return undefined;
  const request = new Uint8Array(IFREQ_LENGTH);
  new DataView(request.buffer).setUint32(16, scope, true);
  if (syscall(NR.ioctl, fd, SIOCGIFNAME, request) !== 0) return undefined; // it is gone already
  return new TextDecoder().decode(request.subarray(0, request.indexOf(0)));
}

/** `pending` while the handshake goes on; the error when it failed. */
export function connectionState(fd: Fd): 'pending' | 'connected' | KernelError {
  const address = new Uint8Array(28);
  const result = syscall(NR.getpeername, fd.number, address, Int32Array.of(address.length));
  if (result === 0) return 'connected';
  const error = getOption(fd, SOL.SOCKET, SO.ERROR);
  return error === 0 ? 'pending' : new KernelError('connect', error);
}
