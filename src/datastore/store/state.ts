/**
 * The store's state and the requests that read and change it, with etcd's rules: a machine without I/O. A write either
 * happens whole, and returns what to make durable, or throws a GrpcError and leaves no trace.
 */
import type { Revision } from '../datastore.ts';
import * as m from '../wire/messages.ts';
import type { Decoded, Outgoing } from '../wire/protobuf.ts';
import { etcdErrors } from './errors.ts';
import { Leases } from './leases.ts';
import type { StoredLease } from './leases.ts';
import { inRange, Mvcc } from './mvcc.ts';
import type { Key, KeyRange, Version } from './mvcc.ts';
import { compareHolds, toKeyValue, toRange } from './values.ts';
import { rangeOf, selectRange } from './range.ts';

type Response<M> = Outgoing<M>;

/** What one write changed: to be made durable, or undone. */
export interface Effects {
  readonly versions: readonly Version[];
  readonly leaseGranted?: StoredLease;
  readonly leaseRemoved?: StoredLease;
}

/** A write's answer (without header) and effects. */
export interface Outcome<T> {
  readonly response: T;
  readonly effects: Effects;
}

/** etcd's limits and defaults. */
const MAX_TXN_OPS = 128;
const MIN_LEASE_TTL = 2;
const MAX_LEASE_TTL = 9_000_000_000;

export class State {
  readonly mvcc = new Mvcc();
  readonly leases = new Leases();

  range(request: m.RangeRequest): Response<typeof m.rangeResponse> {
    const range = rangeOf(request);
    this.checkRevision(request.revision);
    return selectRange(this.mvcc, range, request);
  }

  put(request: m.PutRequest): Outcome<Response<typeof m.putResponse>> {
    checkPut(request);
    this.checkLease(request.lease);
    return this.atomically(() => this.applyPut(request));
  }

  deleteRange(request: m.DeleteRangeRequest): Outcome<Response<typeof m.deleteRangeResponse>> {
    return this.atomically(() => this.applyDelete(request));
  }

  txn(request: m.TxnRequest): Outcome<Response<typeof m.txnResponse>> {
    checkTxn(request);
    const branches = new Map<m.TxnRequest, boolean>();
    // all conditions, also of transactions within, are judged before anything is written
    this.decide(request, branches);
    // and everything that can be refused is, in etcd's order: all puts, then all reads
    this.eachChosen(request, branches, ({ put }) => put && this.resolvePut(put));
    this.eachChosen(request, branches, ({ range }) => range && this.checkRevision(range.revision));
    return this.atomically(() => this.applyTxn(request, branches));
  }

  /** Whether a transaction can change anything. */
  static isReadOnly(request: m.TxnRequest): boolean {
    return [...request.success, ...request.failure].every(
      (op) => op.range !== undefined || (op.txn !== undefined && State.isReadOnly(op.txn)),
    );
  }

  /** `pickId` gives ids to try where the client leaves the choice to the store. */
  grant(
    request: Decoded<typeof m.leaseGrantRequest>,
    now: number,
    pickId: () => string,
  ): Outcome<Response<typeof m.leaseGrantResponse>> {
    if (request.ttl > MAX_LEASE_TTL) throw etcdErrors.leaseTtlTooLarge();
    let id = request.id;
    while (id === '0' || (request.id === '0' && this.leases.get(id))) id = pickId();
    if (this.leases.get(id)) throw etcdErrors.leaseExists();
    const ttl = Math.max(MIN_LEASE_TTL, request.ttl);
    return { response: { id, ttl }, effects: { versions: [], leaseGranted: this.leases.add(id, ttl, now) } };
  }

  /** Deletes the lease and, as one revision, all keys that hang on it. */
  revoke(id: string): Outcome<Response<typeof m.headerOnly>> {
    const lease = this.leases.get(id);
    if (!lease) throw etcdErrors.leaseNotFound();
    const { effects } = this.atomically(() => {
      for (const key of [...lease.keys].sort()) this.deleteKey(key);
    });
    this.leases.remove(id);
    return { response: {}, effects: { ...effects, leaseRemoved: lease } };
  }

  /** Seconds the lease has from now on; undefined when there is no such lease. */
  keepAlive(id: string, now: number): number | undefined {
    const lease = this.leases.get(id);
    if (!lease) return undefined;
    lease.expiresAt = now + lease.ttl * 1000;
    return lease.ttl;
  }

  compact(revision: Revision): Version[] {
    if (revision <= this.mvcc.compacted) throw etcdErrors.compacted();
    if (revision > this.mvcc.revision) throw etcdErrors.futureRevision();
    return this.mvcc.compact(revision);
  }

  /** Takes back the newest write, which could not be made durable. */
  undo({ versions, leaseGranted, leaseRemoved }: Effects): void {
    if (leaseGranted) this.leases.remove(leaseGranted.id);
    if (leaseRemoved) this.leases.restore(leaseRemoved);
    this.mvcc.uncommit(versions);
    this.reattach(versions);
  }

  /** After loading: hangs the live keys on their leases. */
  attachLeases(): void {
    const everything: KeyRange = { key: '' as Key, end: null };
    for (const { key, lease } of this.mvcc.range(everything)) this.leases.move(key, '0', lease);
  }

  private atomically<T>(run: () => T): Outcome<T> {
    try {
      const response = run();
      return { response, effects: { versions: this.mvcc.commit() } };
    } catch (error) {
      this.reattach(this.mvcc.rollback());
      throw error;
    }
  }

  /** After versions were taken back: their keys hang on what they hung on before. */
  private reattach(undone: readonly Version[]): void {
    for (const version of undone) this.leases.move(version.key, version.lease, this.mvcc.at(version.key)?.lease ?? '0');
  }

  private deleteKey(key: Key): void {
    const before = this.mvcc.at(key);
    this.mvcc.delete(key);
    this.leases.move(key, before?.lease ?? '0', '0');
  }

  /** The key, what it holds now and the lease it will hang on; throws what etcd refuses a put for. */
  private resolvePut(request: m.PutRequest): { key: Key; before: Version | undefined; lease: string } {
    const { key } = toRange(request.key);
    const before = this.mvcc.at(key);
    if ((request.ignoreValue || request.ignoreLease) && !before) throw etcdErrors.keyNotFound();
    this.checkLease(request.lease);
    return { key, before, lease: request.ignoreLease ? before!.lease : request.lease };
  }

  private checkLease(id: string): void {
    if (id !== '0' && !this.leases.get(id)) throw etcdErrors.leaseNotFound();
  }

  private checkRevision(revision: Revision): void {
    if (revision > this.mvcc.revision) throw etcdErrors.futureRevision();
    if (revision > 0 && revision < this.mvcc.compacted) throw etcdErrors.compacted();
  }

  /** Calls `look` for each operation of the branches that will run. */
  private eachChosen(
    request: m.TxnRequest,
    branches: ReadonlyMap<m.TxnRequest, boolean>,
    look: (op: m.RequestOp) => void,
  ): void {
    for (const op of branches.get(request) ? request.success : request.failure) {
      if (op.txn) this.eachChosen(op.txn, branches, look);
      else look(op);
    }
  }

  private applyPut(request: m.PutRequest): Response<typeof m.putResponse> {
    const { key, before, lease } = this.resolvePut(request);
    // received bytes are views of a network buffer
    const value = request.ignoreValue ? before!.value : new Uint8Array(request.value);
    this.mvcc.put(key, value, lease);
    this.leases.move(key, before?.lease ?? '0', lease);
    return request.prevKv && before ? { prevKv: toKeyValue(before) } : {};
  }

  private applyDelete(request: m.DeleteRangeRequest): Response<typeof m.deleteRangeResponse> {
    const found = [...this.mvcc.range(rangeOf(request))];
    for (const version of found) this.deleteKey(version.key);
    return { deleted: found.length, prevKvs: request.prevKv ? found.map((version) => toKeyValue(version)) : [] };
  }

  private decide(request: m.TxnRequest, branches: Map<m.TxnRequest, boolean>): void {
    const succeeded = request.compare.every((compare) => this.holds(compare));
    branches.set(request, succeeded);
    for (const op of succeeded ? request.success : request.failure) if (op.txn) this.decide(op.txn, branches);
  }

  private holds(compare: m.CompareMessage): boolean {
    const found = [...this.mvcc.range(rangeOf(compare))];
    if (found.length > 0) return found.every((version) => compareHolds(compare, version));
    // a missing key has no value to compare with; its numbers are all 0
    return compare.target !== m.compareTarget.value && compareHolds(compare, undefined);
  }

  private applyTxn(
    request: m.TxnRequest,
    branches: ReadonlyMap<m.TxnRequest, boolean>,
  ): Response<typeof m.txnResponse> {
    const succeeded = branches.get(request)!;
    const responses = (succeeded ? request.success : request.failure).map((op): m.OutgoingResponseOp => {
      if (op.range) return { range: selectRange(this.mvcc, rangeOf(op.range), op.range) };
      if (op.put) return { put: this.applyPut(op.put) };
      if (op.deleteRange) return { deleteRange: this.applyDelete(op.deleteRange) };
      if (op.txn) return { txn: this.applyTxn(op.txn, branches) };
      throw etcdErrors.keyNotFound();
    });
    return { succeeded, responses };
  }
}

function checkPut(request: m.PutRequest): void {
  if (request.key.length === 0) throw etcdErrors.emptyKey();
  if (request.ignoreValue && request.value.length > 0) throw etcdErrors.valueProvided();
  if (request.ignoreLease && request.lease !== '0') throw etcdErrors.leaseProvided();
}

/** What a branch writes, to find a key written twice. */
interface Writes {
  readonly puts: Set<Key>;
  readonly deletes: KeyRange[];
}

/** Limits, empty keys, and no key written twice in one transaction: both branches, whichever will run. */
function checkTxn(request: m.TxnRequest): void {
  checkTxnOps(request);
  writesOf(request.success);
  writesOf(request.failure);
}

function checkTxnOps(request: m.TxnRequest): void {
  const { compare, success, failure } = request;
  if (Math.max(compare.length, success.length, failure.length) > MAX_TXN_OPS) throw etcdErrors.tooManyOps();
  for (const { key } of compare) if (key.length === 0) throw etcdErrors.emptyKey();
  for (const op of [...success, ...failure]) {
    if (op.put) checkPut(op.put);
    if (op.range?.key.length === 0 || op.deleteRange?.key.length === 0) throw etcdErrors.emptyKey();
    if (op.txn) checkTxnOps(op.txn);
  }
}

/**
 * etcd's rule, in etcd's order: a key may not be put twice, nor put where this level, or a transaction within that comes
 * earlier, deletes. The branches of one transaction may put the same key, as only one of them runs.
 */
function writesOf(ops: readonly m.RequestOp[]): Writes {
  const writes: Writes = { puts: new Set(), deletes: [] };
  for (const { deleteRange } of ops) if (deleteRange) writes.deletes.push(rangeOf(deleteRange));
  for (const { txn } of ops) {
    if (!txn) continue;
    const [success, failure] = [writesOf(txn.success), writesOf(txn.failure)];
    for (const key of success.puts) addPut(writes, key);
    for (const key of failure.puts) if (!success.puts.has(key)) addPut(writes, key);
    writes.deletes.push(...success.deletes, ...failure.deletes);
  }
  for (const { put } of ops) if (put) addPut(writes, toRange(put.key).key);
  return writes;
}

function addPut({ puts, deletes }: Writes, key: Key): void {
  // a deletion without end is not looked at, in etcd neither
  const deleted = deletes.some((range) => range.end !== null && inRange(range, key));
  if (puts.has(key) || deleted) throw etcdErrors.duplicateKey();
  puts.add(key);
}
