/** The kernel's routing state of one network namespace, read and changed through one socket. */
import { errno, isErrno, NetworkNamespace } from '../sys/mod.ts';
import type { KernelError } from '../sys/mod.ts';
import { AF } from '../sys/mod.ts';
import type { Family } from '../net/mod.ts';
import { decodeAddress } from './address.ts';
import type { KernelAddress } from './address.ts';
import { NETLINK, RTM, RTM_TC } from './codes.ts';
import { decodeBpfFilter, writeFilterDump } from './filter.ts';
import type { BpfFilter, FilterHook } from './filter.ts';
import { decodeLink, decodeReceived, selectLink } from './link.ts';
import type { Link } from './link.ts';
import { Batch } from './message.ts';
import { decodeNeighbour } from './neighbour.ts';
import type { Neighbour } from './neighbour.ts';
import { decodeRoute } from './route.ts';
import type { KernelRoute } from './route.ts';
import { decodeRule } from './rule.ts';
import type { Rule } from './rule.ts';
import { MAX_BATCH, NetlinkSocket } from './socket.ts';

const familyNumber = (family: Family | undefined): number =>
  family === undefined ? AF.UNSPEC : family === 4 ? AF.INET : AF.INET6;

export class Rtnetlink implements Disposable {
  private readonly socket: NetlinkSocket;

  constructor() {
    this.socket = new NetlinkSocket(NETLINK.ROUTE);
  }

  /** Names this connection in what the kernel tells of its changes: `MonitorOptions.except`. */
  get portId(): number {
    return this.socket.portId;
  }

  /** Opened in that namespace; the calling thread stays where it is. */
  static in(namespace: NetworkNamespace): Rtnetlink {
    return namespace.run(() => new Rtnetlink());
  }

  links(): Link[] {
    const build = (batch: Batch) => void batch.u32(0).u32(0).u32(0).u32(0);
    return this.socket.dump(RTM.GETLINK, 'dump links', build, (_type, body) => decodeLink(body));
  }

  link(name: string): Link | undefined {
    const build = (batch: Batch) => selectLink(batch, name);
    return this.socket.get(RTM.GETLINK, `get link ${name}`, errno.ENODEV, build, decodeLink);
  }

  /** Packets it has received since it was made; 0 when there is no such link. */
  receivedPackets(name: string): number {
    const build = (batch: Batch) => selectLink(batch, name);
    return this.socket.get(RTM.GETLINK, `get link ${name}`, errno.ENODEV, build, decodeReceived) ?? 0;
  }

  addresses(family?: Family): KernelAddress[] {
    const build = (batch: Batch) => void batch.u8(familyNumber(family)).u8(0).u8(0).u8(0).u32(0);
    return this.socket.dump(RTM.GETADDR, 'dump addresses', build, (_type, body) => decodeAddress(body));
  }

  /** The routes of one table of one family; with `protocol` only those of that owner (the kernel filters). */
  routes(family: Family, filter: { table?: number; protocol?: number } = {}): KernelRoute[] {
    const build = (batch: Batch) => {
      batch.u8(familyNumber(family)).u8(0).u8(0).u8(0);
      batch
        .u8(filter.table ?? 0)
        .u8(filter.protocol ?? 0)
        .u8(0)
        .u8(0)
        .u32(0);
    };
    try {
      return this.socket.dump(RTM.GETROUTE, 'dump routes', build, (_type, body) => decodeRoute(body));
    } catch (error) {
      // a table is made with its first route: of a family that nobody uses here there is none
      if (isErrno(error, errno.ENOENT)) return [];
      throw error;
    }
  }

  neighbours(family?: Family): Neighbour[] {
    const build = (batch: Batch) => void batch.u8(familyNumber(family)).u8(0).u16(0).u32(0).u16(0).u8(0).u8(0);
    return this.socket.dump(RTM.GETNEIGH, 'dump neighbours', build, (_type, body) => decodeNeighbour(body));
  }

  /** Forwarding database entries of bridges and VXLAN devices. */
  forwarding(): Neighbour[] {
    const build = (batch: Batch) => void batch.u8(AF.BRIDGE).u8(0).u16(0).u32(0).u16(0).u8(0).u8(0);
    return this.socket.dump(RTM.GETNEIGH, 'dump forwarding entries', build, (_type, body) => decodeNeighbour(body));
  }

  rules(family: Family): Rule[] {
    const build = (batch: Batch) => void batch.u8(familyNumber(family)).u8(0).u8(0).u8(0).u32(0).u32(0);
    return this.socket.dump(RTM.GETRULE, 'dump rules', build, (_type, body) => decodeRule(body));
  }

  /** The BPF programs attached to one hook of a device. */
  bpfFilters(index: number, hook: FilterHook): BpfFilter[] {
    const build = (batch: Batch) => writeFilterDump(batch, index, hook);
    return this.socket.dump(RTM_TC.GETTFILTER, 'dump filters', build, (_type, body) => decodeBpfFilter(body, hook));
  }

  /** Runs the requests that `build` writes; throws the first refusal after all have run. */
  change(build: (batch: Batch) => void): void {
    const batch = new Batch();
    build(batch);
    this.socket.request(batch);
  }

  /** As `change`, with the kernel's work on another thread; nothing else may be asked here until it is done. */
  changeAside(build: (batch: Batch) => void): Promise<(KernelError | undefined)[]> {
    const batch = new Batch();
    build(batch);
    return this.socket.executeAside(batch);
  }

  /** One request an item, in batches; gives one entry an item: undefined, or what the kernel refused. */
  changeEach<T>(items: readonly T[], build: (batch: Batch, item: T) => void): (KernelError | undefined)[] {
    const results: (KernelError | undefined)[] = [];
    const batch = new Batch();
    for (let at = 0; at < items.length; at += MAX_BATCH) {
      batch.reset();
      for (const item of items.slice(at, at + MAX_BATCH)) build(batch, item);
      for (const result of this.socket.execute(batch)) results.push(result);
    }
    return results;
  }

  [Symbol.dispose](): void {
    this.socket[Symbol.dispose]();
  }
}
