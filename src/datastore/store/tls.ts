/** The server's certificates. */
import { GodwitError } from '../../base/mod.ts';
import { loadTls } from '../client/tls.ts';
import type { ServerTls } from './grpc-server.ts';

export interface ServerTlsFiles {
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** With it, clients must show a certificate that it signed. */
  readonly clientCa?: string | undefined;
}

/** Undefined when no file is named. Throws what is missing, unreadable or, for the key, open to others. */
export function loadServerTls(files: ServerTlsFiles): ServerTls | undefined {
  const { cert, key, ca } = loadTls({ certFile: files.cert, keyFile: files.key, caFile: files.clientCa });
  if (cert && key) return { cert, key, ca };
  if (ca) throw new GodwitError('invalid', 'a client authority needs a server certificate and its key as well');
  return undefined;
}
