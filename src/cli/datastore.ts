/** The options by which a command finds the datastore, and the datastore itself for as long as the command needs it. */
import type { Command } from 'commander';
import { GodwitError } from '../base/mod.ts';
import { DatastoreError, openDatastore } from '../datastore/mod.ts';
import type { Datastore, Maintenance } from '../datastore/mod.ts';

export interface DatastoreCommandOptions {
  readonly datastore: string;
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

const DEFAULT_URL = 'unix:///run/godwit/store.sock';

export function withDatastore(command: Command): Command {
  const env = process.env;
  return command
    .option(
      '--datastore <url>',
      'etcd://HOST:PORT[,…], etcds://… or unix:///PATH',
      env['GODWIT_DATASTORE'] ?? DEFAULT_URL,
    )
    .option('--ca-file <file>', 'authority for etcds, PEM', env['GODWIT_CA_FILE'])
    .option('--cert-file <file>', 'client certificate for etcds, PEM', env['GODWIT_CERT_FILE'])
    .option('--key-file <file>', 'its key, PEM, mode 0600', env['GODWIT_KEY_FILE']);
}

export async function useDatastore<T>(
  options: DatastoreCommandOptions,
  use: (store: Datastore & Maintenance) => Promise<T>,
): Promise<T> {
  const { caFile, certFile, keyFile } = options;
  try {
    await using store = await openDatastore(options.datastore, { caFile, certFile, keyFile });
    return await use(store);
  } catch (error) {
    if (!(error instanceof DatastoreError)) throw error;
    const hint = error.kind === 'unavailable' ? 'Another datastore is given with --datastore or GODWIT_DATASTORE.' : '';
    throw new GodwitError(error.kind, error.message, { hint, cause: error });
  }
}
