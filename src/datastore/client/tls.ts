/** Certificates and keys from files. A private key that others may read is refused. */
import { readFileSync, statSync } from 'node:fs';
import { messageOf } from '../../base/mod.ts';
import { DatastoreError } from '../datastore.ts';

export interface TlsFiles {
  /** PEM; without it the system's authorities are trusted. */
  readonly caFile?: string | undefined;
  /** PEM client certificate and key, both or none. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface TlsMaterial {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** Reads the files; throws DatastoreError `permission` for what is missing, unreadable or open to others. */
export function loadTls(files: TlsFiles): TlsMaterial {
  const read = (what: string, path: string): Buffer => {
    try {
      return readFileSync(path);
    } catch (error) {
      throw new DatastoreError('permission', `cannot read the ${what}: ${messageOf(error)}`, { cause: error });
    }
  };
  if ((files.certFile === undefined) !== (files.keyFile === undefined)) {
    throw new DatastoreError('invalid', 'a TLS certificate and its key belong together: give both or none');
  }
  return {
    ...(files.caFile !== undefined && { ca: read('CA file', files.caFile) }),
    ...(files.certFile !== undefined && { cert: read('certificate', files.certFile) }),
    ...(files.keyFile !== undefined && { key: readKey(files.keyFile, read) }),
  };
}

function readKey(path: string, read: (what: string, path: string) => Buffer): Buffer {
  const key = read('private key', path);
  const mode = statSync(path).mode & 0o777;
  if ((mode & 0o077) !== 0) {
    const text = `private key ${path} has mode 0${mode.toString(8)}, others may read it: chmod 600 it`;
    throw new DatastoreError('permission', text);
  }
  return key;
}
