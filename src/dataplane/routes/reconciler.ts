/**
 * The only writer of routes. Producers say what they want; the kernel says what is there; a pass applies the difference.
 *
 * - It owns what carries its route protocol number, and nothing else. A foreign route that stands where one of ours is
 *   wanted is a conflict: reported, left alone, tried again when the foreigner goes.
 * - What was there before this process started and is still wanted is left as it is: no delete, no add. What is not wanted
 *   is swept only after every producer has said its picture is complete.
 * - Events only trigger: what is in the kernel is known from dumps and from our own writes. The kernel drops a device's
 *   routes silently when it goes down, so a change of a link means a new dump. Events come late, too: of a link that was
 *   made a moment ago they first tell that it is down.
 * - A refused route stays pending with the kernel's words, and stops no other.
 */
import { Backoff, compileSoon, DeltaMap, silentLogger, systemClock, Wakeup } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import type { Route } from '../../desired/mod.ts';
import { formatRoute, isUp, MAX_BATCH, RT_TABLE } from '../../netlink/mod.ts';
import type { KernelEvent, KernelRoute, Link } from '../../netlink/mod.ts';
import { errno } from '../../sys/mod.ts';
import { RouteBook, routeKey } from './book.ts';
import type { RouteKey } from './book.ts';
import type { RouteKernel, RouteWrite } from './kernel.ts';
import { resolveRoute, sameRoute } from './resolve.ts';

/** Our mark on routes in the main table, shown by iproute2 as `proto 71`. */
export const ROUTE_PROTOCOL = 71;

const DEFAULT_REFRESH_MS = 60_000;
/** Above this many routes of others, only ours are dumped, and shadowing by a better metric goes unseen. */
const FOREIGN_LIMIT = 50_000;
/** After a full look, no other for this many times its duration. */
const DUMP_PAUSE = 3;
/** From so many writes on, compiling what writes them pays. */
const MANY_WRITES = 500;

export interface RouteProblem {
  readonly route: Route;
  /** `conflict`: somebody else's route is in the way; `device`: its device is missing or down; `refused`: by the kernel. */
  readonly kind: 'conflict' | 'device' | 'refused';
  readonly reason: string;
}

export interface RouteStatus {
  readonly wanted: number;
  readonly installed: number;
  /** Producers that have not completed their picture; while there are any, nothing stale is removed. */
  readonly waitingFor: readonly string[];
  readonly problems: readonly RouteProblem[];
  readonly counters: Readonly<Record<'created' | 'replaced' | 'deleted' | 'refused' | 'dumps' | 'resyncs', number>>;
}

export interface RouteReconcilerOptions {
  readonly kernel: RouteKernel;
  readonly protocol?: number;
  readonly log?: Logger;
  readonly clock?: Clock;
  /** How often everything is read anew without any event. */
  readonly refreshMs?: number;
}

export type PlannedWrite = RouteWrite & { readonly key: RouteKey };

export class RouteReconciler {
  private readonly book = new RouteBook();
  private readonly delta = new DeltaMap<RouteKey, KernelRoute>(sameRoute);
  private readonly problems = new Map<RouteKey, RouteProblem>();
  private readonly wakeup = new Wakeup();
  private readonly backoff = new Backoff(20, 10_000);
  private readonly listeners = new Set<() => void>();
  private readonly counters = { created: 0, replaced: 0, deleted: 0, refused: 0, dumps: 0, resyncs: 0 };
  private readonly kernel: RouteKernel;
  private readonly protocol: number;
  private readonly log: Logger;
  private readonly clock: Clock;
  private readonly refreshMs: number;
  private links = new Map<string, Link>();
  /** Names of the devices that wanted routes go through. */
  private devices = new Set<string>();
  /** Foreign routes with a better or equal metric on a wanted destination. */
  private foreign = new Map<string, KernelRoute>();
  private foreignCount = 0;
  private needsDump = true;
  private nextDumpAt = -Infinity;

  constructor(options: RouteReconcilerOptions) {
    this.kernel = options.kernel;
    this.protocol = options.protocol ?? ROUTE_PROTOCOL;
    this.log = options.log ?? silentLogger;
    this.clock = options.clock ?? systemClock;
    this.refreshMs = options.refreshMs ?? DEFAULT_REFRESH_MS;
  }

  /** Announces a producer; nothing is swept until it, too, is in sync. */
  expect(producer: string): void {
    this.book.expect(producer);
  }

  /** Replaces all routes of one producer. */
  setDesired(producer: string, routes: Iterable<Route>): void {
    this.book.replace(producer, routes);
    this.wakeup.notify();
  }

  addDesired(producer: string, route: Route): void {
    this.book.set(producer, route);
    this.wakeup.notify();
  }

  removeDesired(producer: string, route: Pick<Route, 'destination' | 'metric'>): void {
    this.book.delete(producer, route);
    this.wakeup.notify();
  }

  /**
   * Wants routes over a link that was made a moment ago, and writes them before it returns, so that whoever made the link
   * may rely on them. Gives what stands in the way of one of them; they stay wanted until they are withdrawn.
   */
  addNow(producer: string, link: Link, routes: readonly Route[]): RouteProblem | undefined {
    this.links.set(link.name, link);
    for (const route of routes) this.book.set(producer, route);
    const keys = routes.map(routeKey);
    for (let attempt = 0; ; attempt++) {
      for (const key of keys) this.decide(key);
      // with the link as it is; what is told late of its making must not be decided on before the next look
      this.book.taken(keys);
      this.writeNow(keys);
      const problem = keys.map((key) => this.problems.get(key)).find((found) => found !== undefined);
      if (!problem || attempt > 0) return problem;
      // in the way is perhaps what this agent's predecessor left, or what is gone by now: a look tells
      this.needsDump = true;
      this.nextDumpAt = -Infinity;
      this.observe();
    }
  }

  /** Takes a producer's routes over `device` back at once, before that is deleted. */
  withdrawNow(producer: string, device: string, routes: readonly Pick<Route, 'destination' | 'metric'>[]): void {
    // from here on the device is nobody's concern: that it goes is no reason to read all routes anew
    this.devices.delete(device);
    const index = this.links.get(device)?.index;
    const gone: RouteKey[] = [];
    for (const route of routes) {
      this.book.delete(producer, route);
      const key = routeKey(route);
      this.decide(key);
      const have = this.delta.getActual(key);
      if (this.delta.getDesired(key) !== undefined) this.wakeup.notify();
      else if (have?.nextHops.some((hop) => hop.index === index) === true) gone.push(key);
    }
    this.writeNow(gone);
  }

  /** Writes what differs in these keys, and deletes what nobody wants among them. */
  private writeNow(keys: readonly RouteKey[]): void {
    const writes: PlannedWrite[] = [];
    for (const key of keys) {
      const [want, have] = [this.delta.getDesired(key), this.delta.getActual(key)];
      if (this.problems.get(key)?.kind === 'conflict') continue;
      if (want && !(have && sameRoute(want, have))) writes.push({ key, op: have ? 'replace' : 'create', route: want });
      else if (!want && have) writes.push({ key, op: 'delete', route: have });
    }
    if (writes.length === 0) return;
    const results = this.kernel.write(writes);
    for (const [i, write] of writes.entries()) this.settle(write, results[i]);
  }

  /** The producer has told all it knows: what nobody wants may go. */
  markInSync(producer: string): void {
    this.book.markInSync(producer);
    this.wakeup.notify();
  }

  /** Reads the kernel anew at the next pass. */
  refresh(): void {
    this.needsDump = true;
    this.wakeup.notify();
  }

  /** Called after each pass, until disposed. */
  onPass(listener: () => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  /** Whether this route is in the kernel as wanted. */
  isInstalled(route: Pick<Route, 'destination' | 'metric'>): boolean {
    const key = routeKey(route);
    const [want, have] = [this.delta.getDesired(key), this.delta.getActual(key)];
    return want !== undefined && have !== undefined && sameRoute(want, have) && !this.problems.has(key);
  }

  status(): RouteStatus {
    // after a look, whatever is not among these was decided on and is in the kernel
    const doubtful = this.needsDump
      ? this.book.keys()
      : new Set([...this.delta.pendingKeys(), ...this.problems.keys(), ...this.book.changedKeys()]);
    const wanted = this.book.size;
    let installed = wanted;
    for (const key of doubtful) {
      const route = this.book.winner(key);
      if (route && !this.isInstalled(route)) installed--;
    }
    return {
      ...{ wanted, installed, waitingFor: this.book.waitingFor() },
      ...{ problems: [...this.problems.values()], counters: { ...this.counters } },
    };
  }

  /** What a pass would write now; changes nothing. */
  plan(): PlannedWrite[] {
    this.observe();
    return this.pendingWrites();
  }

  /** Runs until aborted: a pass whenever something changed, a full look every `refreshMs`. Leaves the routes there. */
  async run(signal: AbortSignal): Promise<void> {
    using _watch = this.kernel.watch((event) => this.onEvent(event));
    while (!signal.aborted) {
      let delay = this.refreshMs;
      let refused = false;
      try {
        refused = await this.pass(signal);
        if (refused) delay = Math.min(delay, this.backoff.next());
        else this.backoff.reset();
      } catch (error) {
        this.log.error({ error: String(error) }, 'reading or writing routes failed; trying again');
        this.needsDump = true;
        refused = true;
        delay = this.backoff.next();
      }
      for (const listener of this.listeners) listener();
      const before = this.clock.now();
      // a look that was put off must not wait for the next event; one after a refusal has its own time
      if (this.needsDump && !refused) delay = Math.min(delay, Math.max(1, this.nextDumpAt - before));
      await this.wakeup.wait(signal, delay);
      if (this.clock.now() - before >= delay) this.needsDump = true;
      // what arrived together is told in one turn of the event loop, and is written together
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** One look and one write; true when the kernel refused something that is worth another try soon. */
  async pass(signal?: AbortSignal): Promise<boolean> {
    this.observe();
    const writes = this.pendingWrites();
    if (writes.length >= MANY_WRITES) compileSoon();
    let refused = false;
    for (let at = 0; at < writes.length; at += MAX_BATCH) {
      const batch = writes.slice(at, at + MAX_BATCH);
      const results = this.kernel.write(batch);
      for (const [i, write] of batch.entries()) refused = this.settle(write, results[i]) || refused;
      // thousands of routes must not hold up timers and sockets
      if (at + MAX_BATCH < writes.length) await new Promise((resolve) => setImmediate(resolve));
      if (signal?.aborted === true) break;
    }
    return refused;
  }

  private observe(): void {
    const changed = this.book.takeChanged();
    const started = this.clock.now();
    if (!this.needsDump || started < this.nextDumpAt) {
      for (const key of changed) this.decide(key);
      return;
    }
    this.needsDump = false;
    this.counters.dumps++;
    this.devices = new Set();
    this.links = new Map(this.kernel.links().map((link) => [link.name, link]));
    const all = this.kernel.routes(this.foreignCount > FOREIGN_LIMIT ? this.protocol : undefined);
    const own = all.filter((route) => route.protocol === this.protocol && route.table === RT_TABLE.MAIN);
    this.delta.replaceActual(own.map((route) => [keyOf(route), route]));
    const keys = this.book.keys();
    for (const [key] of this.delta.desiredEntries()) keys.add(key);
    const wanted = new Set([...keys].map((key) => key.slice(0, key.indexOf(' '))));
    this.foreignCount = all.length - own.length;
    this.foreign = new Map();
    for (const route of all) {
      if (route.protocol === this.protocol || !wanted.has(route.destination)) continue;
      const before = this.foreign.get(route.destination);
      if (!before || route.priority < before.priority) this.foreign.set(route.destination, route);
    }
    for (const key of keys) this.decide(key);
    // under a storm of events, looking takes at most a quarter of the time
    const ended = this.clock.now();
    this.nextDumpAt = ended + DUMP_PAUSE * (ended - started);
  }

  /** Brings one key's desired state up to date with book, links and foreigners. */
  private decide(key: RouteKey): void {
    const route = this.book.winner(key);
    this.problems.delete(key);
    if (!route) {
      this.delta.deleteDesired(key);
      return;
    }
    for (const hop of route.nextHops) this.devices.add(hop.device);
    const resolved = resolveRoute(route, this.protocol, this.links);
    if (!resolved.ok) {
      this.problems.set(key, { route, kind: 'device', reason: resolved.error });
      this.delta.deleteDesired(key);
      return;
    }
    this.delta.setDesired(key, resolved.value);
    const foreign = this.foreign.get(route.destination);
    if (foreign && foreign.priority <= resolved.value.priority) this.conflict(key, route, foreign);
  }

  private conflict(key: RouteKey, route: Route, foreign: KernelRoute | undefined): void {
    const by = foreign ? `${formatRoute(foreign)} metric ${foreign.priority}` : 'a route of somebody else';
    this.problems.set(key, { route, kind: 'conflict', reason: `${by} is there already and is left alone` });
  }

  private pendingWrites(): PlannedWrite[] {
    const writes: PlannedWrite[] = [];
    for (const [key, want, have] of this.delta.missing()) {
      // in the way at the very same metric: only the other side can clear that
      if (!have && this.foreign.get(want.destination)?.priority === want.priority) continue;
      writes.push({ key, op: have ? 'replace' : 'create', route: want });
    }
    if (!this.book.inSync) return writes;
    // a wanted route without its device is not swept: the kernel drops it with the device, and it may come back
    for (const [key, have] of this.delta.surplus()) {
      if (!this.problems.has(key)) writes.push({ key, op: 'delete', route: have });
    }
    return writes;
  }

  /** Books the outcome of one write; true when it is worth another try soon. */
  private settle({ key, op, route }: PlannedWrite, error: { errno: number; message: string } | undefined): boolean {
    const gone = error !== undefined && (error.errno === errno.ESRCH || error.errno === errno.ENODEV);
    if (op === 'delete' && (!error || gone)) {
      if (!error) this.counters.deleted++;
      this.delta.deleteActual(key);
      return false;
    }
    if (!error) {
      if (op === 'create') this.counters.created++;
      else this.counters.replaced++;
      this.delta.setActual(key, route);
      if (this.problems.get(key)?.kind === 'refused') this.problems.delete(key);
      return false;
    }
    const wanted = this.book.winner(key);
    if (op === 'create' && error.errno === errno.EEXIST && wanted) {
      // ours from a moment ago, or a foreigner's: the next dump tells
      if (this.problems.get(key)?.kind !== 'conflict') this.needsDump = true;
      this.conflict(key, wanted, this.foreign.get(route.destination));
      return this.needsDump;
    }
    this.counters.refused++;
    this.needsDump = true;
    if (wanted) this.problems.set(key, { route: wanted, kind: 'refused', reason: error.message });
    this.log.warn({ route: formatRoute(route), op, error: error.message }, 'the kernel refused a route');
    return true;
  }

  private onEvent(event: KernelEvent): void {
    if (event.type === 'resync') {
      this.counters.resyncs++;
      this.log.warn({ reason: event.reason }, 'kernel events were lost: reading all routes anew');
      this.refresh();
    } else if (event.type === 'link') this.onLink(event.link, event.gone);
    else if (event.type === 'address') {
      // with an address go the routes that use it as their source
      if ([...this.devices].some((name) => this.links.get(name)?.index === event.address.index)) this.refresh();
    } else if (event.type === 'route' && this.concerns(event.route, event.gone)) this.refresh();
  }

  /** Pods come and go all the time: only a device that wanted routes go through is worth a look at all routes. */
  private onLink(link: Link, gone: boolean): void {
    const before = this.links.get(link.name);
    const renamed = [...this.links.values()].find((other) => other.index === link.index && other.name !== link.name);
    if (renamed) this.links.delete(renamed.name);
    if (gone) this.links.delete(link.name);
    else this.links.set(link.name, link);
    const same = !gone && before !== undefined && before.index === link.index && isUp(before) === isUp(link);
    const used = this.devices.has(link.name) || (renamed !== undefined && this.devices.has(renamed.name));
    if (used && !same) this.refresh();
  }

  /** Whether a route event tells something that is not our own doing. */
  private concerns(route: KernelRoute, gone: boolean): boolean {
    if (route.table !== RT_TABLE.MAIN) return false;
    const key = keyOf(route);
    if (route.protocol === this.protocol) {
      const known = this.delta.getActual(key);
      return gone ? known !== undefined : known === undefined || !sameRoute(known, route);
    }
    // a foreigner came to, or left, a destination we want
    return this.delta.getDesired(key) !== undefined || this.foreign.has(route.destination);
  }
}

const keyOf = (route: KernelRoute): RouteKey => routeKey({ destination: route.destination, metric: route.priority });
