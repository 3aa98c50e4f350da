/** `godwit bgp`: the speaker alone, and the commands that talk to one that runs. */
import { Option } from 'commander';
import type { Command } from 'commander';
import { createLogger, GodwitError } from '../base/mod.ts';
import type { LogLevel } from '../base/mod.ts';
import { ControlClient, DEFAULT_CONTROL, loadConfig, reportOf, runDaemon, startsFrom } from '../bgp/mod.ts';
import type { ReloadReport } from '../bgp/mod.ts';
import { registerBgpClient } from './bgp-client.ts';
import { formatReport } from './bgp-tables.ts';
import { print, show, withOutput } from './output.ts';
import type { OutputOptions } from './output.ts';

interface DaemonFlags extends OutputOptions {
  readonly config?: string;
  readonly check?: boolean;
  readonly dryRun?: boolean;
  readonly metrics?: string;
  readonly logLevel: LogLevel;
}

export function register(command: Command): void {
  withOutput(command)
    .option('-c, --config <file>', 'the configuration, YAML')
    .option('--check', 'check the configuration and end')
    .option('--dry-run', 'say what a reload with this file would do to sessions and routes, and end')
    .option('--metrics <address:port>', 'serve Prometheus metrics there, as 127.0.0.1:9179')
    .addOption(
      new Option('--log-level <level>', 'what to log')
        .choices(['debug', 'info', 'warn', 'error', 'silent'])
        .default('info'),
    )
    .action(async (flags: DaemonFlags) => {
      if (flags.config === undefined) command.help({ error: true });
      else if (flags.dryRun === true) await dryRun(flags.config, flags);
      else if (flags.check === true) await check(flags.config);
      else await daemon(flags.config, flags);
    });
  registerBgpClient(command);
}

async function check(file: string): Promise<void> {
  const config = loadConfig(file);
  if (!config.ok) throw config.error;
  const { neighbors, dynamic, policies, networks } = config.value;
  const parts = [
    `${neighbors.length} neighbours`,
    `${dynamic.length} dynamic ranges`,
    `${policies.length - 2} policies`,
    `${networks.length} networks`,
  ];
  await print(`${file}: good (${parts.join(', ')})`);
}

/** Asks the running speaker; without one, everything would be new. */
async function dryRun(file: string, flags: OutputOptions): Promise<void> {
  const config = loadConfig(file);
  if (!config.ok) throw config.error;
  const client = new ControlClient(config.value.control ?? DEFAULT_CONTROL);
  const running = config.value.control !== undefined && (await client.alive());
  const path = await Bun.file(file)
    .exists()
    .then(() => new URL(file, `file://${process.cwd()}/`).pathname);
  const report: ReloadReport = running
    ? await client.post<ReloadReport>('/reload', { dryRun: true, file: path })
    : { applied: false, ...reportOf(startsFrom(config.value)), routes: [] };
  await show(flags, report, () => formatReport(report));
}

async function daemon(file: string, flags: DaemonFlags): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const metrics = flags.metrics === undefined ? undefined : parseMetrics(flags.metrics);
  await runDaemon({
    file,
    log: createLogger(flags.logLevel),
    signal: stop.signal,
    // loaded only where it is wanted: a reflector starts without netlink
    kernelFib: async (config, log) => (await import('./bgp-fib.ts')).openKernelFib(config, log),
    onReload: (reload) => process.on('SIGHUP', reload),
    ...(metrics && { metrics }),
  });
  // what was written last (NOTIFICATIONs) is in the kernel's hands; nothing is left to wait for
  process.exit(0);
}

function parseMetrics(text: string): { address: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port < 1 || port > 65535) {
    throw new GodwitError('usage', `--metrics ${text} is not ADDRESS:PORT`, { hint: 'For example 127.0.0.1:9179.' });
  }
  return { address: match[1] ?? match[2]!, port };
}
