/** The embedded store: etcd's v3 API on SQLite. A module of its own, so that clients do not load a server. */
export { Store } from './serve.ts';
export type { StoreOptions } from './serve.ts';
export { loadServerTls } from './tls.ts';
export type { ServerTls } from './grpc-server.ts';
