/** etcd's API call by call, for tests that look at the answers themselves. */
import { connect } from 'node:net';
import { Connection } from '../../src/datastore/client/connection.ts';
import type { DuplexCall } from '../../src/datastore/client/connection.ts';
import { parseDatastoreUrl } from '../../src/datastore/client/endpoints.ts';
import { GrpcError } from '../../src/datastore/wire/grpc.ts';
import { methods } from '../../src/datastore/wire/services.ts';
import type { Decoded, MessageType, Outgoing } from '../../src/datastore/wire/protobuf.ts';
import type * as m from '../../src/datastore/wire/messages.ts';

const TIMEOUT_MS = 10_000;
export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value);
export const b = bytes;

interface AnyMethod<In, Out> {
  readonly path: string;
  readonly request: MessageType<unknown, In>;
  readonly response: MessageType<Out, never>;
}

export class EtcdApi implements Disposable {
  readonly connection: Connection;

  private constructor(connection: Connection) {
    this.connection = connection;
  }

  /** `etcd://127.0.0.1:PORT` or `unix:///PATH` */
  static async connect(url: string): Promise<EtcdApi> {
    const [endpoint] = parseDatastoreUrl(url);
    const times = { pingAfterMs: 60_000, pingTimeoutMs: 10_000 };
    return new EtcdApi(await Connection.over(connect(endpoint!.address), endpoint!.authority, times));
  }

  call<In, Out>(method: AnyMethod<In, Out>, request: In): Promise<Out> {
    return this.connection.unary(method, request, TIMEOUT_MS);
  }

  /** `code text` of the error that the call ends with; 'fine' when it does not. */
  async refusal<In, Out>(method: AnyMethod<In, Out>, request: In): Promise<string> {
    try {
      await this.call(method, request);
      return 'fine';
    } catch (error) {
      if (error instanceof GrpcError) return `${error.status} ${error.message}`;
      throw error;
    }
  }

  put(key: string, value = '', lease = '0') {
    return this.call(methods.put, { key: b(key), value: b(value), lease });
  }

  del(key: string, rangeEnd = '') {
    return this.call(methods.deleteRange, { key: b(key), rangeEnd: b(rangeEnd) });
  }

  range(key: string, rangeEnd = '', more: Outgoing<typeof m.rangeRequest> = {}) {
    return this.call(methods.range, { key: b(key), rangeEnd: b(rangeEnd), ...more });
  }

  watch(): WatchReader {
    return new WatchReader(this.connection.duplex(methods.watch));
  }

  [Symbol.dispose](): void {
    this.connection.close();
  }
}

type WatchResponse = Decoded<typeof m.watchResponse>;

/** A watch stream whose responses are taken one by one. */
export class WatchReader implements Disposable {
  private readonly call: DuplexCall<Outgoing<typeof m.watchRequest>, WatchResponse>;
  private readonly responses: AsyncIterator<WatchResponse>;

  constructor(call: DuplexCall<Outgoing<typeof m.watchRequest>, WatchResponse>) {
    this.call = call;
    this.responses = call.messages[Symbol.asyncIterator]();
  }

  send(request: Outgoing<typeof m.watchRequest>): void {
    this.call.send(request);
  }

  /** The next response; fails when none comes. */
  async next(): Promise<WatchResponse> {
    const late = setTimeout(() => this.call.end('no watch response within 10 s'), TIMEOUT_MS);
    try {
      const { value, done } = await this.responses.next();
      if (done === true) throw new Error('the watch stream ended');
      return value;
    } finally {
      clearTimeout(late);
    }
  }

  /** Creates a watch and takes the store's word that it is there. */
  async create(key: string, more: Outgoing<typeof m.watchCreateRequest> = {}): Promise<WatchResponse> {
    this.send({ create: { key: b(key), ...more } });
    return this.next();
  }

  /** Events until there are `count`, as `put KEY=VALUE@REVISION` and `delete KEY@REVISION`. */
  async events(count: number): Promise<string[]> {
    const seen: string[] = [];
    while (seen.length < count) {
      for (const { type, kv } of (await this.next()).events) {
        const at = `@${kv?.modRevision}`;
        seen.push(type === 0 ? `put ${text(kv?.key)}=${text(kv?.value)}${at}` : `delete ${text(kv?.key)}${at}`);
      }
    }
    return seen;
  }

  [Symbol.dispose](): void {
    this.call.end('test over');
  }
}
