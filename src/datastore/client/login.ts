/** etcd's own authentication: name and password become a token that every call of the connection carries. */
import { messageOf } from '../../base/mod.ts';
import { DatastoreError } from '../datastore.ts';
import { methods } from '../wire/services.ts';
import type { Connection, Metadata } from './connection.ts';
import { datastoreError } from './errors.ts';

export interface Credentials {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

export function loginWith(
  { username, password }: Credentials,
  timeoutMs: number,
): (connection: Connection) => Promise<Metadata> {
  if (username === undefined && password === undefined) return () => Promise.resolve({});
  if (username === undefined || password === undefined) {
    throw new DatastoreError('invalid', 'datastore user name and password belong together: give both or none');
  }
  return async (connection) => {
    try {
      const { token } = await connection.unary(methods.authenticate, { name: username, password }, timeoutMs);
      return { token };
    } catch (error) {
      throw new DatastoreError(datastoreError('', '', error).kind, `log in as ${username}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  };
}
