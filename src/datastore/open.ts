/** Opens a datastore by its URL. The client's code is loaded here and not before: the CNI plugin never needs it. */
import type { Datastore, Maintenance } from './datastore.ts';

export interface DatastoreOptions {
  /** For `etcds`: PEM files. The key must not be readable by others (0600). */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** etcd's own authentication. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Bound on one request, 5 s when not given. */
  readonly requestTimeoutMs?: number | undefined;
  /** The other waits of the client, for tests. */
  readonly times?: Partial<import('./client/times.ts').ClientTimes> | undefined;
  readonly random?: (() => number) | undefined;
}

/**
 * `etcd://HOST:PORT[,HOST:PORT…]`, `etcds://…` (TLS) or `unix:///PATH` (the embedded store). Nothing is connected yet:
 * the first request does that. Throws DatastoreError: `invalid` for the URL, `permission` for the TLS files.
 */
export async function openDatastore(url: string, options: DatastoreOptions = {}): Promise<Datastore & Maintenance> {
  const [{ EndpointPool, parseDatastoreUrl }, { loadTls }, { EtcdClient }, { defaultTimes }, { loginWith }] =
    await Promise.all([
      import('./client/endpoints.ts'),
      import('./client/tls.ts'),
      import('./client/client.ts'),
      import('./client/times.ts'),
      import('./client/login.ts'),
    ]);
  const endpoints = parseDatastoreUrl(url);
  const requestMs = options.requestTimeoutMs ?? defaultTimes.requestMs;
  const times = { ...defaultTimes, requestMs, ...options.times };
  const random = options.random ?? Math.random;
  const pool = new EndpointPool({
    endpoints,
    material: loadTls(options),
    times,
    login: loginWith(options, times.connectMs),
    random,
  });
  return new EtcdClient(url, pool, times, random);
}
