/** Proxies that stand between a client and a real datastore and make the faults that networks and servers make. */
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { silentLogger } from '../../src/base/mod.ts';
import { grpcStatus, GrpcError } from '../../src/datastore/wire/grpc.ts';
import type { rangeResponse, RangeRequest, WatchResponse } from '../../src/datastore/wire/messages.ts';
import type { Decoded } from '../../src/datastore/wire/protobuf.ts';
import { methods } from '../../src/datastore/wire/services.ts';
import { duplex, GrpcServer, unary } from '../../src/datastore/store/grpc-server.ts';
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
  /** What becomes of a watch response: none, one or several. */
  watch?: (response: WatchResponse) => WatchResponse[];
}

/** Understands the calls it passes on, so that it can falsify the answers. Range and Watch only: what `follow` uses. */
export class ApiProxy implements Disposable {
  readonly url: string;
  faults: Faults = {};
  private readonly server: GrpcServer;
  private readonly upstream: EtcdApi;

  private constructor(url: string, upstream: EtcdApi) {
    this.url = url;
    this.upstream = upstream;
    this.server = new GrpcServer(
      new Map([
        [methods.range.path, unary(methods.range, (request) => this.range(request))],
        [
          methods.watch.path,
          duplex(methods.watch, (control) => {
            const call = upstream.connection.duplex(methods.watch);
            void (async () => {
              try {
                for await (const response of call.messages) {
                  for (const each of this.faults.watch?.(response) ?? [response]) control.send(each);
                }
              } catch (error) {
                control.end(new GrpcError(grpcStatus.unavailable, String(error)));
              }
            })();
            return { take: (request) => call.send(request), drained() {}, close: () => call.end('closed') };
          }),
        ],
      ]),
      silentLogger,
    );
  }

  static async to(url: string): Promise<ApiProxy> {
    const port = freePort();
    const proxy = new ApiProxy(`etcd://127.0.0.1:${port}`, await EtcdApi.connect(url));
    await proxy.server.listen({ host: '127.0.0.1', port });
    return proxy;
  }

  private async range(request: RangeRequest): Promise<RangeResponse> {
    const answer = await this.upstream.call(methods.range, request);
    return this.faults.range?.(answer, request) ?? answer;
  }

  [Symbol.dispose](): void {
    this.server.close();
    this.upstream[Symbol.dispose]();
  }
}
