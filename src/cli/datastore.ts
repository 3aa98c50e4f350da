/** The options by which a command finds the datastore, and the datastore itself for as long as the command needs it. */
import { readFileSync } from 'node:fs';
import { Option } from 'commander';
import type { Command } from 'commander';
import { GodwitError, messageOf } from '../base/mod.ts';
import { DatastoreError, openDatastore } from '../datastore/mod.ts';
import type { Datastore, Maintenance } from '../datastore/mod.ts';

export interface DatastoreCommandOptions {
  readonly datastore: string;
  readonly datastoreCa?: string;
  readonly datastoreCert?: string;
  readonly datastoreKey?: string;
  readonly datastoreUser?: string;
  readonly datastorePasswordFile?: string;
  /** Earlier names of the three. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

/** Where the embedded store listens unless told otherwise. */
export const DEFAULT_STORE_URL = 'unix:///run/godwit/store.sock';

/** The same names as the agent's, in the environment too. */
export function withDatastore(command: Command): Command {
  const env = process.env;
  const earlier = (flags: string) => new Option(flags).hideHelp();
  return command
    .option(
      '--datastore <url>',
      'etcd://HOST:PORT[,…], etcds://… or unix:///PATH',
      env['GODWIT_DATASTORE'] ?? DEFAULT_STORE_URL,
    )
    .option('--datastore-ca <file>', 'authority for etcds, PEM', env['GODWIT_DATASTORE_CA'] ?? env['GODWIT_CA_FILE'])
    .option(
      '--datastore-cert <file>',
      'client certificate for etcds, PEM',
      env['GODWIT_DATASTORE_CERT'] ?? env['GODWIT_CERT_FILE'],
    )
    .option('--datastore-key <file>', 'its key, PEM, mode 0600', env['GODWIT_DATASTORE_KEY'] ?? env['GODWIT_KEY_FILE'])
    .option('--datastore-user <name>', 'user, where the datastore asks for one', env['GODWIT_DATASTORE_USER'])
    .option(
      '--datastore-password-file <file>',
      'the user’s password, alone in a file',
      env['GODWIT_DATASTORE_PASSWORD_FILE'],
    )
    .addOption(earlier('--ca-file <file>'))
    .addOption(earlier('--cert-file <file>'))
    .addOption(earlier('--key-file <file>'));
}

export async function useDatastore<T>(
  options: DatastoreCommandOptions,
  use: (store: Datastore & Maintenance) => Promise<T>,
): Promise<T> {
  const access = {
    caFile: options.caFile ?? options.datastoreCa,
    certFile: options.certFile ?? options.datastoreCert,
    keyFile: options.keyFile ?? options.datastoreKey,
    username: options.datastoreUser,
    password: passwordOf(options),
  };
  try {
    await using store = await openDatastore(options.datastore, access);
    return await use(store);
  } catch (error) {
    if (!(error instanceof DatastoreError)) throw error;
    const hint = error.kind === 'unavailable' ? 'Another datastore is given with --datastore or GODWIT_DATASTORE.' : '';
    throw new GodwitError(error.kind, error.message, { hint, cause: error });
  }
}

function passwordOf({ datastorePasswordFile: file }: DatastoreCommandOptions): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, 'utf8').trimEnd();
  } catch (error) {
    throw new GodwitError('input', `the password of the datastore’s user cannot be read: ${messageOf(error)}`);
  }
}
