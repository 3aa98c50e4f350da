/**
 * Where the datastore is and how to get there: the URL, and a pool that keeps one connection and goes round the endpoints
 * when it fails. TLS is all or nothing: an `etcds` URL never falls back to plain text, and a certificate that does not
 * verify is an error.
 */
import * as net from 'node:net';
import * as tls from 'node:tls';
import type { Duplex } from 'node:stream';
import { messageOf, printable } from '../../base/mod.ts';
import { DatastoreError } from '../datastore.ts';
import { Connection } from './connection.ts';
import type { Metadata } from './connection.ts';
import type { ClientTimes } from './times.ts';
import type { TlsMaterial } from './tls.ts';

export interface Endpoint {
  /** For messages. */
  readonly name: string;
  /** For HTTP/2's :authority. */
  readonly authority: string;
  readonly address: { readonly path: string } | { readonly host: string; readonly port: number };
  readonly secure: boolean;
}

const DEFAULT_PORT = 2379;
const invalid = (text: string) => new DatastoreError('invalid', text);

/** `etcd://host:port[,host:port…]`, `etcds://…`, `unix:///path`; throws DatastoreError `invalid`. */
export function parseDatastoreUrl(url: string): readonly Endpoint[] {
  const unix = /^unix:(?:\/\/)?(\/[^\0]+)$/.exec(url);
  if (unix) return [{ name: url, authority: 'http://localhost', address: { path: unix[1]! }, secure: false }];
  const match = /^(etcds?):\/\/([^/@]+)\/?$/.exec(url);
  if (!match) {
    throw invalid(
      `not a datastore URL: ${printable(url.replace(/\/\/.*@/, '//…@'), 200)}; want etcd://HOST:PORT[,HOST:PORT], etcds://… or unix:///PATH`,
    );
  }
  const secure = match[1] === 'etcds';
  return match[2]!.split(',').map((part) => {
    const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(part);
    const port = Number(parts?.[3] ?? DEFAULT_PORT);
    if (!parts || port < 1 || port > 65535) throw invalid(`not HOST:PORT in the datastore URL: ${part}`);
    const host = parts[1] ?? parts[2]!;
    const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    return {
      name: authority,
      authority: `${secure ? 'https' : 'http'}://${authority}`,
      address: { host, port },
      secure,
    };
  });
}

function dial(endpoint: Endpoint, material: TlsMaterial): { socket: Duplex; ready: Promise<void> } {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (!endpoint.secure) {
    const socket = net.connect(endpoint.address).once('connect', () => resolve());
    socket.once('error', reject);
    return { socket, ready: promise };
  }
  const socket = tls.connect({
    ...(endpoint.address as { host: string; port: number }),
    ...material,
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
  });
  socket.once('secureConnect', () => {
    if (socket.authorized) resolve();
    else reject(socket.authorizationError ?? new Error('certificate not verified'));
  });
  socket.once('error', reject);
  return { socket, ready: promise };
}

/** Certificate trouble is told apart from an endpoint that is down: trying again does not help. */
function dialError(endpoint: Endpoint, error: unknown): DatastoreError {
  const code = String((error as { code?: unknown } | null)?.code ?? error);
  const certificate = /CERT|VERIFY|SIGNED|SSL|TLS|ALTNAME/.test(code);
  return new DatastoreError(certificate ? 'permission' : 'unavailable', `${endpoint.name}: ${messageOf(error)}`, {
    cause: error,
  });
}

export class EndpointPool {
  private readonly endpoints: readonly Endpoint[];
  private readonly material: TlsMaterial;
  private readonly times: ClientTimes;
  private readonly login: (connection: Connection) => Promise<Metadata>;
  private index: number;
  private current: Connection | undefined;
  private opening: Promise<Connection> | undefined;
  private dialing: Duplex | undefined;
  private closed = false;

  constructor(options: {
    endpoints: readonly Endpoint[];
    material: TlsMaterial;
    times: ClientTimes;
    /** What each call carries on a new connection: an authentication token, or nothing. */
    login: (connection: Connection) => Promise<Metadata>;
    random: () => number;
  }) {
    this.endpoints = options.endpoints;
    this.material = options.material;
    this.times = options.times;
    this.login = options.login;
    // clients spread over the endpoints
    this.index = Math.floor(options.random() * this.endpoints.length);
  }

  get size(): number {
    return this.endpoints.length;
  }

  /** The connection in use, or a new one; throws DatastoreError when no endpoint can be reached. */
  get(): Promise<Connection> {
    if (this.current?.usable) return Promise.resolve(this.current);
    this.opening ??= this.openAny().finally(() => (this.opening = undefined));
    return this.opening;
  }

  /** Gives up on a connection that misbehaved; the next `get` starts with the next endpoint. */
  discard(connection: Connection, reason: string): void {
    connection.close(reason);
    if (this.current !== connection) return;
    this.current = undefined;
    this.index = (this.index + 1) % this.endpoints.length;
  }

  close(): void {
    this.closed = true;
    this.dialing?.destroy(new Error('the datastore client is closed'));
    this.current?.close();
  }

  private async openAny(): Promise<Connection> {
    const failures: DatastoreError[] = [];
    for (let i = 0; i < this.endpoints.length; i++) {
      const endpoint = this.endpoints[this.index]!;
      try {
        const connection = await this.open(endpoint);
        if (this.closed) {
          connection.close();
          throw invalid('the datastore client is closed');
        }
        this.current = connection;
        return connection;
      } catch (error) {
        failures.push(error instanceof DatastoreError ? error : dialError(endpoint, error));
        this.index = (this.index + 1) % this.endpoints.length;
      }
      if (this.closed) break;
    }
    const kind = failures.every((failure) => failure.kind === 'permission') ? 'permission' : 'unavailable';
    throw new DatastoreError(kind, `cannot connect: ${failures.map((failure) => failure.message).join('; ')}`);
  }

  private async open(endpoint: Endpoint): Promise<Connection> {
    const { socket, ready } = dial(endpoint, this.material);
    const timeout = `no connection within ${this.times.connectMs / 1000} s`;
    const timer = setTimeout(() => socket.destroy(new Error(timeout)), this.times.connectMs);
    this.dialing = socket;
    try {
      await ready;
      const connection = await Connection.over(socket, endpoint.authority, this.times);
      connection.metadata = await this.login(connection);
      return connection;
    } catch (error) {
      socket.destroy();
      throw error instanceof DatastoreError ? error : dialError(endpoint, error);
    } finally {
      clearTimeout(timer);
      this.dialing = undefined;
    }
  }
}
