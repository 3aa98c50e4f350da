/**
 * What attachments of routed pods need besides interface and record: an address from the datastore, a route of the node,
 * and to be made known. An address is asked for while its handle is noted as owed (`debts.ts`), so nothing that happens in
 * between loses it; when the datastore does not answer, an ADD gives up in time, and a DEL leaves the rest for later.
 */
import { messageOf } from '../base/mod.ts';
import type { Logger } from '../base/mod.ts';
import type { RouteReconciler } from '../dataplane/mod.ts';
import type { RoutedNetwork } from '../desired/mod.ts';
import type { BlockIpam } from '../ipam/blocks/mod.ts';
import type { Attachment } from '../ipam/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import type { Link } from '../netlink/mod.ts';
import { BlockAddresses } from './addresses.ts';
import type { AddressSource } from './addresses.ts';
import { Debts } from './debts.ts';
import type { Debt } from './debts.ts';
import { CniError, codes } from './error.ts';
import { handleOf, hostRoutes } from './shape.ts';
import type { AttachRequest, PodName } from './shape.ts';
import { identityOf, WorkloadEndpoints } from './workload-endpoints.ts';
import type { EndpointRegistry } from './workload-endpoints.ts';

/** The producer of pods' routes, as the route reconciler knows it. */
export const ENDPOINT_ROUTES = 'endpoints';

const ASSIGN_PATIENCE_MS = 10_000;
const RELEASE_PATIENCE_MS = 2_000;

export type EndpointRoutes = Pick<
  RouteReconciler,
  'expect' | 'setDesired' | 'markInSync' | 'addNow' | 'withdrawNow' | 'isInstalled' | 'plan'
>;

export interface BlockAccess {
  readonly addresses: AddressSource;
  readonly endpoints: EndpointRegistry;
}

/** The datastore's side of a node that gives addresses out of blocks. */
export function openBlockAccess(
  options: { readonly ipam: BlockIpam } & ConstructorParameters<typeof WorkloadEndpoints>[0],
): BlockAccess {
  const { ipam, clock } = options;
  return { addresses: new BlockAddresses(ipam, () => clock.wallNow()), endpoints: new WorkloadEndpoints(options) };
}

export interface RoutedOptions {
  /** The one writer of the node's routes. */
  readonly routes: EndpointRoutes;
  /** The datastore's side; undefined as long as there is none. */
  readonly blocks: () => BlockAccess | undefined;
  /** An ADD without an address by then is answered "try again later", milliseconds. */
  readonly assignPatienceMs?: number;
  /** A DEL whose address is not given back by then is answered all the same, milliseconds. */
  readonly releasePatienceMs?: number;
}

const notOpen = (): CniError =>
  new CniError(codes.tryAgain, 'the datastore of this node is not open yet', 'the agent is setting up the node');

export class RoutedPods {
  readonly debts: Debts;
  private readonly options: RoutedOptions;
  private readonly log: Logger;
  /** Recovered, and not confirmed to be known yet. */
  private unconfirmed: readonly Attachment[] = [];
  /** Why the datastore did not do what it was last asked for; what was not done is owed, so it is asked again. */
  private away: string | undefined;

  /** Throws what the file system says when the state directory cannot be made. */
  constructor(options: RoutedOptions, stateDirectory: string, log: Logger) {
    this.options = options;
    this.log = log;
    this.debts = new Debts(stateDirectory);
  }

  /** Why no address can be given now, as far as is known. */
  get obstacle(): string | undefined {
    return this.options.blocks() ? this.away : notOpen().message;
  }

  /** Addresses for the attachment; from here on they are owed until `made`. Throws CniError. */
  async assign(request: AttachRequest, network: RoutedNetwork): Promise<readonly IpAddress[]> {
    const access = this.options.blocks();
    if (!access) throw notOpen();
    const { from, addresses, pod } = request;
    const handle = handleOf(request.network, request.container, request.interface);
    this.owe(handle, request);
    const wish = { handle, families: network.families, addresses, from, pod };
    const late = 'the datastore does not answer; nothing was attached';
    const patience = this.options.assignPatienceMs ?? ASSIGN_PATIENCE_MS;
    return this.watched(within(patience, late, (signal) => access.addresses.assign(wish, signal)));
  }

  private owe(handle: string, of: Pick<AttachRequest, 'container' | 'interface' | 'pod'>): void {
    try {
      this.debts.note({ handle, ...identityOf(of) });
    } catch (error) {
      this.debts.forget(handle);
      throw new CniError(codes.io, 'the attachment cannot be recorded', messageOf(error));
    }
  }

  /** The pair is there: the node learns the way to it. Throws CniError. */
  made(attachment: Attachment, link: Link): void {
    const problem = this.options.routes.addNow(ENDPOINT_ROUTES, link, hostRoutes(attachment));
    if (problem) throw new CniError(codes.kernel, `no route to ${problem.route.destination}`, problem.reason);
    if (attachment.handle !== undefined) this.debts.forget(attachment.handle);
    this.options.blocks()?.endpoints.publish(attachment);
  }

  /** Before the pair is deleted: what is to be given back is noted, and the routes go. */
  leave(attachment: Attachment): void {
    if (attachment.handle !== undefined) this.oweInAnyCase(attachment.handle, attachment);
    this.unreachable(attachment);
  }

  /** The pair is about to go, or has gone by itself. */
  unreachable(attachment: Attachment): void {
    this.options.routes.withdrawNow(ENDPOINT_ROUTES, attachment.hostInterface, hostRoutes(attachment));
  }

  /** A DEL goes on without a note: then this process alone remembers. */
  private oweInAnyCase(handle: string, of: Pick<AttachRequest, 'container' | 'interface' | 'pod'>): void {
    try {
      this.debts.note({ handle, ...identityOf(of) });
    } catch (error) {
      this.log.warn({ handle, error: messageOf(error) }, 'the address to give back cannot be noted on disk');
    }
  }

  /** Of a container nothing is known of here: another program may have attached it, or its record is lost. */
  async releaseUnknown(network: string, of: { container: string; interface: string; pod?: PodName | undefined }) {
    if (!this.options.blocks()) return;
    const handle = handleOf(network, of.container, of.interface);
    this.oweInAnyCase(handle, of);
    await this.payIfPossible(handle);
  }

  /** Gives back what is owed for a handle, if that can be done soon; else it is done later. */
  async payIfPossible(handle: string): Promise<void> {
    const debt = this.debts.list().find((owed) => owed.handle === handle);
    if (!debt) return;
    try {
      await this.pay(debt);
    } catch (error) {
      this.log.info({ handle, reason: messageOf(error) }, 'the address is given back later');
      this.debts.wake();
    }
  }

  /** Throws CniError. */
  async pay(debt: Debt): Promise<void> {
    const access = this.options.blocks();
    if (!access) throw notOpen();
    const patience = this.options.releasePatienceMs ?? RELEASE_PATIENCE_MS;
    const work = within(patience, 'the datastore does not answer', async (signal) => {
      await Promise.all([access.endpoints.withdraw(debt, signal), access.addresses.release(debt.handle, signal)]);
      // whoever stopped waiting may have noted the same handle again
      if (!signal.aborted) this.debts.forget(debt.handle);
    });
    await this.watched(work);
  }

  private async watched<T>(work: Promise<T>): Promise<T> {
    try {
      const done = await work;
      this.away = undefined;
      return done;
    } catch (error) {
      this.away = error instanceof CniError && error.code === codes.tryAgain ? error.message : undefined;
      throw error;
    }
  }

  isRouted(attachment: Attachment): boolean {
    return hostRoutes(attachment).every((route) => this.options.routes.isInstalled(route));
  }

  /** After a restart: the routes of what is there are adopted, what is not known is made known, the rest is owed. */
  recover(attachments: readonly Attachment[]): void {
    const { routes } = this.options;
    routes.setDesired(ENDPOINT_ROUTES, attachments.flatMap(hostRoutes));
    routes.markInSync(ENDPOINT_ROUTES);
    // a look, so that it is known which of them are in the kernel
    routes.plan();
    for (const attachment of attachments) {
      if (attachment.handle !== undefined) this.debts.forget(attachment.handle);
    }
    // one that was rebuilt from its mark does not know all that is to be told
    this.unconfirmed = attachments.filter(({ type, namespace }) => type === 'routed' && namespace !== '');
    this.confirm((attachment) => attachments.includes(attachment));
    this.debts.wake();
  }

  /** Makes sure that those recovered are known, as soon as the datastore is open; `still`: it has not gone meanwhile. */
  confirm(still: (attachment: Attachment) => boolean): void {
    const endpoints = this.options.blocks()?.endpoints;
    if (!endpoints) return;
    for (const attachment of this.unconfirmed) if (still(attachment)) endpoints.confirm(attachment);
    this.unconfirmed = [];
  }

  close(): void {
    this.options.blocks()?.endpoints.close();
  }
}

/** Runs `action`, and throws CniError 11 when it takes longer; it is told by its signal, and may end when it likes. */
async function within<T>(ms: number, late: string, action: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const control = new AbortController();
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    control.abort();
    reject(new CniError(codes.tryAgain, late));
  }, ms);
  const work = action(control.signal);
  work.catch(() => {}); // told below, or too late to be told
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}
