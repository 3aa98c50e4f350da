/** Socket calls the runtime has no form of: address families, options and errors as the kernel has them. */
import { Fd } from './fd.ts';
import { check, NR, syscall } from './syscall.ts';

export const AF = { UNSPEC: 0, UNIX: 1, INET: 2, BRIDGE: 7, INET6: 10, NETLINK: 16, PACKET: 17 } as const;
export const SOCK = { STREAM: 1, DGRAM: 2, RAW: 3, CLOEXEC: 0x80000, NONBLOCK: 0x800 } as const;
export const SOL = { SOCKET: 1, NETLINK: 270 } as const;
export const SO = { ERROR: 4, RCVBUF: 8, RCVTIMEO: 20, RCVBUFFORCE: 33 } as const;
export const MSG = { PEEK: 2, DONTWAIT: 0x40, TRUNC: 0x20 } as const;

export function openSocket(family: number, type: number, protocol: number): Fd {
  return new Fd(check(`socket(${family}, ${protocol})`, syscall(NR.socket, family, type | SOCK.CLOEXEC, protocol)));
}

export function bindSocket(fd: Fd, address: Uint8Array): void {
  check('bind', syscall(NR.bind, fd.number, address, address.length));
}

/** The address a socket was bound to, in `bytes` of its form. */
export function socketName(fd: Fd, bytes: number): Uint8Array {
  const address = new Uint8Array(bytes);
  check('getsockname', syscall(NR.getsockname, fd.number, address, Int32Array.of(bytes)));
  return address;
}

export function setOption(fd: Fd, level: number, option: number, value: number | Uint8Array): void {
  const bytes = typeof value === 'number' ? new Uint8Array(Int32Array.of(value).buffer) : value;
  check(`setsockopt(${level}, ${option})`, syscall(NR.setsockopt, fd.number, level, option, bytes, bytes.length));
}

export function getOption(fd: Fd, level: number, option: number): number {
  const value = new Int32Array(1);
  const length = Int32Array.of(4);
  check(`getsockopt(${level}, ${option})`, syscall(NR.getsockopt, fd.number, level, option, value, length));
  return value[0]!;
}

/** Sends `bytes` as one message; gives the kernel's return value (−errno on failure). */
export function send(fd: Fd, bytes: Uint8Array, flags = 0): number {
  return syscall(NR.sendto, fd.number, bytes, bytes.length, flags);
}

/** The same to an address (struct sockaddr). */
export function sendTo(fd: Fd, bytes: Uint8Array, address: Uint8Array): number {
  return syscall(NR.sendto, fd.number, bytes, bytes.length, 0, address, address.length);
}

/** Receives into `bytes`; gives the kernel's return value (−errno on failure). */
export function receive(fd: Fd, bytes: Uint8Array, flags = 0): number {
  return syscall(NR.recvfrom, fd.number, bytes, bytes.length, flags);
}

/** The same, and puts the sender's address (struct sockaddr) into `from`. */
export function receiveFrom(fd: Fd, bytes: Uint8Array, from: Uint8Array): number {
  return syscall(NR.recvfrom, fd.number, bytes, bytes.length, 0, from, Int32Array.of(from.length));
}
