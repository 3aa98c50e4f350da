/**
 * IPAM of one node: requests go into a queue; what waits is planned together and written in one transaction, blocks and
 * handles at once. So an address costs one round trip, many at once cost hardly more, and there is no moment at which a
 * crash leaves half of anything. Who loses a race looks at what is there now (the failed transaction brought it along)
 * and plans again, a bounded number of times and with jitter. A write that may or may not have taken place is followed
 * by reading; a request that turns out to have been granted is answered with what it was granted.
 */
import { Backoff, err, GodwitError, messageOf, ok, silentLogger, sleep, systemClock } from '../../base/mod.ts';
import type { Clock, Logger, Result } from '../../base/mod.ts';
import { DatastoreError } from '../../datastore/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import type { Labels } from '../../model/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { Cache } from './cache.ts';
import { Draft } from './draft.ts';
import { affinitiesPrefix, hostOwner, isHandle } from './keys.ts';
import type { Owner } from './keys.ts';
import { namespaceLabels } from './namespaces.ts';
import { planAssign, planRelease, planTakeBack } from './plan.ts';
import type { Claim, Context, Planned } from './plan.ts';
import type { AssignRequest, Assignment, Given, IpamError } from './requests.ts';
import { findRoom } from './search.ts';
import { settingsFrom } from './settings.ts';
import type { IpamSettings, SettingsSource } from './settings.ts';

export interface BlockIpamOptions {
  readonly store: Datastore;
  /** Name of the node addresses are given on. */
  readonly node: string;
  /** Read from the datastore when not given. */
  readonly settings?: SettingsSource;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly log?: Logger;
  /** How long a request goes on trying while the datastore does not answer, 20 s when not given. */
  readonly patienceMs?: number;
}

/** More would not fit into one transaction of etcd's default limit of 128 operations. */
const MAX_BATCH = 32;
const MAX_ATTEMPTS = 100;

type Room = Extract<Planned<unknown>, { type: 'room' }>;

interface Job<T = unknown> {
  plan(context: Context): Planned<T>;
  finish(result: Result<T, IpamError>): void;
  readonly signal: AbortSignal | undefined;
  readonly since: number;
  attempts: number;
}

export class BlockIpam {
  readonly node: string;
  readonly owner: Owner;
  private readonly store: Datastore;
  private readonly settings: SettingsSource;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly backoff: Backoff;
  private readonly patienceMs: number;
  private readonly cache: Cache;
  private queue: Job[] = [];
  private running = false;

  constructor(options: BlockIpamOptions) {
    this.node = options.node;
    this.owner = hostOwner(options.node);
    this.store = options.store;
    this.settings = options.settings ?? settingsFrom(options.store);
    this.clock = options.clock ?? systemClock;
    this.log = options.log ?? silentLogger;
    this.backoff = new Backoff(4, 400, options.random);
    this.patienceMs = options.patienceMs ?? 20_000;
    this.cache = new Cache(this.owner);
  }

  /** All addresses asked for, or an error and none. Asking again with the same handle gives the same ones. */
  assign(request: AssignRequest, signal?: AbortSignal): Promise<Result<readonly Assignment[], IpamError>> {
    if (!isHandle(request.handle))
      return Promise.resolve(err(new GodwitError('invalid', `${JSON.stringify(request.handle)} is no handle`)));
    return this.enqueue((context) => planAssign(context, request), signal);
  }

  /** The labels that `assign` wants for a pod of this namespace; undefined where no pool asks for them. */
  async labelsOf(namespace: string): Promise<Result<Labels | undefined, IpamError>> {
    try {
      const { pools } = await this.settings.current();
      if (!pools.some(({ spec }) => spec.namespaceSelector && !spec.disabled)) return ok(undefined);
      return ok(await namespaceLabels(this.store, namespace, this.log));
    } catch (error) {
      if (!(error instanceof DatastoreError) && !(error instanceof GodwitError)) throw error;
      return err(new GodwitError(error.kind, error.message, { cause: error }));
    }
  }

  /** Takes back all addresses of a handle, and tells which. Nothing given is no error. */
  release(handle: string, signal?: AbortSignal): Promise<Result<readonly IpAddress[], IpamError>> {
    if (!isHandle(handle)) return Promise.resolve(ok([]));
    return this.enqueue((context) => planRelease(context, handle), signal);
  }

  /** Takes back one address if it is still given exactly as it was seen; false when it is not. */
  takeBack(given: Given, signal?: AbortSignal): Promise<Result<boolean, IpamError>> {
    return this.enqueue((context) => planTakeBack(context, given), signal);
  }

  /** Reads what belongs to the node ahead of the first request. */
  async warmUp(): Promise<void> {
    await this.settings.current();
    await this.load();
  }

  private enqueue<T>(plan: (context: Context) => Planned<T>, signal?: AbortSignal): Promise<Result<T, IpamError>> {
    return new Promise((resolve) => {
      const job: Job<T> = { plan, finish: resolve, signal, since: this.clock.now(), attempts: 0 };
      this.queue.push(job);
      if (!this.running) {
        this.running = true;
        // what is asked for in the same turn of the event loop goes into the same transaction
        queueMicrotask(() => void this.work());
      }
    });
  }

  /** The one loop that writes; never rejects. */
  private async work(): Promise<void> {
    while (this.queue.length > 0) {
      const batch = this.queue.splice(0, MAX_BATCH).filter((job) => !this.givesUp(job));
      let outcome: 'written' | 'lost' | 'unavailable' = 'unavailable';
      let left: readonly Job[] = batch;
      try {
        ({ outcome, left } = await this.round(batch));
      } catch (error) {
        left = this.afterError(batch, error);
      }
      this.queue.unshift(...left);
      // whoever lost once knows by now what is there, and just tries again
      const again = outcome === 'lost' && left.every((job) => job.attempts <= 1);
      if (outcome === 'written') this.backoff.reset();
      else if (left.length > 0 && !again)
        await sleep(this.backoff.next() * (outcome === 'lost' ? 1 : 10), undefined, this.clock);
    }
    this.running = false;
  }

  private givesUp(job: Job): boolean {
    if (job.signal?.aborted) job.finish(err(new GodwitError('aborted', 'the request was withdrawn')));
    else if (job.attempts > MAX_ATTEMPTS)
      job.finish(
        err(
          new GodwitError('busy', `lost ${MAX_ATTEMPTS} races with other nodes for an address`, { hint: 'Try again.' }),
        ),
      );
    else return false;
    return true;
  }

  /** What is to be tried again after an error of the datastore; patience is bounded, and some errors stay errors. */
  private afterError(batch: readonly Job[], error: unknown): Job[] {
    const passing = error instanceof DatastoreError && error.kind === 'unavailable';
    this.log.warn({ node: this.node, error: messageOf(error) }, 'ipam: the datastore failed us');
    return batch.filter((job) => {
      job.attempts++;
      if (passing && this.clock.now() - job.since < this.patienceMs) return true;
      const kind =
        error instanceof DatastoreError ? error.kind : error instanceof GodwitError ? error.kind : 'internal';
      job.finish(err(new GodwitError(kind, messageOf(error), { cause: error })));
      return false;
    });
  }

  private async round(batch: readonly Job[]): Promise<{ outcome: 'written' | 'lost'; left: readonly Job[] }> {
    if (!this.cache.loaded) await this.load();
    const settings = await this.settings.current();
    const plan = await this.plan(batch, settings);
    for (const [job, error] of plan.failures) job.finish(err(error));
    const { draft, finished, waiting } = plan;
    if (finished.length === 0) for (const job of waiting) job.attempts++;
    // what was read in this very round needs no proof that it is so
    const proven = draft.changesNothing && [...draft.seen().keys()].every((key) => plan.fresh.has(key));
    const result = proven ? { succeeded: true, revision: 0, gets: [] } : await this.commit(draft);
    if (draft.settle(result)) this.settings.renew();
    if (!result.succeeded) {
      for (const [job] of finished) job.attempts++;
      return { outcome: 'lost', left: [...finished.map(([job]) => job), ...waiting] };
    }
    for (const [job, value] of finished) job.finish(ok(value));
    this.cache.present.clear();
    return { outcome: 'written', left: waiting };
  }

  /** Plans until nothing more has to be read or searched for. */
  private async plan(batch: readonly Job[], settings: IpamSettings) {
    const claims: Claim[] = [];
    const failures = new Map<Job, IpamError>();
    const fresh = new Set<string>();
    for (let turn = 0; ; turn++) {
      const draft = new Draft(this.cache, settings, this.clock.wallNow());
      const context: Context = { draft, cache: this.cache, node: this.node, claims };
      const finished: [Job, unknown][] = [];
      const waiting: Job[] = [];
      const rooms: { readonly want: Room; readonly jobs: Job[] }[] = [];
      for (const job of batch) {
        if (failures.has(job)) continue;
        if (draft.isFull) {
          waiting.push(job);
          continue;
        }
        const planned = job.plan(context);
        if (planned.type === 'done') finished.push([job, planned.value]);
        else if (planned.type === 'failed') failures.set(job, planned.error);
        else waiting.push(job);
        if (planned.type !== 'room') continue;
        const known = rooms.find((room) => samePools(room.want, planned));
        if (known) known.jobs.push(job);
        else rooms.push({ want: planned, jobs: [job] });
      }
      if (turn > 50) throw new Error('planning does not come to an end');
      // one new block for each set of pools at a time; who does not fit into it comes again in the next round
      const room = rooms.find(({ want }) => !claims.some((claim) => want.pools.includes(claim.pool)));
      if (draft.needs.size > 0) for (const key of await this.read(draft.needs)) fresh.add(key);
      else if (room) {
        const found = await this.search(room.want, settings, claims);
        if (found.type === 'claim') claims.push(found.claim);
        if (found.type === 'none') for (const job of room.jobs) failures.set(job, found.error);
      } else return { draft, finished, waiting, failures, fresh };
    }
  }

  private search(want: Extract<Planned<unknown>, { type: 'room' }>, settings: IpamSettings, claims: readonly Claim[]) {
    return findRoom({
      store: this.store,
      cache: this.cache,
      settings,
      node: this.node,
      family: want.family,
      pools: want.pools,
      now: this.clock.wallNow(),
      claimed: new Set<Prefix>(claims.map((claim) => claim.cidr)),
    });
  }

  private async read(keys: ReadonlySet<string>): Promise<readonly string[]> {
    const list = [...keys].slice(0, 100);
    const { gets } = await this.store.transaction({ if: [], do: list.map((key) => ({ op: 'get', key })) });
    for (const [i, key] of list.entries()) this.cache.absorb(key, gets[i]?.[0]);
    return list;
  }

  private async commit(draft: Draft) {
    try {
      return await this.store.transaction(draft.transaction());
    } catch (error) {
      this.cache.forget(draft.seen().keys());
      throw error;
    }
  }

  private async load(): Promise<void> {
    const { kvs } = await this.store.list(affinitiesPrefix(this.owner));
    this.cache.affinities.clear();
    for (const kv of kvs) this.cache.absorb(kv.key, kv);
    this.cache.loaded = true;
  }
}

const samePools = (a: { readonly pools: readonly unknown[] }, b: { readonly pools: readonly unknown[] }): boolean =>
  a.pools.length === b.pools.length && a.pools.every((pool, i) => pool === b.pools[i]);
