/**
 * The attachments of this node: address, record, interface, made together and taken away together. Memory leads; the
 * records on disk and the marks on the links are what it is rebuilt from after a restart.
 *
 * An ADD is: choose addresses, write the record, make the interface, mark it; all in one synchronous stretch, so that no
 * other request sees half of it. A DEL is: delete the interface, and when the kernel says it is gone, remove the record and
 * free the addresses. The mark on the link says that the ADD was finished. So after a kill at any point the next start
 * has one rule: what has a record and a marked link is kept, what lacks one of them is made whole from the mark or removed.
 */
import { randomBytes } from 'node:crypto';
import { messageOf, unreachable } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import type { BridgeNetwork, PodSubnet } from '../desired/mod.ts';
import { endpointOwner, Endpoints, formatMark, parseMark } from '../dataplane/mod.ts';
import type { AttachError, BridgeLink, Endpoint } from '../dataplane/mod.ts';
import { attachmentKey, AttachmentStore, isAssignable } from '../ipam/mod.ts';
import type { Attachment } from '../ipam/mod.ts';
import { familyOf, formatInterfaceAddress, hostPrefix, macFromBytes, parseInterfaceAddress } from '../net/mod.ts';
import { prefixLength } from '../net/mod.ts';
import type { IpAddress, MacAddress, Prefix } from '../net/mod.ts';
import type { KernelError, NetworkNamespace } from '../sys/mod.ts';
import { CniError, codes } from './error.ts';
import { AttachmentTable, keyOf } from './table.ts';

export interface AttachRequest {
  readonly container: string;
  readonly interface: string;
  /** Name of the CNI network. */
  readonly network: string;
  readonly namespacePath: string;
  /** At most one a family; the others are chosen. */
  readonly addresses: readonly IpAddress[];
  readonly mac?: MacAddress | undefined;
  readonly mtu?: number | undefined;
  /** Without a gateway: through the bridge. */
  readonly routes: readonly { readonly dst: Prefix; readonly gw?: IpAddress | undefined }[];
  readonly pod?: { readonly namespace: string; readonly name: string; readonly uid: string } | undefined;
}

interface Options {
  readonly stateDirectory: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly onChange: () => void;
}

const NO_MAC = '00:00:00:00:00:00' as MacAddress;
const ownerOf = (a: { readonly container: string; readonly interface: string }): string =>
  endpointOwner(a.container, a.interface);

const kernelRefused = (error: KernelError): CniError =>
  new CniError(codes.kernel, 'the kernel refused a change', error.message);

function endpointOf(attachment: Attachment): Endpoint {
  const addresses = attachment.addresses.map(formatInterfaceAddress);
  return { ...attachment, mark: formatMark({ ...attachment, addresses }) };
}

/** Locally administered, unicast. */
function randomMac(): MacAddress {
  const bytes = randomBytes(6);
  bytes[0] = (bytes[0]! & 0xfc) | 2;
  return macFromBytes(bytes);
}

export class Attachments implements Disposable {
  private readonly store: AttachmentStore;
  private readonly endpoints = new Endpoints();
  private readonly options: Options;
  private readonly table = new AttachmentTable();
  /** The last operation on a key: operations on one attachment go one after the other. */
  private readonly last = new Map<string, Promise<unknown>>();

  /** Throws what the file system says when the state directory cannot be made. */
  constructor(options: Options) {
    this.options = options;
    this.store = new AttachmentStore(options.stateDirectory);
  }

  list(): Attachment[] {
    return this.table.list();
  }

  get(container: string, name: string): Attachment | undefined {
    return this.table.get(attachmentKey(container, name));
  }

  private async exclusive<T>(key: string, action: () => Promise<T>): Promise<T> {
    const before = this.last.get(key);
    const mine = (async () => {
      // how the one before ended is its caller's business
      if (before) await before.catch(() => {});
      return action();
    })();
    this.last.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.last.get(key) === mine) this.last.delete(key);
    }
  }

  /** Makes it, or gives the one that is there when it is whole. Throws CniError. */
  async attach(request: AttachRequest, pod: NetworkNamespace, network: BridgeNetwork): Promise<Attachment> {
    const key = keyOf(request);
    return this.exclusive(key, async () => {
      const existing = this.table.get(key);
      if (existing) {
        if (this.isWhole(existing, pod)) return existing;
        await this.release(existing);
      }
      if (network.subnets.some((subnet) => this.table.nextAddress(subnet) === undefined)) await this.reclaim();
      // from the choice of the address to its being noted nothing is waited for
      const bridge = this.readBridge(network);
      return this.make(this.choose(request, network, pod, bridge), pod, bridge);
    });
  }

  private isWhole(attachment: Attachment, pod: NetworkNamespace): boolean {
    return (
      attachment.namespaceIdentity === pod.identity && this.endpoints.inspect(pod, endpointOf(attachment)).length === 0
    );
  }

  private readBridge(network: BridgeNetwork): BridgeLink {
    const bridge = this.endpoints.bridge(network.bridge);
    if (bridge) return bridge;
    throw new CniError(codes.tryAgain, `bridge ${network.bridge} is not there`, 'the agent is setting up the node');
  }

  private choose(
    request: AttachRequest,
    network: BridgeNetwork,
    pod: NetworkNamespace,
    bridge: BridgeLink,
  ): Attachment {
    const addresses: Attachment['addresses'] = [];
    for (const subnet of network.subnets) {
      const asked = request.addresses.filter((a) => familyOf(a) === familyOf(subnet.subnet));
      if (asked.length > 1) throw new CniError(codes.noAddress, `more than one address asked for: ${asked.join(', ')}`);
      const address = asked[0] === undefined ? this.table.nextAddress(subnet) : this.checkAsked(subnet, asked[0]);
      if (address === undefined) throw new CniError(codes.noAddress, `no free address is left in ${subnet.subnet}`);
      const { gateway, network: whole } = subnet;
      addresses.push({ address, prefixLength: prefixLength(subnet.subnet), gateway, network: whole });
    }
    const orphan = request.addresses.find((a) => !addresses.some((given) => given.address === a));
    if (orphan !== undefined) throw new CniError(codes.noAddress, `${orphan} is not in a subnet of this node`);
    return {
      ...{ format: 1, createdAt: this.options.clock.wallNow() },
      ...{ network: request.network, container: request.container, interface: request.interface },
      hostInterface: this.table.hostInterface(keyOf(request)),
      ...{ namespace: request.namespacePath, namespaceIdentity: pod.identity },
      ...{ bridge: network.bridge, mtu: Math.min(network.mtu, request.mtu ?? network.mtu) },
      ...{ mac: request.mac ?? randomMac(), hostMac: randomMac(), bridgeMac: bridge.address ?? NO_MAC },
      addresses,
      routes: routesOf(addresses, request),
      ...(request.pod && { pod: request.pod }),
    };
  }

  private checkAsked(subnet: PodSubnet, address: IpAddress): IpAddress {
    const owner = this.table.ownerOf(address);
    if (owner !== undefined) throw new CniError(codes.noAddress, `${address} is taken`, `by ${owner}`);
    if (isAssignable(subnet, address)) return address;
    throw new CniError(codes.noAddress, `${address} is not an address for pods of this node`, subnet.subnet);
  }

  private async make(attachment: Attachment, pod: NetworkNamespace, bridge: BridgeLink): Promise<Attachment> {
    this.table.add(attachment);
    try {
      const failure = this.save(attachment);
      if (failure) throw failure;
      let made = this.endpoints.attach(pod, endpointOf(attachment), bridge);
      if (!made.ok && made.error.type === 'host-interface-taken') {
        // the remains of one whose record is lost
        await this.detach(attachment.hostInterface, attachment);
        made = this.endpoints.attach(pod, endpointOf(attachment), bridge);
      }
      if (!made.ok) throw describe(made.error, attachment);
    } catch (error) {
      await this.undo(attachment);
      throw error;
    }
    this.options.onChange();
    return attachment;
  }

  private save(attachment: Attachment): CniError | undefined {
    try {
      this.store.save(attachment);
      return undefined;
    } catch (error) {
      return new CniError(codes.io, 'the attachment cannot be recorded', messageOf(error));
    }
  }

  /** After a failed ADD. When even this fails, the address stays taken and a DEL, GC or restart tries again. */
  private async undo(attachment: Attachment): Promise<void> {
    try {
      await this.release(attachment);
    } catch (error) {
      const { container, hostInterface } = attachment;
      this.options.log.warn({ container, hostInterface, error: messageOf(error) }, 'cannot undo a failed attachment');
    }
  }

  /** DEL. Nothing to release is success. Throws CniError when the kernel refuses. */
  async remove(container: string, name: string): Promise<void> {
    const key = attachmentKey(container, name);
    return this.exclusive(key, async () => {
      const attachment = this.table.get(key);
      if (attachment) await this.release(attachment);
      // the record may be lost, the link's name is not
      else await this.detach(this.table.hostInterface(key), { container, interface: name });
    });
  }

  private async detach(name: string, owner: { readonly container: string; readonly interface: string }): Promise<void> {
    const gone = await this.endpoints.detach(name, ownerOf(owner));
    if (!gone.ok) throw kernelRefused(gone.error);
  }

  private async release(attachment: Attachment): Promise<void> {
    await this.detach(attachment.hostInterface, attachment);
    if (!this.store.remove(attachment.hostInterface)) {
      const { hostInterface } = attachment;
      this.options.log.warn({ hostInterface }, 'the record of a removed attachment cannot be deleted');
    }
    this.table.delete(attachment);
    this.options.onChange();
  }

  /** What differs from what ADD made, in words. */
  inspect(attachment: Attachment, pod: NetworkNamespace): string[] {
    const faults = this.endpoints.inspect(pod, endpointOf(attachment));
    const { namespaceIdentity: made } = attachment;
    return made === '' || made === pod.identity ? faults : ['it was attached in another namespace', ...faults];
  }

  /** Why no ADD can succeed now; undefined when one can. */
  obstacle(network: BridgeNetwork): CniError | undefined {
    const bridge = this.endpoints.link(network.bridge);
    if (!bridge) return new CniError(codes.limitedConnectivity, `bridge ${network.bridge} is missing`);
    const full = network.subnets.find((subnet) => this.table.nextAddress(subnet) === undefined);
    if (full) return new CniError(codes.notAvailable, `no free address is left in ${full.subnet}`);
    const unwritable = this.store.probe();
    return unwritable === undefined
      ? undefined
      : new CniError(codes.notAvailable, 'the state directory cannot be written', unwritable);
  }

  /** Frees what pods left that died without a DEL: without the interface nobody can use the address. */
  private async reclaim(): Promise<void> {
    for (const attachment of this.list()) {
      const key = keyOf(attachment);
      await this.exclusive(key, async () => {
        const isDead = this.table.get(key) === attachment && !this.endpoints.link(attachment.hostInterface);
        if (isDead) await this.release(attachment);
      });
    }
  }

  /** Brings memory, records and links together after a start. */
  async recover(): Promise<void> {
    const { log } = this.options;
    const { attachments, faults } = this.store.load();
    for (const { hostInterface, reason } of faults) {
      log.warn({ hostInterface, reason }, 'a record cannot be read; its interface, if there is one, tells what it was');
      this.store.remove(hostInterface);
    }
    const marks = new Map(this.endpoints.marked().map((link) => [link.name, link]));
    // the newest last: its address is where the search for the next one goes on
    for (const attachment of attachments.toSorted((a, b) => a.createdAt - b.createdAt)) this.table.add(attachment);
    const stale = attachments.filter((a) => marks.get(a.hostInterface)?.alias.split(' ', 1)[0] !== ownerOf(a));
    for (const attachment of stale) await this.undo(attachment);
    const rebuilt = [...marks.values()].filter((link) => !this.table.hasName(link.name));
    for (const link of rebuilt) this.rebuild(link.name, link.alias, link.mtu);
    const counts = { attachments: this.table.size, dropped: stale.length, rebuilt: rebuilt.length };
    log.info(counts, 'attachments recovered');
  }

  /** From the mark on a link whose record is lost: enough to keep its address and to remove it. */
  private rebuild(hostInterface: string, alias: string, mtu: number): void {
    const mark = parseMark(alias);
    const addresses = mark?.addresses.map(parseInterfaceAddress);
    if (!mark || !addresses || !/^veth[0-9a-f]{8}$/.test(hostInterface)) {
      this.options.log.warn({ hostInterface, alias }, 'a link carries a mark that cannot be read; it is left alone');
      return;
    }
    const attachment: Attachment = {
      ...{ format: 1, createdAt: this.options.clock.wallNow() },
      ...{ network: mark.network, container: mark.container, interface: mark.interface, hostInterface },
      ...{ namespace: '', namespaceIdentity: '', bridge: '', mtu, mac: NO_MAC, hostMac: NO_MAC, bridgeMac: NO_MAC },
      addresses: addresses.flatMap((a) => (a ? [{ ...a, gateway: a.address, network: hostPrefix(a.address) }] : [])),
      routes: [],
    };
    this.table.add(attachment);
    const failure = this.save(attachment);
    if (failure) this.options.log.warn({ hostInterface, reason: failure.details }, failure.message);
  }

  [Symbol.dispose](): void {
    this.endpoints[Symbol.dispose]();
  }
}

/** As Flannel sets them: everything through the bridge, and the network's own prefix, should the default be replaced. */
function routesOf(addresses: Attachment['addresses'], request: AttachRequest): Attachment['routes'] {
  const routes = addresses.flatMap(({ address, gateway, network }) => [
    { destination: (familyOf(address) === 4 ? '0.0.0.0/0' : '::/0') as Prefix, gateway },
    { destination: network, gateway },
  ]);
  for (const { dst, gw } of request.routes) {
    const gateway = gw ?? addresses.find((a) => familyOf(a.address) === familyOf(dst))?.gateway;
    if (gateway !== undefined) routes.push({ destination: dst, gateway });
  }
  return routes;
}

function describe(error: AttachError, attachment: Attachment): CniError {
  switch (error.type) {
    case 'host-interface-taken':
      return new CniError(codes.kernel, `a foreign interface ${attachment.hostInterface} is in the way`);
    case 'interface-taken':
      return new CniError(codes.interfaceTaken, `the container has an interface ${attachment.interface} already`);
    case 'kernel':
      return kernelRefused(error.error);
    default:
      return unreachable(error);
  }
}
