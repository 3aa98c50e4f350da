/**
 * Keeps this node's subnet lease for as long as the node lives: takes it, renews it, and takes it again when somebody
 * revoked it, the same subnet if it is still free. What the store says counts, never a local clock: how long the lease
 * has left is asked, so a suspended machine or a clock that jumps cannot lose it unseen. While the datastore is out of
 * reach the lease counts as held; routes must not depend on the datastore being up.
 */
import { Backoff, messageOf, printable, silentLogger, systemClock, Wakeup } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { DatastoreError } from '../datastore/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { acquireLease } from './acquire.ts';
import type { HeldLease } from './acquire.ts';
import { isOwn } from './choose.ts';
import { DEFAULT_NETWORK_PREFIX, isReservation, parseLease } from './lease.ts';
import type { LeaseAttributes, Subnets } from './lease.ts';
import type { NetworkUpdate } from './network.ts';

export type LeaseState =
  /** None yet. `reason` is a sentence for the operator. */
  | { readonly type: 'waiting'; readonly reason: string }
  /** Told when a lease is taken and when it changes. After `lost` the subnets may be others than before. */
  | { readonly type: 'held'; readonly held: HeldLease }
  /** It was revoked or taken over; it is being taken again. */
  | { readonly type: 'lost'; readonly held: HeldLease; readonly reason: string };

export interface SubnetLeaseOptions {
  readonly store: Datastore;
  /** What the node publishes in its lease; one of the two public addresses is needed and identifies the node. */
  readonly node: LeaseAttributes;
  /** Called at each change, never from within `observe`. */
  readonly onState: (state: LeaseState) => void;
  /** The subnets from before a restart, as `readSubnetEnv` gives them. */
  readonly previous?: Subnets | undefined;
  readonly networkPrefix?: string;
  /** Renewed when less than this is left; Flannel's default, 60 minutes. 1 to 1439 minutes. */
  readonly renewMarginMinutes?: number;
  readonly leaseTtlSeconds?: number;
  /** Between looks at the lease. */
  readonly checkEveryMs?: number;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly log?: Logger;
}

export const LEASE_TTL_SECONDS = 24 * 3600;
const CHECK_EVERY_MS = 600_000;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 60_000;

export class SubnetLeaseManager {
  readonly name = 'subnet lease';
  private readonly options: SubnetLeaseOptions;
  private readonly networkPrefix: string;
  private readonly clock: Clock;
  private readonly random: () => number;
  private readonly log: Logger;
  private readonly marginSeconds: number;
  private state: LeaseState = { type: 'waiting', reason: 'not started' };
  private readonly wakeup = new Wakeup();

  constructor(options: SubnetLeaseOptions) {
    const margin = options.renewMarginMinutes ?? 60;
    if (!(margin >= 1 && margin <= 1439)) throw new RangeError(`renewal margin ${margin}: want 1 to 1439 minutes`);
    if (options.node.publicIp === undefined && options.node.publicIpv6 === undefined) {
      throw new RangeError('a node needs a public address to hold a lease');
    }
    this.options = options;
    this.networkPrefix = options.networkPrefix ?? DEFAULT_NETWORK_PREFIX;
    this.clock = options.clock ?? systemClock;
    this.random = options.random ?? Math.random;
    this.log = options.log ?? silentLogger;
    this.marginSeconds = margin * 60;
  }

  /** The lease in use: held, or lost and being taken again. */
  get held(): HeldLease | undefined {
    return this.state.type === 'waiting' ? undefined : this.state.held;
  }

  /** Feeds what `followNetwork` tells, so that a revoked lease is noticed at once and not at the next look. */
  observe(update: NetworkUpdate): void {
    const held = this.held;
    const about =
      update.type === 'leaseDeleted' || update.type === 'rejected'
        ? update.key === held?.lease.key
        : update.type === 'lease'
          ? update.lease.key === held?.lease.key && update.lease.modRevision > held.lease.modRevision
          : update.type === 'config' && this.state.type !== 'held';
    if (!about) return;
    this.wakeup.notify();
  }

  /** Runs until `signal` aborts. The lease stays: a node that restarts finds it again. */
  async run(signal: AbortSignal): Promise<void> {
    const retry = new Backoff(RETRY_MIN_MS, RETRY_MAX_MS, this.random);
    const every = Math.min(this.options.checkEveryMs ?? CHECK_EVERY_MS, (this.marginSeconds * 1000) / 2);
    while (!signal.aborted) {
      let waitMs: number;
      try {
        const holding = this.state.type === 'held' ? this.state.held : undefined;
        const settled = holding ? await this.check(holding) : await this.acquire(signal);
        if (settled) retry.reset();
        // one that was just found lost is taken again at once
        if (settled) waitMs = every * (0.75 + this.random() / 2);
        else waitMs = holding ? 0 : retry.next();
      } catch (error) {
        if (!(error instanceof DatastoreError)) throw error;
        if (signal.aborted) return;
        if (this.state.type === 'waiting') this.tell({ type: 'waiting', reason: printable(error.message) });
        this.log.warn(
          { reason: printable(messageOf(error)) },
          'the subnet lease could not be looked after; trying again',
        );
        waitMs = retry.next();
      }
      await this.wakeup.wait(signal, waitMs, this.clock);
    }
  }

  private tell(state: LeaseState): void {
    const before = this.state;
    this.state = state;
    const repeated = state.type !== 'held' && before.type === state.type && before.reason === state.reason;
    if (!repeated) this.options.onState(state);
  }

  private async acquire(signal: AbortSignal): Promise<boolean> {
    const { store, node } = this.options;
    const before = this.held;
    const outcome = await acquireLease(
      {
        store,
        node,
        networkPrefix: this.networkPrefix,
        leaseTtl: this.options.leaseTtlSeconds ?? LEASE_TTL_SECONDS,
        random: this.random,
        log: this.log,
        clock: this.clock,
      },
      before?.lease.subnets ?? this.options.previous,
      signal,
    );
    if (signal.aborted) return false;
    if (outcome.ok) {
      const { key } = outcome.value.lease;
      this.log.info({ key, reservation: isReservation(outcome.value.lease) }, 'subnet lease held');
      this.tell({ type: 'held', held: outcome.value });
      return true;
    }
    this.log.warn({ reason: outcome.error }, 'no subnet lease');
    if (before) this.tell({ type: 'lost', held: before, reason: outcome.error });
    else this.tell({ type: 'waiting', reason: outcome.error });
    return false;
  }

  /** Looks at the key and at its etcd lease; renews when little is left. False when it is no longer ours. */
  private async check(held: HeldLease): Promise<boolean> {
    const { store, node } = this.options;
    const { kv } = await store.get(held.lease.key);
    if (!kv) return this.lose(held, 'it was deleted or ran out');
    const parsed = parseLease(this.networkPrefix, kv);
    if (!parsed.ok) return this.lose(held, `it was overwritten: ${parsed.error}`);
    const { publicIp, publicIpv6 } = parsed.value.attributes;
    if (!isOwn(parsed.value, node)) return this.lose(held, `${publicIp ?? publicIpv6} has it now`);
    if (parsed.value.lease !== held.lease.lease) {
      this.tell({ type: 'held', held: { ...held, lease: parsed.value } });
    }
    if (isReservation(parsed.value)) return true;
    const left = await store.leaseTimeToLive(parsed.value.lease);
    if (!left) return this.lose(held, 'its etcd lease ran out');
    if (left.ttlSeconds <= this.marginSeconds) {
      await store.keepAliveLease(parsed.value.lease);
      this.log.debug({ key: kv.key }, 'subnet lease renewed');
    }
    return true;
  }

  private lose(held: HeldLease, reason: string): false {
    this.log.warn({ key: held.lease.key, reason }, 'the subnet lease is lost, taking one again');
    this.tell({ type: 'lost', held, reason });
    return false;
  }
}
