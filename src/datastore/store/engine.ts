/**
 * The store at work: state in memory, disk behind it, watchers in front. Writes that arrive together are applied one by
 * one and made durable with one fsync; only then are they answered and watchers told. Applying, saving and telling happen
 * without giving up the thread, so a read between two batches sees only what is durable.
 */
import { randomBytes } from 'node:crypto';
import { messageOf } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import type { Revision } from '../datastore.ts';
import { GrpcError, grpcStatus } from '../wire/grpc.ts';
import { Disk, DiskFull } from './disk.ts';
import { etcdErrors } from './errors.ts';
import type { Version } from './mvcc.ts';
import { Retention } from './retention.ts';
import { State } from './state.ts';
import type { Effects, Outcome } from './state.ts';

export interface Header {
  readonly clusterId: string;
  readonly memberId: string;
  readonly revision: Revision;
  readonly raftTerm: string;
}

export interface EngineOptions {
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** History older than this is compacted away; 0 keeps all. */
  readonly retentionMs: number;
}

interface PendingWrite {
  readonly apply: () => Outcome<unknown>;
  readonly resolve: (answer: { response: unknown; revision: Revision }) => void;
  readonly reject: (error: GrpcError) => void;
}

/** Rows deleted in one go after a compaction, so that requests in between do not wait long. */
const FORGET_BATCH = 2_000;
/** A lease timer that fires later than this by the clock means that the process was stopped. */
const PAUSE_MS = 2_000;
const RAFT_TERM = '1';

export class Engine implements Disposable {
  readonly state = new State();
  readonly disk: Disk;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly clusterId: string;
  private readonly memberId: string;
  private pending: PendingWrite[] = [];
  private flushing = false;
  private readonly listeners = new Set<() => void>();
  private readonly retention: Retention | undefined;
  private leaseTimer: Disposable | undefined;
  private historyTimer: Disposable | undefined;
  private closed = false;
  /** Set while the disk is full: etcd's NOSPACE alarm. */
  private spaceAlarm = false;

  /** Throws GodwitError when the data directory cannot be used. */
  constructor(options: EngineOptions) {
    this.clock = options.clock;
    this.log = options.log;
    this.disk = new Disk(options.directory);
    this.clusterId = this.identity('cluster-id');
    this.memberId = this.identity('member-id');
    const [revision, compacted] = [
      Number(this.disk.number('revision') ?? 1),
      Number(this.disk.number('compacted') ?? -1),
    ];
    // leases first: keys are attached to them. Each has its full time again, as after a change of leader in etcd
    const now = this.clock.now();
    for (const { id, ttl } of this.disk.leases()) this.state.leases.add(id, ttl, now);
    this.forgetLater(this.state.mvcc.load(this.disk.versions(), revision, compacted));
    this.state.attachLeases();
    this.armLeases();
    if (options.retentionMs <= 0) return;
    this.retention = new Retention(options.retentionMs);
    this.compactOldHistory(this.retention);
  }

  get header(): Header {
    const { revision } = this.state.mvcc;
    return { clusterId: this.clusterId, memberId: this.memberId, revision, raftTerm: RAFT_TERM };
  }

  get noSpace(): boolean {
    return this.spaceAlarm;
  }

  disarm(): void {
    this.spaceAlarm = false;
  }

  /** Queues a write; resolves when it is durable. Rejects with a GrpcError. */
  write<T>(apply: () => Outcome<T>): Promise<{ response: T; revision: Revision }> {
    if (this.closed) return Promise.reject(etcdErrors.stopped());
    return new Promise((resolve, reject) => {
      this.pending.push({ apply, resolve: resolve as PendingWrite['resolve'], reject });
      if (this.flushing) return;
      this.flushing = true;
      setImmediate(() => this.flush());
    });
  }

  keepAlive(id: string): number | undefined {
    return this.state.keepAlive(id, this.clock.now());
  }

  remainingSeconds(id: string): number | undefined {
    const lease = this.state.leases.get(id);
    return lease && Math.max(0, Math.floor((lease.expiresAt - this.clock.now()) / 1000));
  }

  /** Random ids as etcd gives them: 63 bits, never 0. */
  newId(): string {
    return String((randomBytes(8).readBigUInt64BE() & 0x7fff_ffff_ffff_ffffn) | 1n);
  }

  now(): number {
    return this.clock.now();
  }

  compact(revision: Revision): void {
    const gone = this.state.compact(revision);
    try {
      this.disk.saveNumbers({ compacted: revision, revision: this.state.mvcc.revision });
    } catch (error) {
      // the history stays on disk until the next compaction; in memory it is gone, which is allowed
      this.log.warn({ reason: messageOf(error) }, 'the compaction could not be written down');
      if (!(error instanceof DiskFull)) throw error;
      this.spaceAlarm = true;
    }
    this.forgetLater(gone);
    this.notify();
  }

  /** Calls `listener` after each change of the state; gives the end of it. */
  subscribe(listener: () => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  [Symbol.dispose](): void {
    if (this.closed) return;
    this.flush();
    this.closed = true;
    this.leaseTimer?.[Symbol.dispose]();
    this.historyTimer?.[Symbol.dispose]();
    this.disk[Symbol.dispose]();
  }

  private identity(name: string): string {
    const known = this.disk.number(name);
    if (known !== undefined) return known;
    const made = this.newId();
    this.disk.saveNumbers({ [name]: made });
    return made;
  }

  private flush(): void {
    const batch = this.pending;
    this.pending = [];
    this.flushing = false;
    const done: { write: PendingWrite; outcome: Outcome<unknown>; revision: Revision }[] = [];
    for (const write of batch) {
      try {
        const outcome = write.apply();
        done.push({ write, outcome, revision: this.state.mvcc.revision });
      } catch (error) {
        write.reject(asGrpcError(error));
      }
    }
    const effects = done.map(({ outcome }) => outcome.effects).filter(changesAnything);
    if (effects.length > 0 && !this.save(effects)) {
      const failure = etcdErrors.noSpace();
      for (const { write } of done) write.reject(failure);
      return;
    }
    for (const { write, outcome, revision } of done) write.resolve({ response: outcome.response, revision });
    if (effects.some(({ leaseGranted, leaseRemoved }) => leaseGranted ?? leaseRemoved)) this.armLeases();
    if (effects.length === 0) return;
    this.notify();
    const tooLong = this.retention?.bySize(this.state.mvcc);
    if (tooLong !== undefined) this.compact(tooLong);
  }

  private save(effects: readonly Effects[]): boolean {
    try {
      this.disk.save(effects);
      if (this.spaceAlarm) this.log.info({}, 'the disk has space again');
      this.spaceAlarm = false;
      return true;
    } catch (error) {
      for (const each of effects.toReversed()) this.state.undo(each);
      if (!(error instanceof DiskFull)) throw error; // memory and disk agree again, but this disk is not to be trusted
      if (!this.spaceAlarm)
        this.log.error({ reason: error.message }, 'disk full: writes are refused until there is space');
      this.spaceAlarm = true;
      return false;
    }
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }

  private armLeases(): void {
    this.leaseTimer?.[Symbol.dispose]();
    const next = this.state.leases.nextExpiry();
    if (next === undefined || this.closed) return;
    // at most a minute ahead, so that a stopped process is noticed before it takes leases away
    const due = Math.min(next, this.clock.now() + 60_000);
    this.leaseTimer = this.clock.after(Math.max(0, due - this.clock.now()), () => this.expireLeases(due));
  }

  private expireLeases(due: number): void {
    const now = this.clock.now();
    if (now - due > PAUSE_MS) {
      this.log.warn(
        { seconds: Math.round((now - due) / 1000) },
        'the store was stopped; leases have their full time again',
      );
      this.state.leases.refresh(now);
    }
    void this.revokeAll(this.state.leases.expired(now).map(({ id }) => id));
  }

  private async revokeAll(ids: readonly string[]): Promise<void> {
    const revoke = (id: string) => (): Outcome<object> => {
      // it may have been renewed, or revoked, while it waited in the queue
      const lease = this.state.leases.get(id);
      const runOut = lease && lease.expiresAt <= this.clock.now();
      return runOut ? this.state.revoke(id) : { response: {}, effects: { versions: [] } };
    };
    const outcomes = await Promise.allSettled(ids.map((id) => this.write(revoke(id))));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (!failure) return this.armLeases();
    if (this.closed) return;
    this.log.warn({ reason: messageOf(failure.reason) }, 'leases that ran out could not be revoked; trying again');
    this.leaseTimer = this.clock.after(1_000, () => this.armLeases());
  }

  private forgetLater(versions: readonly Version[], from = 0): void {
    if (from >= versions.length || this.closed) return;
    this.clock.after(0, () => {
      if (this.closed) return;
      try {
        this.disk.forget(versions.slice(from, from + FORGET_BATCH));
        this.forgetLater(versions, from + FORGET_BATCH);
      } catch (error) {
        // what stays is forgotten at the next start
        this.log.warn({ reason: messageOf(error) }, 'compacted history could not be removed from disk');
      }
    });
  }

  private compactOldHistory(retention: Retention): void {
    const target = retention.byAge(this.state.mvcc, this.clock.now());
    if (target !== undefined) this.compact(target);
    this.historyTimer = this.clock.after(retention.intervalMs, () => this.compactOldHistory(retention));
  }
}

const changesAnything = ({ versions, leaseGranted, leaseRemoved }: Effects): boolean =>
  versions.length > 0 || leaseGranted !== undefined || leaseRemoved !== undefined;

function asGrpcError(error: unknown): GrpcError {
  if (error instanceof GrpcError) return error;
  return new GrpcError(grpcStatus.internal, `etcdserver: ${messageOf(error)}`, { cause: error });
}
