/**
 * The datastore as the rest of the program sees it: etcd's model (revisions, transactions by compare, leases, watches),
 * one client for etcd and for the embedded store.
 */

/** A point in the store's history; grows with every change of any key. */
export type Revision = number;
/** etcd lease ids are 64-bit: canonical decimal text, '0' for none. */
export type LeaseId = string & { readonly __brand: 'LeaseId' };

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** 1 for a key just created, counting up with each put; 0 in compares means "does not exist". */
  readonly version: number;
  readonly lease: LeaseId;
}

/** One condition of a transaction; all must hold. */
export type Compare =
  | { readonly key: string; readonly modRevision: Revision }
  | { readonly key: string; readonly version: number }
  | { readonly key: string; readonly value: string };

export type Operation =
  | { readonly op: 'put'; readonly key: string; readonly value: string; readonly lease?: LeaseId }
  | { readonly op: 'delete'; readonly key: string }
  | { readonly op: 'deletePrefix'; readonly prefix: string }
  | { readonly op: 'get'; readonly key: string };

export interface Transaction {
  readonly if: readonly Compare[];
  readonly do: readonly Operation[];
  readonly else?: readonly Operation[];
}

export interface TransactionResult {
  /** Whether the conditions held, so that `do` ran and not `else`. */
  readonly succeeded: boolean;
  readonly revision: Revision;
  /** One entry an operation that ran; key-values for `get`, empty for the others. */
  readonly gets: readonly (readonly KeyValue[])[];
}

export type WatchEvent =
  | { readonly type: 'put'; readonly kv: KeyValue; readonly previous?: KeyValue }
  | { readonly type: 'delete'; readonly key: string; readonly modRevision: Revision; readonly previous?: KeyValue };

export interface WatchBatch {
  readonly revision: Revision;
  readonly events: readonly WatchEvent[];
}

/** What `follow` tells: the truth as a stream. `put`/`delete` before the first `inSync` are the initial list. */
export type Update =
  | { readonly type: 'put'; readonly kv: KeyValue }
  | { readonly type: 'delete'; readonly key: string }
  /** The picture is complete as of `revision`. Told after the first list and again after every re-list. */
  | { readonly type: 'inSync'; readonly revision: Revision }
  /** The connection is lost or the store does not answer; what was told before stays the best knowledge. */
  | { readonly type: 'stale'; readonly reason: string };

export type DatastoreErrorKind =
  | 'unavailable' // not reached, timed out, connection lost: try again
  | 'compacted' // the asked-for revision is gone: list again
  | 'lease-not-found'
  | 'permission' // authentication or certificates
  | 'no-space' // etcd's NOSPACE alarm, or the embedded store's disk is full
  | 'invalid'; // the request itself

/** Every method may throw this. `unavailable` after a write leaves open whether the write took place. */
export class DatastoreError extends Error {
  readonly kind: DatastoreErrorKind;
  constructor(kind: DatastoreErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'DatastoreError';
    this.kind = kind;
  }
}

export interface Datastore extends AsyncDisposable {
  /** The URL it was opened with, without credentials: for messages. */
  readonly name: string;
  get(key: string): Promise<{ readonly kv: KeyValue | undefined; readonly revision: Revision }>;
  /** All keys with this prefix, in key order, at one revision (paged underneath). */
  list(prefix: string): Promise<{ readonly kvs: readonly KeyValue[]; readonly revision: Revision }>;
  put(key: string, value: string, lease?: LeaseId): Promise<Revision>;
  /** Whether the key existed. */
  delete(key: string): Promise<boolean>;
  transaction(transaction: Transaction): Promise<TransactionResult>;
  /** Events of a prefix from `startRevision` on; throws `compacted` when that is gone. Ends when `signal` aborts. */
  watch(prefix: string, startRevision: Revision, signal: AbortSignal): AsyncIterable<WatchBatch>;
  /**
   * List, then watch, for ever: reconnects with jittered backoff, lists again and tells only the difference after
   * compaction or a lost watch, never tells an older state of a key after a newer one. `since`: a revision that was seen
   * before, by an earlier life of the program; a list that is older is not believed either.
   */
  follow(prefix: string, signal: AbortSignal, since?: Revision): AsyncIterable<Update>;
  /** A new lease; `id` asks for a particular one. */
  grantLease(ttlSeconds: number): Promise<{ readonly id: LeaseId; readonly ttlSeconds: number }>;
  /** Renews once; gives the new time to live, throws `lease-not-found` when the lease is gone. */
  keepAliveLease(id: LeaseId): Promise<number>;
  revokeLease(id: LeaseId): Promise<void>;
  /** Remaining seconds, or undefined when the lease is gone. */
  leaseTimeToLive(id: LeaseId): Promise<{ readonly ttlSeconds: number; readonly grantedSeconds: number } | undefined>;
}

export interface StoreStatus {
  readonly version: string;
  readonly revision: Revision;
  /** Bytes on disk, and of them in use. */
  readonly size: number;
  readonly sizeInUse: number;
  /** Raised alarms, as the store words them. */
  readonly errors: readonly string[];
}

/** What an operator does to a store, and nodes never do. */
export interface Maintenance {
  status(): Promise<StoreStatus>;
  /** Forgets history before `revision`; throws `compacted` when that was done already. */
  compact(revision: Revision): Promise<void>;
}
