/** `godwit store`: the embedded datastore, and what an operator asks of any datastore. */
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { compileSoon, createLogger, GodwitError } from '../base/mod.ts';
import { DEFAULT_STORE_URL, useDatastore, withDatastore } from './datastore.ts';
import type { DatastoreCommandOptions } from './datastore.ts';
import { print, show, withOutput } from './output.ts';
import type { OutputOptions } from './output.ts';

const DEFAULT_DIRECTORY = '/var/lib/godwit/store';

interface ServeOptions {
  readonly listen: readonly string[];
  readonly data: string;
  readonly name: string;
  readonly retention: number;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsClientCa?: string;
}

export function register(command: Command): void {
  const several = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value];
  command
    .command('serve')
    .description("serve etcd's v3 API from a data directory, until stopped")
    .option(
      '--listen <address>',
      `unix:///PATH, http://HOST:PORT or https://HOST:PORT; may be repeated (default: ${DEFAULT_STORE_URL})`,
      several,
    )
    .option('--data <dir>', 'data directory, made when missing', DEFAULT_DIRECTORY)
    .option('--name <name>', 'name of the store, for member lists', 'godwit')
    .option('--retention <hours>', 'how long history is kept, 0 for ever', parseHours, 1)
    .option('--tls-cert <file>', 'certificate for https, PEM')
    .option('--tls-key <file>', 'its key, PEM, mode 0600')
    .option('--tls-client-ca <file>', 'clients must show a certificate signed by this authority, PEM')
    .action(serve);
  withDatastore(withOutput(command.command('status').description('version, revision, size and alarms'))).action(status);
  withDatastore(
    command
      .command('compact')
      .description('forget history; without a revision, all but the present')
      .argument('[revision]', 'the oldest revision to keep', parseRevision),
  ).action(compact);
}

function parseHours(text: string): number {
  const hours = Number(text);
  if (text.trim() === '' || !(hours >= 0)) throw new InvalidArgumentError('want a number of hours.');
  return hours;
}

function parseRevision(text: string): number {
  const revision = Number(text);
  if (!Number.isSafeInteger(revision) || revision < 1) throw new InvalidArgumentError('want a revision, 1 or more.');
  return revision;
}

async function serve(options: ServeOptions): Promise<void> {
  const { Store, loadServerTls } = await import('../datastore/store/mod.ts');
  compileSoon();
  const log = createLogger('info', { part: 'store' });
  const listen = options.listen ?? [DEFAULT_STORE_URL];
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  process.once('SIGTERM', () => stop());
  process.once('SIGINT', () => stop());
  using _store = await Store.start({
    listen,
    directory: options.data,
    name: options.name,
    retentionMs: options.retention * 3_600_000,
    tls: loadServerTls({ cert: options.tlsCert, key: options.tlsKey, clientCa: options.tlsClientCa }),
    log,
  });
  log.info({ listen, data: options.data }, 'the store serves');
  await stopped;
  log.info({}, 'the store stops');
}

async function status(options: DatastoreCommandOptions & OutputOptions): Promise<void> {
  const found = await useDatastore(options, (store) => store.status());
  const mebibytes = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
  await show(options, found, () =>
    [
      `datastore  ${options.datastore}`,
      `version    ${found.version}`,
      `revision   ${found.revision}`,
      `size       ${mebibytes(found.size)}, ${mebibytes(found.sizeInUse)} in use`,
      `alarms     ${found.errors.length === 0 ? 'none' : found.errors.join(', ')}`,
    ].join('\n'),
  );
}

async function compact(revision: number | undefined, options: DatastoreCommandOptions): Promise<void> {
  const target = await useDatastore(options, async (store) => {
    const wanted = revision ?? (await store.status()).revision;
    if (wanted < 2) throw new GodwitError('invalid', 'the store has no history yet');
    await store.compact(wanted);
    return wanted;
  });
  await print(`compacted to revision ${target}`);
}
