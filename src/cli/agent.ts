/**
 * `godwit agent`: the node agent, in the foreground, until SIGTERM or Ctrl-C. What only a file or a dry run needs is
 * loaded only then: the agent stays in memory for months.
 */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { Agent, agentOptions, flagOf, optionNames, environmentOf, parseConfig } from '../agent/mod.ts';
import type { AgentConfig, ConfigSources } from '../agent/mod.ts';
import { compileSoon, createLogger, GodwitError, messageOf, printable } from '../base/mod.ts';
import { print, say } from './output.ts';

/** Adds every option of the agent, and `--config`. */
export function withAgentOptions(command: Command): Command {
  command.option('--config <FILE>', 'YAML file of these options by their names in camelCase (also GODWIT_CONFIG)');
  for (const name of optionNames) {
    const { placeholder, help } = agentOptions[name];
    command.option(`${flagOf(name)} <${placeholder}>`, `${help} (${environmentOf(name)})`);
  }
  // a switch people write without a value
  return command.option('--no-ip-masq', 'the same as --ip-masq false');
}

/** Reads flags, environment and file; throws GodwitError with every fault. */
export async function readAgentConfig(flags: Readonly<Record<string, unknown>>): Promise<AgentConfig> {
  const path = flags['config'] ?? process.env['GODWIT_CONFIG'];
  const known = Object.fromEntries(Object.entries(flags).filter(([name]) => name in agentOptions));
  const file = typeof path === 'string' && path !== '' ? await readConfigFile(path) : undefined;
  const config = parseConfig({ flags: known, environment: process.env, ...(file && { file }) });
  if (config.ok) return config.value;
  const [head, ...faults] = config.error.message.split('\n');
  for (const fault of faults) say(`godwit: ${printable(fault.trim(), 1000)}`);
  throw new GodwitError('config', head!.replace(/:$/, ''));
}

async function readConfigFile(path: string): Promise<NonNullable<ConfigSources['file']>> {
  try {
    const { parse } = await import('yaml');
    return { path, values: parse(readFileSync(path, 'utf8')) as unknown };
  } catch (error) {
    throw new GodwitError('config', `configuration file ${path}: ${messageOf(error)}`, { cause: error });
  }
}

export function register(command: Command): void {
  withAgentOptions(command)
    .option('--dry-run', 'print what would be changed now, and end')
    .action(async (flags: Record<string, unknown>) => {
      const config = await readAgentConfig(flags);
      const dry = flags['dryRun'] === true;
      const log = createLogger(dry ? 'warn' : config.logLevel, { node: config.node });
      const agent = new Agent({ config, log });
      const stop = new AbortController();
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
      if (dry) {
        await print((await agent.dryRun(stop.signal)).join('\n'));
        return;
      }
      compileSoon();
      log.info({ pid: process.pid, datastore: config.datastore }, 'the agent starts');
      await agent.run(stop.signal);
      log.info({}, 'the agent ends; routes, bridge and pods stay as they are');
      process.exit(0);
    });
}
