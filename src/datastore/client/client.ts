/**
 * The one client, for etcd and for the embedded store. Each request is bounded in time. Reads are tried again on the
 * next endpoint; a write is sent once, because after a lost connection nobody knows whether it took place, and the
 * caller has to look.
 */
import { Backoff } from '../../base/mod.ts';
import { DatastoreError } from '../datastore.ts';
import type {
  Datastore,
  KeyValue,
  LeaseId,
  Maintenance,
  Revision,
  StoreStatus,
  Transaction,
  TransactionResult,
  Update,
  WatchBatch,
} from '../datastore.ts';
import { GrpcError, grpcStatus } from '../wire/grpc.ts';
import { prefixEnd, toBytes } from '../wire/keys.ts';
import { methods } from '../wire/services.ts';
import type { Connection } from './connection.ts';
import { revisionOf, toCompare, toKeyValue, toRequestOp } from './convert.ts';
import type { EndpointPool } from './endpoints.ts';
import { datastoreError } from './errors.ts';
import { follow } from './follow.ts';
import type { ClientTimes } from './times.ts';
import { watch } from './watch.ts';

/** Keys fetched with one request; a list of more is put together from pages of one revision. */
const PAGE = 250;

type CallMethod<In, Out> = Parameters<typeof Connection.prototype.unary<In, Out>>[0];

export class EtcdClient implements Datastore, Maintenance {
  readonly name: string;
  private readonly pool: EndpointPool;
  private readonly times: ClientTimes;
  private readonly random: () => number;
  private readonly ended = new AbortController();

  constructor(name: string, pool: EndpointPool, times: ClientTimes, random: () => number) {
    this.name = name;
    this.pool = pool;
    this.times = times;
    this.random = random;
  }

  async get(key: string): Promise<{ readonly kv: KeyValue | undefined; readonly revision: Revision }> {
    const answer = await this.read(`get ${key}`, methods.range, { key: toBytes(key) });
    return { kv: answer.kvs[0] && toKeyValue(answer.kvs[0]), revision: revisionOf(answer) };
  }

  async list(prefix: string): Promise<{ readonly kvs: readonly KeyValue[]; readonly revision: Revision }> {
    for (let attempt = 0; ; attempt++) {
      try {
        const kvs: KeyValue[] = [];
        let first: Revision | undefined;
        for await (const page of this.pages(prefix)) {
          first ??= page.revision;
          for (const kv of page.kvs) kvs.push(kv);
        }
        return { kvs, revision: first ?? 0 };
      } catch (error) {
        // the revision of the first page was compacted before the last page was read: begin again
        const gone = error instanceof DatastoreError && error.kind === 'compacted';
        if (!gone || attempt >= 3) throw error;
      }
    }
  }

  /** The list in pieces, all of the first one's revision, so that a long one need not be held at once. */
  async *pages(prefix: string): AsyncGenerator<{ readonly kvs: readonly KeyValue[]; readonly revision: Revision }> {
    const rangeEnd = prefixEnd(toBytes(prefix));
    let key = toBytes(prefix === '' ? '\0' : prefix);
    let revision = 0;
    for (;;) {
      const answer = await this.read(`list ${prefix}`, methods.range, { key, rangeEnd, limit: PAGE, revision });
      if (revision === 0) revision = revisionOf(answer);
      yield { kvs: answer.kvs.map(toKeyValue), revision };
      const last = answer.kvs.at(-1);
      if (!answer.more || !last) return;
      key = Buffer.concat([last.key, new Uint8Array(1)]);
    }
  }

  async put(key: string, value: string, lease?: LeaseId): Promise<Revision> {
    const request = { key: toBytes(key), value: toBytes(value), lease };
    return revisionOf(await this.write(`put ${key}`, methods.put, request));
  }

  async delete(key: string): Promise<boolean> {
    const answer = await this.write(`delete ${key}`, methods.deleteRange, { key: toBytes(key) });
    return answer.deleted > 0;
  }

  async transaction(transaction: Transaction): Promise<TransactionResult> {
    const keys = [...transaction.if, ...transaction.do].map((part) => ('prefix' in part ? part.prefix : part.key));
    const answer = await this.write(`transaction on ${[...new Set(keys)].slice(0, 3).join(', ')}`, methods.txn, {
      compare: transaction.if.map(toCompare),
      success: transaction.do.map(toRequestOp),
      failure: (transaction.else ?? []).map(toRequestOp),
    });
    return {
      succeeded: answer.succeeded,
      revision: revisionOf(answer),
      gets: answer.responses.map((response) => (response.range?.kvs ?? []).map(toKeyValue)),
    };
  }

  watch(prefix: string, startRevision: Revision, signal: AbortSignal): AsyncIterable<WatchBatch> {
    const both = AbortSignal.any([signal, this.ended.signal]);
    return watch({ pool: this.pool, store: this.name, times: this.times }, prefix, startRevision, both);
  }

  follow(prefix: string, signal: AbortSignal, since: Revision = 0): AsyncIterable<Update> {
    const { reconnectMinMs, reconnectMaxMs, reconcileMs, distrustMs } = this.times;
    return follow(this, prefix, AbortSignal.any([signal, this.ended.signal]), {
      backoff: new Backoff(reconnectMinMs, reconnectMaxMs, this.random),
      reconcileMs: reconcileMs * (0.75 + this.random() / 2),
      distrustMs,
      since,
    });
  }

  async grantLease(ttlSeconds: number): Promise<{ readonly id: LeaseId; readonly ttlSeconds: number }> {
    const answer = await this.write(`grant a lease of ${ttlSeconds} s`, methods.leaseGrant, { ttl: ttlSeconds });
    return { id: answer.id as LeaseId, ttlSeconds: answer.ttl };
  }

  async keepAliveLease(id: LeaseId): Promise<number> {
    const what = `renew lease ${id}`;
    // a stream in etcd's API; one question and one answer here. Renewing twice does no harm, so it is tried again.
    const answer = await this.attempt(what, this.pool.size + 1, async (connection) => {
      const call = connection.duplex(methods.leaseKeepAlive);
      const late = new GrpcError(grpcStatus.deadlineExceeded, `no answer within ${this.times.requestMs / 1000} s`);
      const timer = setTimeout(() => call.end(late), this.times.requestMs);
      try {
        call.send({ id });
        for await (const message of call.messages) return message;
        throw new GrpcError(grpcStatus.unavailable, 'the stream ended without an answer');
      } finally {
        clearTimeout(timer);
        call.end('answered');
      }
    });
    if (answer.ttl <= 0) throw new DatastoreError('lease-not-found', `datastore ${this.name}: ${what}: it is gone`);
    return answer.ttl;
  }

  async revokeLease(id: LeaseId): Promise<void> {
    await this.write(`revoke lease ${id}`, methods.leaseRevoke, { id });
  }

  async leaseTimeToLive(
    id: LeaseId,
  ): Promise<{ readonly ttlSeconds: number; readonly grantedSeconds: number } | undefined> {
    const answer = await this.read(`look at lease ${id}`, methods.leaseTimeToLive, { id });
    return answer.ttl < 0 ? undefined : { ttlSeconds: answer.ttl, grantedSeconds: answer.grantedTtl };
  }

  async status(): Promise<StoreStatus> {
    const answer = await this.read('status', methods.status, {});
    const { version, dbSize, dbSizeInUse, errors } = answer;
    return { version, revision: revisionOf(answer), size: dbSize, sizeInUse: dbSizeInUse, errors };
  }

  async compact(revision: Revision): Promise<void> {
    await this.write(`compact to revision ${revision}`, methods.compact, { revision });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.ended.abort();
    this.pool.close();
    return Promise.resolve();
  }

  private read<In, Out>(what: string, method: CallMethod<In, Out>, request: In): Promise<Out> {
    return this.attempt(what, this.pool.size + 1, (c) => c.unary(method, request, this.times.requestMs));
  }

  private write<In, Out>(what: string, method: CallMethod<In, Out>, request: In): Promise<Out> {
    return this.attempt(what, 1, (c) => c.unary(method, request, this.times.requestMs));
  }

  private async attempt<T>(what: string, tries: number, call: (connection: Connection) => Promise<T>): Promise<T> {
    for (let left = tries; ; left--) {
      let failure: DatastoreError;
      try {
        const connection = await this.pool.get();
        try {
          return await call(connection);
        } catch (error) {
          failure = datastoreError(this.name, what, error);
          if (failure.kind === 'unavailable') this.pool.discard(connection, failure.message);
          // the token may have run out: the next connection logs in again
          const relogin = error instanceof GrpcError && error.status === grpcStatus.unauthenticated;
          if (relogin) this.pool.discard(connection, failure.message);
          if (!relogin && (failure.kind !== 'unavailable' || left <= 1)) throw failure;
          if (left <= 0) throw failure;
        }
      } catch (error) {
        throw datastoreError(this.name, what, error);
      }
    }
  }
}
