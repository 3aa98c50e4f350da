/**
 * One watch on one stream. It throws when the connection is lost, when the store says that the revision is compacted,
 * and when it goes silent: a store with nothing to tell still answers a progress request, a dead one does not.
 *
 * The revision in an answer to a progress request is not used: etcd releases exist that give one ahead of events they
 * have yet to send.
 */
import { DatastoreError } from '../datastore.ts';
import type { Revision, WatchBatch, WatchEvent } from '../datastore.ts';
import { GrpcError, grpcStatus } from '../wire/grpc.ts';
import { prefixEnd, toBytes, toText } from '../wire/keys.ts';
import { eventType } from '../wire/messages.ts';
import type { EventMessage, WatchResponse } from '../wire/messages.ts';
import { methods } from '../wire/services.ts';
import type { Connection } from './connection.ts';
import { toKeyValue } from './convert.ts';
import type { EndpointPool } from './endpoints.ts';
import { datastoreError } from './errors.ts';
import type { ClientTimes } from './times.ts';

export interface WatchContext {
  readonly pool: EndpointPool;
  readonly store: string;
  readonly times: ClientTimes;
}

export async function* watch(
  context: WatchContext,
  prefix: string,
  startRevision: Revision,
  signal: AbortSignal,
): AsyncGenerator<WatchBatch> {
  const { pool, store, times } = context;
  const what = `watch ${prefix}`;
  if (signal.aborted) return;
  let connection: Connection;
  try {
    connection = await pool.get();
  } catch (error) {
    if (signal.aborted) return;
    throw datastoreError(store, what, error);
  }
  let timer: Timer | undefined;
  let stop: () => void = () => {};
  try {
    const stream = connection.duplex(methods.watch);
    stop = () => stream.end('no longer wanted');
    signal.addEventListener('abort', stop);
    if (signal.aborted) return;
    const key = toBytes(prefix === '' ? '\0' : prefix);
    stream.send({ create: { key, rangeEnd: prefixEnd(toBytes(prefix)), startRevision, prevKv: true, fragment: true } });
    const expectAnswer = (): void => {
      const silent = new GrpcError(grpcStatus.unavailable, `no sign of life for ${times.pingTimeoutMs / 1000} s`);
      clearTimeout(timer);
      timer = setTimeout(() => stream.end(silent), times.pingTimeoutMs);
    };
    const rest = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        stream.send({ progress: {} });
        expectAnswer();
      }, times.pingAfterMs);
    };
    expectAnswer();
    for await (const response of stream.messages) {
      rest();
      const refused = refusal(response, store, what);
      if (refused) throw refused;
      if (response.events.length > 0) yield toBatch(response);
    }
    throw new GrpcError(grpcStatus.unavailable, 'the store ended the watch');
  } catch (error) {
    if (signal.aborted) return;
    const failure = datastoreError(store, what, error);
    if (failure.kind === 'unavailable') pool.discard(connection, failure.message);
    throw failure;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    stop();
  }
}

function refusal(response: WatchResponse, store: string, what: string): DatastoreError | undefined {
  if (!response.canceled && response.compactRevision === 0) return undefined;
  const reason = response.cancelReason;
  if (response.compactRevision > 0 || reason.includes('compacted')) {
    const text = `datastore ${store}: ${what}: compacted at revision ${response.compactRevision}`;
    return new DatastoreError('compacted', text);
  }
  const kind = reason.includes('permission') ? 'permission' : 'unavailable';
  return new DatastoreError(
    kind,
    `datastore ${store}: ${what}: cancelled by the store: ${reason || 'no reason given'}`,
  );
}

function toBatch(response: WatchResponse): WatchBatch {
  const events: WatchEvent[] = [];
  for (const event of response.events) {
    const converted = toEvent(event);
    if (converted) events.push(converted);
  }
  return { revision: response.header?.revision ?? 0, events };
}

function toEvent({ type, kv, prevKv }: EventMessage): WatchEvent | undefined {
  if (!kv) return undefined;
  const previous = prevKv && { previous: toKeyValue(prevKv) };
  if (type === eventType.put) return { type: 'put', kv: toKeyValue(kv), ...previous };
  return { type: 'delete', key: toText(kv.key), modRevision: kv.modRevision, ...previous };
}
