/**
 * gRPC over HTTP/2, server side: unary calls and two-way streams, on TCP or unix sockets, with or without TLS. What is
 * not HTTP/2, not gRPC or not a known method is answered as gRPC has it, and costs nobody else anything.
 */
import * as http2 from 'node:http2';
import * as net from 'node:net';
import { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import { messageOf } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import type { MessageType } from '../wire/protobuf.ts';
import { AuthorityMender } from './authority.ts';
import { Deframer, frame, GrpcError, grpcStatus } from '../wire/grpc.ts';

/** A two-way stream as a handler sees it. */
export interface StreamSession<In> {
  take(message: In): void;
  /** The reader can take more, after `send` said no. */
  drained(): void;
  /** The client has ended its side. */
  ended?(): void;
  /** The stream is over, whatever the reason. */
  close(): void;
}
export interface StreamControl<Out> {
  /** False when the reader is behind; wait for `drained`. */
  send(message: Out): boolean;
  end(error?: GrpcError): void;
}

/** What serves one method; made by `unary` and `duplex`. */
export type Handler = (stream: http2.ServerHttp2Stream) => void;

/** Requests above this are refused, as etcd does by default; answers may be longer. */
const MAX_REQUEST = 1.5 * 1024 * 1024 + 512 * 1024;

const finish = (stream: http2.ServerHttp2Stream, error?: GrpcError): void => {
  if (stream.closed || stream.destroyed) return;
  const status = {
    'grpc-status': String(error?.status ?? grpcStatus.ok),
    ...(error && { 'grpc-message': encodeURIComponent(error.message) }),
  };
  if (!stream.headersSent) {
    // an answer of headers only; they end the stream
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...status }, { endStream: true });
    return;
  }
  stream.once('wantTrailers', () => stream.sendTrailers(status));
  stream.end();
};

const respond = (stream: http2.ServerHttp2Stream): void => {
  if (stream.headersSent || stream.closed || stream.destroyed) return;
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
};

function receive<In>(stream: http2.ServerHttp2Stream, type: MessageType<In, never>, take: (message: In) => void): void {
  const deframer = new Deframer();
  const refuse = (text: string) => finish(stream, new GrpcError(grpcStatus.internal, text));
  stream.on('data', (chunk: Buffer) => {
    const messages = deframer.push(chunk);
    if (!messages) return refuse('the request is not in gRPC frames');
    if (deframer.waiting > MAX_REQUEST) return refuse('etcdserver: request is too large');
    for (const bytes of messages) {
      const message = type.decode(bytes);
      if (message === undefined) return refuse('the request cannot be read');
      take(message);
    }
  });
}

const asGrpcError = (error: unknown): GrpcError =>
  error instanceof GrpcError ? error : new GrpcError(grpcStatus.internal, messageOf(error), { cause: error });

interface ServedMethod<In, Out> {
  readonly request: MessageType<In, never>;
  readonly response: MessageType<unknown, Out>;
}

export const unary =
  <In, Out>(method: ServedMethod<In, Out>, serve: (request: In) => Out | Promise<Out>): Handler =>
  (stream) => {
    let served = false;
    receive(stream, method.request, (request) => {
      if (served) return;
      served = true;
      void (async () => {
        try {
          const message = await serve(request);
          respond(stream);
          if (!stream.closed && !stream.destroyed) stream.write(frame(method.response.encode(message)));
          finish(stream);
        } catch (error) {
          finish(stream, asGrpcError(error));
        }
      })();
    });
    stream.on('end', () => {
      if (!served) finish(stream, new GrpcError(grpcStatus.internal, 'the request has no message'));
    });
  };

export const duplex =
  <In, Out>(method: ServedMethod<In, Out>, open: (control: StreamControl<Out>) => StreamSession<In>): Handler =>
  (stream) => {
    const session = open({
      send(message) {
        if (stream.closed || stream.destroyed) return false;
        return stream.write(frame(method.response.encode(message)));
      },
      end: (error) => finish(stream, error),
    });
    respond(stream);
    receive(stream, method.request, (request) => {
      try {
        session.take(request);
      } catch (error) {
        finish(stream, asGrpcError(error));
      }
    });
    stream.on('drain', () => session.drained());
    stream.on('end', () => (session.ended ? session.ended() : finish(stream)));
    stream.on('close', () => session.close());
  };

const KEEPALIVE_MS = 30_000;

/** PEM. With `ca`, clients must show a certificate that it signed. */
export interface ServerTls {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer | undefined;
}

function secureServer({ cert, key, ca }: ServerTls, accept: (socket: net.Socket) => void): net.Server {
  const clients = ca ? { ca, requestCert: true, rejectUnauthorized: true } : {};
  return tls.createServer({ cert, key, minVersion: 'TLSv1.2', ALPNProtocols: ['h2'], ...clients }, (socket) => {
    if (socket.alpnProtocol === 'h2' && (!ca || socket.authorized)) accept(socket);
    else socket.destroy();
  });
}

/** A connection as the HTTP/2 library gets to see it: with `:authority` mended. */
class MendedSocket extends Duplex {
  private readonly socket: net.Socket;

  constructor(socket: net.Socket) {
    super();
    this.socket = socket;
    const mender = new AuthorityMender();
    socket.on('data', (chunk: Buffer) => {
      const mended = mender.push(chunk);
      if (mended.length > 0 && !this.push(mended)) socket.pause();
    });
    socket.on('end', () => this.push(null));
    socket.on('close', () => this.destroy());
  }

  override _read(): void {
    this.socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.socket.write(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.socket.destroy();
    done(error);
  }
}

export class GrpcServer {
  private readonly handlers: ReadonlyMap<string, Handler>;
  private readonly log: Logger;
  private readonly servers: net.Server[] = [];
  private readonly sockets = new Set<net.Socket>();

  constructor(handlers: ReadonlyMap<string, Handler>, log: Logger) {
    this.handlers = handlers;
    this.log = log;
  }

  /** Rejects with what the system says when the address cannot be had. */
  listen(address: { path: string } | { host: string; port: number }, certificates?: ServerTls): Promise<void> {
    // one client's broken session or handshake is that client's trouble
    const trouble = (error: unknown) => this.log.debug({ reason: messageOf(error) }, 'a client connection failed');
    const sessions = http2.createServer();
    sessions.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
      this.serve(stream, headers);
    });
    sessions.on('sessionError', trouble);
    const accept = (socket: net.Socket): void => {
      this.sockets.add(socket);
      socket.setKeepAlive(true, KEEPALIVE_MS); // a client that vanished does not watch for ever
      socket.on('error', trouble);
      socket.once('close', () => this.sockets.delete(socket));
      sessions.emit('connection', new MendedSocket(socket));
    };
    const server = certificates ? secureServer(certificates, accept) : net.createServer({ noDelay: true }, accept);
    server.on('tlsClientError', trouble);
    this.servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(address, () => {
        server.off('error', reject);
        server.on('error', trouble);
        resolve();
      });
    });
  }

  /** Stops listening and ends every connection. */
  close(): void {
    for (const server of this.servers) server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private serve(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
    stream.on('error', (error: Error) => this.log.debug({ reason: error.message }, 'a call failed'));
    const path = headers[':path'] ?? '';
    if (!headers['content-type']?.startsWith('application/grpc')) {
      stream.respond({ ':status': 415 }, { endStream: true });
      return;
    }
    const handler = this.handlers.get(path);
    if (handler) handler(stream);
    else finish(stream, new GrpcError(grpcStatus.unimplemented, `unknown method ${path}`));
  }
}
