/**
 * gRPC over one HTTP/2 connection: calls with a deadline, two-way streams, and a ping that notices a connection on which
 * nothing comes back any more. A connection that failed once stays failed; opening the next is the caller's business.
 *
 * Written on node:http2 directly: a general gRPC library costs an idle agent another 10 MiB and decides by itself when
 * to reconnect, which `follow` has to know.
 */
import * as http2 from 'node:http2';
import type { Duplex } from 'node:stream';
import { messageOf } from '../../base/mod.ts';
import type { MessageType } from '../wire/protobuf.ts';
import type { ClientTimes } from './times.ts';
import { Deframer, frame, GrpcError, grpcStatus } from '../wire/grpc.ts';

export type Metadata = Readonly<Record<string, string>>;
interface CallMethod<In, Out> {
  readonly path: string;
  readonly request: MessageType<unknown, In>;
  readonly response: MessageType<Out, never>;
}

type ConnectionTimes = Pick<ClientTimes, 'pingAfterMs' | 'pingTimeoutMs'>;

export interface DuplexCall<In, Out> {
  send(message: In): void;
  /** Ends normally when the other side ends the call well; throws a GrpcError otherwise. To be iterated once. */
  readonly messages: AsyncIterable<Out>;
  /** Ends the call from this side: with an error that the reader of `messages` gets, or because it did its work. */
  end(reason: string | GrpcError): void;
}

function statusError(headers: http2.IncomingHttpHeaders): GrpcError | undefined {
  const code = Number(headers['grpc-status']);
  if (code === grpcStatus.ok) return undefined;
  let text = String(headers['grpc-message'] ?? '');
  try {
    text = decodeURIComponent(text);
  } catch {
    // shown as it came
  }
  return new GrpcError(Number.isInteger(code) ? code : grpcStatus.unknown, text || `gRPC status ${code}`);
}

export class Connection {
  private readonly session: http2.ClientHttp2Session;
  private readonly times: ConnectionTimes;
  /** What every call carries; set once logged in. */
  metadata: Metadata = {};
  private failure: GrpcError | undefined;
  private draining = false;
  private readonly calls = new Set<(error: GrpcError) => void>();
  private pingTimer: Timer | undefined;

  private constructor(session: http2.ClientHttp2Session, times: ConnectionTimes) {
    this.session = session;
    this.times = times;
    const lost = (what: string) => this.fail(new GrpcError(grpcStatus.unavailable, what));
    session.on('error', (error: Error) => lost(`connection failed: ${error.message}`));
    session.on('close', () => lost('connection closed'));
    session.on('goaway', () => (this.draining = true));
  }

  /** Speaks HTTP/2 on a socket that is connected (and, with TLS, verified). */
  static over(socket: Duplex, authority: string, times: ConnectionTimes): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const session = http2.connect(authority, { createConnection: () => socket });
      const connection = new Connection(session, times);
      const failed = (error: GrpcError) => reject(error);
      connection.calls.add(failed);
      // the peer's SETTINGS are the first proof that it speaks HTTP/2 at all
      session.once('remoteSettings', () => {
        connection.calls.delete(failed);
        resolve(connection);
      });
    });
  }

  get usable(): boolean {
    return this.failure === undefined && !this.draining;
  }

  close(reason = 'connection closed by this side'): void {
    this.fail(new GrpcError(grpcStatus.unavailable, reason));
  }

  private fail(error: GrpcError): void {
    if (this.failure) return;
    this.failure = error;
    clearTimeout(this.pingTimer);
    this.session.destroy();
    for (const end of this.calls) end(error); // a set may shrink while it is walked
    this.calls.clear();
  }

  private armPing(): void {
    clearTimeout(this.pingTimer);
    if (this.calls.size === 0 || this.failure) return;
    this.pingTimer = setTimeout(() => {
      const seconds = this.times.pingTimeoutMs / 1000;
      this.pingTimer = setTimeout(() => this.close(`no answer to a ping for ${seconds} s`), this.times.pingTimeoutMs);
      this.session.ping(() => this.armPing());
    }, this.times.pingAfterMs);
  }

  private open(path: string, extra: http2.OutgoingHttpHeaders): http2.ClientHttp2Stream {
    if (this.failure) throw this.failure;
    try {
      return this.session.request({
        ':method': 'POST',
        ':path': path,
        te: 'trailers',
        'content-type': 'application/grpc',
        'user-agent': 'godwit',
        ...this.metadata,
        ...extra,
      });
    } catch (error) {
      throw new GrpcError(grpcStatus.unavailable, `cannot open a call: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Feeds one call's messages to `take`; `end` is called exactly once, with undefined for a good end. */
  private start<In, Out>(
    method: CallMethod<In, Out>,
    extra: http2.OutgoingHttpHeaders,
    take: (message: Out) => void,
    ended: (error: GrpcError | undefined) => void,
  ): { stream: http2.ClientHttp2Stream; end: (error: GrpcError | undefined) => void } {
    const stream = this.open(method.path, extra);
    const deframer = new Deframer();
    let open = true;
    const end = (error: GrpcError | undefined) => {
      if (!open) return;
      open = false;
      this.calls.delete(end);
      this.armPing();
      if (error) stream.close(http2.constants.NGHTTP2_CANCEL);
      ended(error);
    };
    this.calls.add(end);
    this.armPing();
    const unavailable = (text: string) => end(new GrpcError(grpcStatus.unavailable, text));
    stream.on('response', (headers) => {
      if (headers['grpc-status'] !== undefined) end(statusError(headers));
      else if (headers[':status'] !== 200) unavailable(`HTTP status ${headers[':status']}: not a gRPC server`);
    });
    stream.on('trailers', (headers: http2.IncomingHttpHeaders) => end(statusError(headers)));
    stream.on('data', (chunk: Buffer) => {
      const messages = deframer.push(chunk);
      if (!messages) return end(new GrpcError(grpcStatus.internal, 'not gRPC frames'));
      for (const bytes of messages) {
        const message = open ? method.response.decode(bytes) : undefined;
        if (message !== undefined) take(message);
        else end(new GrpcError(grpcStatus.internal, `${method.path}: cannot read the answer`));
      }
    });
    stream.on('error', (error: Error) => unavailable(`call failed: ${error.message}`));
    stream.on('close', () => unavailable('the call ended without a status'));
    return { stream, end };
  }

  /** One request, one answer. Throws GrpcError; a call without an answer in time ends the connection too. */
  async unary<In, Out>(method: CallMethod<In, Out>, message: In, timeoutMs: number): Promise<Out> {
    const { promise, resolve, reject } = Promise.withResolvers<Out>();
    let answer: Out | undefined;
    const call = this.start(
      method,
      { 'grpc-timeout': `${Math.ceil(timeoutMs)}m` },
      (message) => (answer = message),
      (error) => {
        if (error) reject(error);
        else if (answer === undefined) reject(new GrpcError(grpcStatus.internal, `${method.path}: empty answer`));
        else resolve(answer);
      },
    );
    call.stream.end(frame(method.request.encode(message)));
    const timer = setTimeout(() => {
      call.end(new GrpcError(grpcStatus.deadlineExceeded, `no answer within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  duplex<In, Out>(method: CallMethod<In, Out>): DuplexCall<In, Out> {
    const queue: Out[] = [];
    let finished: { error: GrpcError | undefined } | undefined;
    let wake: () => void = () => {};
    const call = this.start(
      method,
      {},
      (message) => {
        queue.push(message);
        // a reader that cannot keep up stops the flow at the sender, not in our memory
        if (queue.length >= HIGH_WATER) call.stream.pause();
        wake();
      },
      (error) => {
        finished = { error };
        wake();
      },
    );
    async function* messages(): AsyncGenerator<Out> {
      for (;;) {
        const next = queue.shift();
        if (next !== undefined) {
          if (queue.length === 0) call.stream.resume();
          yield next;
        } else if (finished) {
          if (finished.error) throw finished.error;
          return;
        } else await new Promise<void>((resolve) => (wake = resolve));
      }
    }
    return {
      send: (message) => void (finished ?? call.stream.write(frame(method.request.encode(message)))),
      messages: messages(),
      end(reason) {
        call.end(typeof reason === 'string' ? new GrpcError(grpcStatus.cancelled, reason) : reason);
      },
    };
  }
}

/** Messages waiting for the reader of a stream before the sender is held back. */
const HIGH_WATER = 256;
