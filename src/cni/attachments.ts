/**
 * The attachments of this node: address, record, interface, made together and taken away together. Memory leads; the
 * records on disk and the marks on the links are what it is rebuilt from after a restart.
 *
 * An ADD is: choose addresses, write the record, make the interface, mark it; all in one synchronous stretch, so that no
 * other request sees half of it. (A routed pod's addresses come from the datastore, before that stretch: see `routed.ts`.)
 * A DEL is: delete the interface, and when the kernel says it is gone, remove the record and free the addresses. The mark
 * on the link says that the ADD was finished. So after a kill at any point the next start has one rule: what has a record
 * and a marked link is kept, what lacks one of them is made whole from the mark or removed.
 */
import { messageOf, unreachable } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { isRouted } from '../desired/mod.ts';
import type { BridgeNetwork, PodNetwork, PodSubnet, RoutedNetwork } from '../desired/mod.ts';
import { endpointOwner, Endpoints, formatMark } from '../dataplane/mod.ts';
import type { AttachError, BridgeLink, Endpoint } from '../dataplane/mod.ts';
import { attachmentKey, AttachmentStore, isAssignable } from '../ipam/mod.ts';
import type { Attachment } from '../ipam/mod.ts';
import { familyOf, formatInterfaceAddress, prefixLength } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import type { Link } from '../netlink/mod.ts';
import { NetworkNamespace } from '../sys/mod.ts';
import type { KernelError } from '../sys/mod.ts';
import type { Debt } from './debts.ts';
import { CniError, codes } from './error.ts';
import { RoutedPods } from './routed.ts';
import type { RoutedOptions } from './routed.ts';
import { bridgedAttachment, kubernetesPod, rebuiltAttachment, routedAttachment, routedInterfaceName } from './shape.ts';
import type { AttachRequest, Place, PodName } from './shape.ts';
import { AttachmentTable, keyOf } from './table.ts';
import { Turns } from './turns.ts';

interface Options {
  readonly stateDirectory: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly onChange: () => void;
  /** For routed networks. */
  readonly routed?: RoutedOptions | undefined;
}

/** What a DEL tells besides container and interface. */
export interface RemovalHint {
  /** Name of the CNI network. */
  readonly network?: string | undefined;
  readonly pod?: PodName | undefined;
}

const ownerOf = (a: { readonly container: string; readonly interface: string }): string =>
  endpointOwner(a.container, a.interface);

const kernelRefused = (error: KernelError): CniError =>
  new CniError(codes.kernel, 'the kernel refused a change', error.message);

function endpointOf(attachment: Attachment): Endpoint {
  const addresses = attachment.addresses.map(formatInterfaceAddress);
  return { ...attachment, mark: formatMark({ ...attachment, addresses }) };
}

export class Attachments implements Disposable {
  private readonly store: AttachmentStore;
  private readonly endpoints = new Endpoints((name) => this.onGone(name));
  private readonly options: Options;
  private readonly table = new AttachmentTable();
  /** Operations on one attachment go one after the other. */
  private readonly turns = new Turns();
  private readonly routed: RoutedPods | undefined;

  /** Throws what the file system says when the state directory cannot be made. */
  constructor(options: Options) {
    this.options = options;
    this.store = new AttachmentStore(options.stateDirectory);
    const { routed, stateDirectory, log } = options;
    if (routed) this.routed = new RoutedPods(routed, stateDirectory, log);
  }

  list(): Attachment[] {
    return this.table.list();
  }

  /** A pod dies with its namespace, its DEL may come much later: until then nobody is to miss the way to it. */
  private onGone(hostInterface: string | undefined): void {
    const named = hostInterface === undefined ? this.list() : [this.table.byName(hostInterface)];
    for (const attachment of named) {
      // a link of that name may be there again: the pod's next one
      if (attachment?.type === 'routed' && !this.endpoints.link(attachment.hostInterface))
        this.routed?.unreachable(attachment);
    }
  }

  get(container: string, name: string): Attachment | undefined {
    return this.table.get(attachmentKey(container, name));
  }

  /** Makes it, or gives the one that is there when it is whole. Throws CniError. */
  async attach(request: AttachRequest, pod: NetworkNamespace, network: PodNetwork): Promise<Attachment> {
    const key = keyOf(request);
    return this.turns.take(key, async () => {
      const existing = this.table.get(key);
      if (existing) {
        if (this.isWhole(existing, pod)) return existing;
        // its handle stays its own: what is made anew has the same addresses
        await this.release(existing, 'later');
      }
      return isRouted(network)
        ? this.attachRouted(request, pod, network)
        : this.attachBridged(request, pod, network, key);
    });
  }

  private async attachBridged(request: AttachRequest, pod: NetworkNamespace, network: BridgeNetwork, key: string) {
    if (network.subnets.some((subnet) => this.table.nextAddress(subnet) === undefined)) await this.reclaim();
    // from the choice of the address to its being noted nothing is waited for
    const bridge = this.readBridge(network);
    const place = this.place(pod, this.table.hostInterface(key));
    return this.make(bridgedAttachment(request, network, this.choose(request, network), bridge, place), pod, bridge);
  }

  private async attachRouted(asked: AttachRequest, pod: NetworkNamespace, network: RoutedNetwork) {
    const { routed } = this;
    const request = { ...asked, pod: kubernetesPod(asked.pod) };
    if (!routed) throw new CniError(codes.tryAgain, 'this agent attaches no routed pods');
    try {
      const addresses = await this.assign(routed, request, network);
      const name = routedInterfaceName(request);
      await this.evict(name, keyOf(request));
      return await this.make(routedAttachment(request, network, addresses, this.place(pod, name)), pod);
    } catch (error) {
      // what was given, or may have been, goes back
      routed.debts.wake();
      throw error;
    }
  }

  /** When no address is left, what pods hold that died without a DEL is given back first. */
  private async assign(routed: RoutedPods, request: AttachRequest, network: RoutedNetwork) {
    try {
      return await routed.assign(request, network);
    } catch (error) {
      const full = error instanceof CniError && error.code === codes.noAddress;
      if (!full || !(await this.reclaim())) throw error;
      return routed.assign(request, network);
    }
  }

  /** An older sandbox of the same pod, which has its name: it is dead, and its own DEL may come late or never. */
  private async evict(hostInterface: string, key: string): Promise<void> {
    for (;;) {
      const other = this.table.byName(hostInterface);
      if (!other || keyOf(other) === key) return;
      // no two wait for each other: the one that has the name waits for nobody
      await this.turns.take(keyOf(other), async () => {
        if (this.table.byName(hostInterface) === other) await this.release(other);
      });
    }
  }

  private place(pod: NetworkNamespace, hostInterface: string): Place {
    return { namespaceIdentity: pod.identity, now: this.options.clock.wallNow(), hostInterface };
  }

  private isWhole(attachment: Attachment, pod: NetworkNamespace): boolean {
    return attachment.namespaceIdentity === pod.identity && this.inspect(attachment, pod).length === 0;
  }

  private readBridge(network: BridgeNetwork): BridgeLink {
    const bridge = this.endpoints.bridge(network.bridge);
    if (bridge) return bridge;
    throw new CniError(codes.tryAgain, `bridge ${network.bridge} is not there`, 'the agent is setting up the node');
  }

  private choose(request: AttachRequest, network: BridgeNetwork): Attachment['addresses'] {
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
    return addresses;
  }

  private checkAsked(subnet: PodSubnet, address: IpAddress): IpAddress {
    const owner = this.table.ownerOf(address);
    if (owner !== undefined) throw new CniError(codes.noAddress, `${address} is taken`, `by ${owner}`);
    if (isAssignable(subnet, address)) return address;
    throw new CniError(codes.noAddress, `${address} is not an address for pods of this node`, subnet.subnet);
  }

  private async make(attachment: Attachment, pod: NetworkNamespace, bridge?: BridgeLink): Promise<Attachment> {
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
      if (attachment.type === 'routed') this.routed?.made(attachment, made.value);
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
  private async undo(attachment: Attachment, how: 'at once' | 'later' = 'at once'): Promise<void> {
    try {
      await this.release(attachment, how);
    } catch (error) {
      const { container, hostInterface } = attachment;
      this.options.log.warn({ container, hostInterface, error: messageOf(error) }, 'cannot undo a failed attachment');
    }
  }

  /** DEL. Nothing to release is success. Throws CniError when the kernel refuses. */
  async remove(container: string, name: string, hint: RemovalHint = {}): Promise<void> {
    const key = attachmentKey(container, name);
    return this.turns.take(key, async () => {
      const attachment = this.table.get(key);
      if (attachment) return this.release(attachment);
      // the record may be lost, the link's name is not
      const owner = { container, interface: name, pod: kubernetesPod(hint.pod) };
      await this.detach(this.table.hostInterface(key), owner);
      if (!this.routed) return;
      await this.detach(routedInterfaceName(owner), owner);
      if (hint.network !== undefined) await this.routed.releaseUnknown(hint.network, owner);
    });
  }

  private async detach(name: string, owner: { readonly container: string; readonly interface: string }): Promise<void> {
    const gone = await this.endpoints.detach(name, ownerOf(owner));
    if (!gone.ok) throw kernelRefused(gone.error);
  }

  private async release(attachment: Attachment, how: 'at once' | 'later' = 'at once'): Promise<void> {
    const { handle, hostInterface } = attachment;
    if (attachment.type === 'routed') this.routed?.leave(attachment);
    await this.detach(hostInterface, attachment);
    if (!this.store.remove(hostInterface)) {
      this.options.log.warn({ hostInterface }, 'the record of a removed attachment cannot be deleted');
    }
    this.table.delete(attachment);
    this.options.onChange();
    if (handle !== undefined && how === 'at once') await this.routed?.payIfPossible(handle);
  }

  /** Gives back what is owed; throws CniError when that cannot be done now. For `Debts.run`. */
  private pay(debt: Debt): Promise<void> {
    const key = attachmentKey(debt.container, debt.interface);
    return this.turns.take(key, async () => {
      // in the meantime it was paid, or the attachment was made after all
      if (this.routed?.debts.has(debt.handle) !== true) return;
      if (this.table.get(key)?.handle === debt.handle) this.routed.debts.forget(debt.handle);
      else await this.routed.pay(debt);
    });
  }

  /** What could not be done at the start, as the datastore was not open: to be called now and then. */
  catchUp(): void {
    this.routed?.confirm((attachment) => this.table.get(keyOf(attachment)) === attachment);
  }

  /** Pays debts until aborted. */
  async settle(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.options;
    await this.routed?.debts.run((debt) => this.pay(debt), signal, clock, log);
  }

  /** Sets the MTU of all pairs, both ends. Tells how many were changed and which could not be. */
  setMtu(networkMtu: number): { readonly changed: number; readonly faults: readonly string[] } {
    let changed = 0;
    const faults: string[] = [];
    for (const attachment of this.list()) {
      const mtu = Math.min(networkMtu, attachment.mtuLimit ?? networkMtu);
      if (attachment.mtu === mtu) continue;
      const fault = this.setMtuOf(attachment, mtu);
      if (fault === undefined) changed++;
      else faults.push(`${attachment.hostInterface}: ${fault}`);
    }
    return { changed, faults };
  }

  private setMtuOf(attachment: Attachment, mtu: number): string | undefined {
    try {
      using pod = NetworkNamespace.open(attachment.namespace);
      if (pod.identity !== attachment.namespaceIdentity) return 'its namespace is gone';
      const set = this.endpoints.setMtu(pod, endpointOf(attachment), mtu);
      if (!set.ok) return set.error.message;
    } catch (error) {
      return messageOf(error);
    }
    const after = { ...attachment, mtu };
    this.table.delete(attachment);
    this.table.add(after);
    return this.save(after)?.details;
  }

  /** What differs from what ADD made, in words. */
  inspect(attachment: Attachment, pod: NetworkNamespace): string[] {
    const faults = this.endpoints.inspect(pod, endpointOf(attachment));
    if (attachment.type === 'routed' && this.routed?.isRouted(attachment) !== true)
      faults.push(`the node has no route to it by ${attachment.hostInterface}`);
    const { namespaceIdentity: made } = attachment;
    return made === '' || made === pod.identity ? faults : ['it was attached in another namespace', ...faults];
  }

  /** Why no ADD can succeed now; undefined when one can. */
  obstacle(network: PodNetwork): CniError | undefined {
    if (isRouted(network)) {
      const reason = this.routed ? this.routed.obstacle : 'this agent attaches no routed pods';
      if (reason !== undefined) return new CniError(codes.notAvailable, 'no address can be given now', reason);
    } else {
      const bridge = this.endpoints.link(network.bridge);
      if (!bridge) return new CniError(codes.limitedConnectivity, `bridge ${network.bridge} is missing`);
      const full = network.subnets.find((subnet) => this.table.nextAddress(subnet) === undefined);
      if (full) return new CniError(codes.notAvailable, `no free address is left in ${full.subnet}`);
    }
    const unwritable = this.store.probe();
    return unwritable === undefined
      ? undefined
      : new CniError(codes.notAvailable, 'the state directory cannot be written', unwritable);
  }

  /** Frees what pods left that died without a DEL: without the interface nobody can use the address. Tells whether any. */
  private async reclaim(): Promise<boolean> {
    const present = new Set(this.endpoints.marked().map((link) => link.name));
    const dead = this.list().filter(({ hostInterface }) => !present.has(hostInterface));
    for (const attachment of dead) {
      const key = keyOf(attachment);
      await this.turns.take(key, async () => {
        const isDead = this.table.get(key) === attachment && !this.endpoints.link(attachment.hostInterface);
        if (isDead) await this.release(attachment);
      });
    }
    return dead.length > 0;
  }

  /** Brings memory, records and links together after a start. */
  async recover(): Promise<void> {
    const { log } = this.options;
    this.routed?.debts.load(log);
    const { attachments, faults } = this.store.load();
    for (const { hostInterface, reason } of faults) {
      log.warn({ hostInterface, reason }, 'a record cannot be read; its interface, if there is one, tells what it was');
      this.store.remove(hostInterface);
    }
    const marks = new Map(this.endpoints.marked().map((link) => [link.name, link]));
    // the newest last: its address is where the search for the next one goes on
    for (const attachment of attachments.toSorted((a, b) => a.createdAt - b.createdAt)) this.table.add(attachment);
    const stale = attachments.filter((a) => marks.get(a.hostInterface)?.alias.split(' ', 1)[0] !== ownerOf(a));
    for (const attachment of stale) await this.undo(attachment, 'later');
    const rebuilt = [...marks.values()].filter((link) => !this.table.hasName(link.name));
    for (const link of rebuilt) this.rebuild(link);
    this.routed?.recover(this.list());
    for (const attachment of this.list()) this.guard(attachment);
    const counts = { attachments: this.table.size, dropped: stale.length, rebuilt: rebuilt.length };
    log.info(counts, 'attachments recovered');
  }

  private guard(attachment: Attachment): void {
    const { hostInterface } = attachment;
    try {
      const changed = this.endpoints.guard(endpointOf(attachment));
      if (changed.length > 0) this.options.log.warn({ hostInterface, changed }, 'a pod’s border was changed; put back');
    } catch (error) {
      this.options.log.warn({ hostInterface, error: messageOf(error) }, 'a pod’s border cannot be looked at');
    }
  }

  /** From the mark on a link whose record is lost: enough to keep its address and to remove it. */
  private rebuild(link: Link): void {
    const { name: hostInterface, alias } = link;
    const attachment = rebuiltAttachment(link, this.options.clock.wallNow());
    if (!attachment) {
      this.options.log.warn({ hostInterface, alias }, 'a link carries a mark that cannot be read; it is left alone');
      return;
    }
    this.table.add(attachment);
    const failure = this.save(attachment);
    if (failure) this.options.log.warn({ hostInterface, reason: failure.details }, failure.message);
  }

  [Symbol.dispose](): void {
    this.routed?.close();
    this.endpoints[Symbol.dispose]();
  }
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
