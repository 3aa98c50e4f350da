/** `godwit gateway`: the announcer, and the commands about one. */
import { Option } from 'commander';
import type { Command } from 'commander';
import { compileSoon, createLogger, messageOf } from '../base/mod.ts';
import type { LogLevel } from '../base/mod.ts';
import {
  Announcer,
  confirmWithdrawals,
  DEFAULT_SOCKET,
  findGateway,
  gatewayStatus,
  loadGatewayConfig,
  needsDatastore,
  openSources,
  peerConfig,
  peerFormats,
  printedConfig,
  serveGateway,
} from '../gateway/mod.ts';
import type { AnnouncerStatus, PeerFormat } from '../gateway/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { comparePrefixes } from '../net/mod.ts';
import { useDatastore, withDatastore } from './datastore.ts';
import type { DatastoreCommandOptions } from './datastore.ts';
import { print, show, table, withOutput } from './output.ts';
import type { OutputOptions } from './output.ts';

interface Flags extends DatastoreCommandOptions {
  readonly config?: string;
  readonly check?: boolean;
  readonly socket: string;
  readonly logLevel: LogLevel;
}

const socketOption = () =>
  new Option('--socket <path>', 'the announcer’s control socket').default(DEFAULT_SOCKET).env('GODWIT_GATEWAY_SOCKET');

export function register(command: Command): void {
  withDatastore(command)
    .option('-c, --config <file>', 'the configuration, YAML: see docs/gateway.md')
    .option('--check', 'check the configuration and end')
    .addOption(socketOption())
    .addOption(
      new Option('--log-level <level>', 'what to log')
        .choices(['debug', 'info', 'warn', 'error', 'silent'])
        .default('info'),
    )
    .action((flags: Flags) => (flags.config === undefined ? command.help({ error: true }) : run(flags.config, flags)));

  withOutput(command.command('status').description('What is announced to whom, and what the guard holds.'))
    .addOption(socketOption())
    .action(async (options: OutputOptions & { socket: string }) => {
      const status = await gatewayStatus(options.socket);
      await show(options, status, () => statusText(status));
    });

  command
    .command('confirm')
    .description('Let the withdrawals go that the guard holds.')
    .addOption(socketOption())
    .action(async (options: { socket: string }) => {
      const { confirmed } = await confirmWithdrawals(options.socket);
      await print(confirmed === 0 ? 'nothing is held' : `${confirmed} withdrawals confirmed`);
    });

  command
    .command('print-config')
    .description('What to configure on a gateway so that it accepts this announcer.')
    .option('-c, --config <file>', 'the announcer’s configuration; without it the announcer that runs is asked')
    .addOption(socketOption())
    .requiredOption('--gateway <name>', 'the gateway: a neighbour of the configuration, by name or address')
    .addOption(new Option('--for <system>', 'what the gateway runs').choices(peerFormats).makeOptionMandatory())
    .option(
      '--announcer <address>',
      'this announcer’s address as the gateway sees it (default: that of its session, its source, or router id)',
    )
    .action(async (o: PrintFlags) => await print(await printed(o)));
}

interface PrintFlags {
  readonly config?: string;
  readonly socket: string;
  readonly gateway: string;
  readonly for: PeerFormat;
  readonly announcer?: string;
}

async function printed({ config: file, socket, gateway: name, for: format, announcer }: PrintFlags): Promise<string> {
  if (file === undefined)
    return await printedConfig(socket, { gateway: name, for: format, ...(announcer !== undefined && { announcer }) });
  const config = loadGatewayConfig(file);
  if (!config.ok) throw config.error;
  return peerConfig(config.value, findGateway(config.value, name), announcer, format);
}

async function run(file: string, flags: Flags): Promise<void> {
  const config = loadGatewayConfig(file);
  if (!config.ok) throw config.error;
  if (flags.check === true) {
    await print(`${file}: good (${config.value.bgp.neighbors.length} gateways)`);
    return;
  }
  compileSoon();
  const log = createLogger(flags.logLevel);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const announce = async (store: Datastore | undefined) => {
    const announcer = new Announcer({ config: config.value, sources: openSources(config.value, store), log });
    using _control = await serveGateway(announcer, flags.socket);
    process.on('SIGHUP', () => {
      const next = loadGatewayConfig(file);
      try {
        if (!next.ok) throw next.error;
        announcer.apply(next.value);
        log.info({ file }, 'the new configuration is in force');
      } catch (error) {
        log.error({ error: messageOf(error) }, 'the new configuration cannot be used; the old one stays');
      }
    });
    await announcer.run(stop.signal);
  };
  if (needsDatastore(config.value)) await useDatastore(flags, announce);
  else await announce(undefined);
  process.exit(0);
}

function statusText(status: AnnouncerStatus): string {
  const { datastore, held, leftOut } = status;
  const heldNow = new Set(held);
  const lines = [
    `datastore  ${datastore.stale === undefined ? 'in sync' : `out of reach, nothing changes: ${datastore.stale}`}`,
    ...(status.waitingFor === undefined ? [] : [`sessions   none yet; waiting for ${status.waitingFor}`]),
    ...(held.length === 0
      ? []
      : [`guard      holds ${held.length} withdrawals; to let them go: godwit gateway confirm`]),
    '',
    table(
      ['GATEWAY', 'ADDRESS', 'STATE'],
      status.gateways.map((g) => [g.name, g.address, g.state]),
    ),
    '',
    table(
      ['PREFIX', 'NEXT HOP', 'NODE', 'NOTE'],
      [...status.announced]
        .sort((a, b) => comparePrefixes(a.prefix, b.prefix))
        .map((a) => [a.prefix, a.nextHop, a.node, noteOf(a, heldNow)]),
    ),
  ];
  if (leftOut.length > 0) {
    const rows = leftOut.map(({ prefix, node, reason }) => [prefix, node, reason]);
    lines.push('', table(['NOT ANNOUNCED', 'NODE', 'WHY'], rows));
  }
  return lines.join('\n');
}

function noteOf(
  { prefix, draining, aggregate, covered }: AnnouncerStatus['announced'][number],
  held: ReadonlySet<string>,
): string {
  if (held.has(prefix)) return 'held';
  if (draining) return 'draining';
  return aggregate ? 'aggregate' : covered ? 'in an aggregate' : '';
}
