/** Proxies that stand between a client and a real datastore and make the faults that networks and servers make. */
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { silentLogger } from '../../src/base/mod.ts';
import { grpcStatus, GrpcError } from '../../src/datastore/wire/grpc.ts';
import type { rangeResponse, RangeRequest, WatchResponse } from '../../src/datastore/wire/messages.ts';
import type { Decoded, MessageType } from '../../src/datastore/wire/protobuf.ts';
import { methods } from '../../src/datastore/wire/services.ts';
import { duplex, GrpcServer, unary } from '../../src/datastore/store/grpc-server.ts';
import type { Handler } from '../../src/datastore/store/grpc-server.ts';
import { EtcdApi } from './etcd-api.ts';
import { freePort } from './ports.ts';

const portOf = (url: string): number => Number(new URL(url.replace('etcd:', 'http:')).port);

/** Bytes pass, or vanish without a word (`frozen`), or connections are refused (`down`). */
export class TcpProxy implements Disposable {
  readonly url: string;
  frozen = false;
  /** Connections made so far. */
  accepted = 0;
  private readonly server: Server;
  private readonly port: number;
  private readonly sockets = new Set<Socket>();
  private upstream: number;

  private constructor(server: Server, port: number, upstream: number) {
    this.upstream = upstream;
    this.server = server;
    this.port = port;
    this.url = `etcd://127.0.0.1:${port}`;
  }

  static async to(url: string): Promise<TcpProxy> {
    const port = freePort();
    const server = createServer((client) => {
      proxy.pair(client, connect({ host: '127.0.0.1', port: proxy.upstream }));
    });
    const proxy = new TcpProxy(server, port, portOf(url));
    await proxy.up();
    return proxy;
  }

  up(): Promise<void> {
    return new Promise((resolve) => this.server.listen(this.port, '127.0.0.1', resolve));
  }

  async down(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.cut();
    await closed;
  }

  /** From now on leads to another server. */
  redirect(url: string): void {
    this.upstream = portOf(url);
    this.cut();
  }

  /** Ends all connections. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  [Symbol.dispose](): void {
    this.server.close();
    this.cut();
  }

  private pair(a: Socket, b: Socket): void {
    this.accepted++;
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      this.sockets.add(from);
      from.on('data', (chunk) => void (this.frozen || to.write(chunk)));
      from.on('error', () => {});
      from.on('close', () => {
        this.sockets.delete(from);
        to.destroy();
      });
    }
  }
}

type RangeResponse = Decoded<typeof rangeResponse>;

export interface Faults {
  /** What becomes of a range's answer. */
  range?: (answer: RangeResponse, request: RangeRequest) => RangeResponse;
  /** Ranges are answered as of this revision: by a cache that lags behind. */
  past?: number;
  /** What becomes of a watch response: none, one or several. */
  watch?: (response: WatchResponse) => WatchResponse[];
}

/**
 * A watch that loses responses, repeats them, and tells old ones again, before or after; `below` gives a number from 0 to
 * below its argument. Old ones may be another watch's.
 */
export function disorder(below: (n: number) => number): NonNullable<Faults['watch']> {
  const old: WatchResponse[] = [];
  return (response) => {
    if (response.events.length === 0) return [response];
    old.push(response);
    const past = old[below(old.length)]!;
    return [[], [response, response], [response, past], [past, response], [response]][below(5)]!;
  };
}

/** What is decoded can be sent as it is. */
interface PassedMethod<In, Out> {
  readonly path: string;
  readonly request: MessageType<In, In>;
  readonly response: MessageType<Out, Out>;
}

/** Understands the calls it passes on, so that it can falsify the answers of ranges and watches. */
export class ApiProxy implements Disposable {
  readonly url: string;
  faults: Faults = {};
  private readonly server: GrpcServer;
  private readonly upstream: EtcdApi;

  private constructor(url: string, upstream: EtcdApi) {
    this.url = url;
    this.upstream = upstream;
    const { range, watch, leaseKeepAlive, ...others } = methods;
    this.server = new GrpcServer(
      new Map([
        ...Object.values(others as unknown as Record<string, PassedMethod<object, object>>).map((one) =>
          this.passed(one),
        ),
        [range.path, unary(range, (request) => this.range(request))],
        [watch.path, this.stream(watch, (response: WatchResponse) => this.faults.watch?.(response) ?? [response])],
        [leaseKeepAlive.path, this.stream(leaseKeepAlive, (response) => [response])],
      ]),
      silentLogger,
    );
  }

  /** On a port of its own, or on a unix socket that other network namespaces reach. */
  static async to(url: string, socket?: string): Promise<ApiProxy> {
    const upstream = await EtcdApi.connect(url);
    const port = socket === undefined ? freePort() : 0;
    const proxy = new ApiProxy(socket === undefined ? `etcd://127.0.0.1:${port}` : `unix://${socket}`, upstream);
    await proxy.server.listen(socket === undefined ? { host: '127.0.0.1', port } : { path: socket });
    return proxy;
  }

  /** The other calls go through as they are. */
  private passed<In, Out>({ path, request, response }: PassedMethod<In, Out>): readonly [string, Handler] {
    return [path, unary({ request, response }, (asked) => this.upstream.call({ path, request, response }, asked))];
  }

  private stream<In, Out>(method: PassedMethod<In, Out>, change: (response: Out) => readonly Out[]): Handler {
    return duplex(method, (control) => {
      const call = this.upstream.connection.duplex<In, Out>(method);
      void (async () => {
        try {
          for await (const response of call.messages) for (const each of change(response)) control.send(each);
        } catch (error) {
          control.end(new GrpcError(grpcStatus.unavailable, String(error)));
        }
      })();
      return { take: (request) => call.send(request), drained() {}, close: () => call.end('closed') };
    });
  }

  private async range(request: RangeRequest): Promise<RangeResponse> {
    const { past } = this.faults;
    const answer = await this.upstream.call(
      methods.range,
      past === undefined ? request : { ...request, revision: past },
    );
    if (past !== undefined) return { ...answer, header: { ...answer.header!, revision: past } };
    return this.faults.range?.(answer, request) ?? answer;
  }

  [Symbol.dispose](): void {
    this.server.close();
    this.upstream[Symbol.dispose]();
  }
}
