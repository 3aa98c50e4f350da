/**
 * Kernel changes as events. The kernel drops events when a listener is slow (ENOBUFS): then nothing that was told before
 * can be trusted, `resync` is told, and the listener reads everything anew.
 */
import { AF, attachFilter, bindSocket, errno, isErrno, NetworkNamespace, SO, SOL, setOption } from '../sys/mod.ts';
import type { Fd } from '../sys/mod.ts';
import { decodeAddress } from './address.ts';
import type { KernelAddress } from './address.ts';
import { NETLINK, RTM, RTNLGRP } from './codes.ts';
import { decodeLink } from './link.ts';
import type { Link } from './link.ts';
import { forEachMessage } from './message.ts';
import { decodeNeighbour } from './neighbour.ts';
import type { Neighbour } from './neighbour.ts';
import { decodeRoute } from './route.ts';
import type { KernelRoute } from './route.ts';
import { openNetlink } from './socket.ts';

export type KernelEvent =
  | { readonly type: 'link'; readonly gone: boolean; readonly link: Link }
  | { readonly type: 'address'; readonly gone: boolean; readonly address: KernelAddress }
  | { readonly type: 'route'; readonly gone: boolean; readonly route: KernelRoute }
  | { readonly type: 'neighbour'; readonly gone: boolean; readonly neighbour: Neighbour }
  | { readonly type: 'rule' }
  /** Events were lost. */
  | { readonly type: 'resync'; readonly reason: string };

export interface MonitorOptions {
  /** Default: links, addresses, routes and rules of both families. */
  readonly groups?: readonly (keyof typeof RTNLGRP)[];
  readonly receiveBufferBytes?: number;
  /** The connection with this port id makes changes of its own, and needs not be told of them. */
  readonly except?: number;
}

/** Offset of the port id in a netlink message header. */
const PORT_ID = 12;

/** Drops the messages about changes that one connection asked for, before anybody is woken. */
function dropThoseOf(fd: Fd, portId: number): void {
  // classic BPF loads in network order, and the header is in the machine's, which is little-endian
  const loaded = new DataView(Uint32Array.of(portId).buffer).getUint32(0);
  attachFilter(fd, [0x20, 0, 0, PORT_ID], [0x15, 0, 1, loaded], [0x06, 0, 0, 0], [0x06, 0, 0, 0xffffffff]);
}

const DEFAULT_GROUPS = [
  'LINK',
  'IPV4_IFADDR',
  'IPV6_IFADDR',
  'IPV4_ROUTE',
  'IPV6_ROUTE',
  'IPV4_RULE',
  'IPV6_RULE',
] as const;

interface ListenOptions {
  /** NETLINK protocol number. */
  readonly protocol: number;
  /** Multicast group numbers. */
  readonly groups: readonly number[];
  readonly receiveBufferBytes?: number;
  readonly except?: number;
  /** One or more messages; a view that the next call overwrites. */
  readonly data: (bytes: Uint8Array) => void;
  /** The kernel dropped messages; listening goes on. */
  readonly lost: (reason: string) => void;
}

function openSubscribed({ protocol, groups, receiveBufferBytes = 8 << 20, except }: ListenOptions) {
  const fd = openNetlink(protocol);
  try {
    setOption(fd, SOL.SOCKET, SO.RCVBUFFORCE, receiveBufferBytes);
  } catch (error) {
    if (!isErrno(error, errno.EPERM)) throw error;
    setOption(fd, SOL.SOCKET, SO.RCVBUF, receiveBufferBytes);
  }
  if (except !== undefined) dropThoseOf(fd, except);
  bindSocket(fd, Uint8Array.of(AF.NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  for (const group of groups) setOption(fd, SOL.NETLINK, NETLINK.ADD_MEMBERSHIP, group);
  return fd;
}

function decode(bytes: Uint8Array, tell: (event: KernelEvent) => void): void {
  forEachMessage(bytes, (header, body) => {
    if (header.type === RTM.NEWLINK || header.type === RTM.DELLINK) {
      const link = decodeLink(body);
      if (link) tell({ type: 'link', gone: header.type === RTM.DELLINK, link });
    } else if (header.type === RTM.NEWADDR || header.type === RTM.DELADDR) {
      const address = decodeAddress(body);
      if (address) tell({ type: 'address', gone: header.type === RTM.DELADDR, address });
    } else if (header.type === RTM.NEWROUTE || header.type === RTM.DELROUTE) {
      const route = decodeRoute(body);
      if (route) tell({ type: 'route', gone: header.type === RTM.DELROUTE, route });
    } else if (header.type === RTM.NEWNEIGH || header.type === RTM.DELNEIGH) {
      const neighbour = decodeNeighbour(body);
      if (neighbour) tell({ type: 'neighbour', gone: header.type === RTM.DELNEIGH, neighbour });
    } else if (header.type === RTM.NEWRULE || header.type === RTM.DELRULE) tell({ type: 'rule' });
  });
}

/** Receives multicast messages in the namespace this thread is in now, until disposed; calls back on the event loop. */
export function listenNetlink(options: ListenOptions): Disposable {
  let disposed = false;
  let current: { end(): void } | undefined;

  // A read error (ENOBUFS) closes the runtime's socket; the next one must be opened in the same namespace.
  const namespace = NetworkNamespace.current();

  function start(reason?: string): void {
    const fd = namespace.run(() => openSubscribed(options));
    const number = fd.release();
    const opened = Bun.connect({
      // @ts-expect-error -- `fd` is missing in the runtime's types
      fd: number,
      socket: {
        data: (_socket, data) => {
          if (!disposed) options.data(data);
        },
        close: () => {
          if (!disposed) start('the kernel dropped events (ENOBUFS)');
        },
        error: () => {},
      },
    });
    void opened.then((socket) => {
      current = socket;
      if (disposed) socket.end();
      else if (reason !== undefined) options.lost(reason);
    });
  }
  start();
  return {
    [Symbol.dispose]: () => {
      disposed = true;
      current?.end();
      namespace[Symbol.dispose]();
    },
  };
}

/** Listens in the namespace this thread is in now, until disposed. `tell` runs on the event loop. */
export function monitorKernel(tell: (event: KernelEvent) => void, options: MonitorOptions = {}): Disposable {
  return listenNetlink({
    protocol: NETLINK.ROUTE,
    groups: (options.groups ?? DEFAULT_GROUPS).map((group) => RTNLGRP[group]),
    ...(options.receiveBufferBytes === undefined ? {} : { receiveBufferBytes: options.receiveBufferBytes }),
    ...(options.except === undefined ? {} : { except: options.except }),
    data: (bytes) => decode(bytes, tell),
    lost: (reason) => tell({ type: 'resync', reason }),
  });
}
