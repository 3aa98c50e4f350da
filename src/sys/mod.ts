/** The only way into the kernel: system calls, file descriptors, sockets, namespaces. `bun:ffi` is used nowhere else. */
export * from './errno.ts';
export * from './fd.ts';
export * from './icmp.ts';
export * from './lock.ts';
export * from './memory.ts';
export * from './mount.ts';
export * from './netns.ts';
export * from './process.ts';
export { attachFilter } from './socket-filter.ts';
export * from './socket.ts';
export * from './syscall.ts';
export * from './tun.ts';
export * from './tcp.ts';
