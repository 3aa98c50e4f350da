/** `godwit ipam`: who has which address, what leaks, and the rules. Nothing here needs the datastore locked. */
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { GodwitError } from '../base/mod.ts';
import { CONFIG_KEY, configFaults, decodeConfig, defaultIpamConfig, encodeConfig } from '../ipam/blocks/mod.ts';
import type { IpamConfig } from '../ipam/blocks/mod.ts';
import { parseDuration } from '../model/mod.ts';
import { parseAddress } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import { useDatastore, withDatastore } from './datastore.ts';
import type { DatastoreCommandOptions } from './datastore.ts';
import { check, release } from './ipam/leaks.ts';
import { show } from './ipam/show.ts';
import { split } from './ipam/split.ts';
import { integerBetween, print, withOutput } from './output.ts';

export function register(command: Command): void {
  withDatastore(
    withOutput(
      command
        .command('show')
        .description('how full the pools are; who has an address')
        .option('--ip <address>', 'who has this address', addressOption)
        .option('--show-blocks', 'every block of the pools')
        .option('--show-borrowed', 'addresses that a node has from another node’s block')
        .option('--show-configuration', 'the rules'),
    ),
  ).action(show);
  withDatastore(
    command
      .command('check')
      .description('compare what is given with what is in use; reads only, locks nothing')
      .option('--show-all-ips', 'every address')
      .option('--show-problem-ips', 'every address something is wrong with')
      .option('-o, --output <file>', 'write a report for: ipam release --from-report'),
  ).action(check);
  withDatastore(
    command
      .command('release')
      .description('take addresses back: one, or the leaks of a report that are still leaks')
      .option('--ip <address>', 'this address', addressOption)
      .option('--from-report <file>', 'reports of ipam check; may be repeated, then what all of them say', several)
      .option('--grace <duration>', 'how long an address must have been unused', graceOption, 15 * 60)
      .option('--force', 'with --ip: also an address that is in use')
      .option('--dry-run', 'say what would be done'),
  ).action(release);
  withDatastore(
    command
      .command('configure')
      .description('change the rules')
      .option('--strictaffinity <bool>', 'addresses only from the node’s own blocks', flagOption)
      .option(
        '--max-blocks-per-host <number>',
        'blocks a node may have, 0 for the default of 20',
        integerBetween(0, 2 ** 31 - 1),
      )
      .option('--ip-cooldown-seconds <seconds>', 'how long a released address rests', integerBetween(0, 1200)),
  ).action(configure);
  withDatastore(
    command
      .command('split')
      .description('replace a pool by equal parts of it, at once')
      .argument('<number>', 'parts, a power of two', integerBetween(2, 64))
      .option('--name <name>', 'the pool')
      .option('--cidr <cidr>', 'the pool')
      .option('--dry-run', 'say what would be done'),
  ).action(split);
}

const several = (value: string, before: readonly string[] | undefined): string[] => [...(before ?? []), value];

function addressOption(text: string): IpAddress {
  const address = parseAddress(text);
  if (address === undefined) throw new InvalidArgumentError('It must be an IPv4 or IPv6 address.');
  return address;
}

function graceOption(text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined) throw new InvalidArgumentError('It must be a duration, as 15m or 90s.');
  return seconds;
}

function flagOption(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new InvalidArgumentError('It must be true or false.');
}

interface ConfigureOptions extends DatastoreCommandOptions {
  readonly strictaffinity?: boolean;
  readonly maxBlocksPerHost?: number;
  readonly ipCooldownSeconds?: number;
}

async function configure(options: ConfigureOptions): Promise<void> {
  const { strictaffinity, maxBlocksPerHost, ipCooldownSeconds } = options;
  if (strictaffinity === undefined && maxBlocksPerHost === undefined && ipCooldownSeconds === undefined)
    throw new GodwitError('input', 'nothing to change', { hint: 'Give at least one of the settings; see --help.' });
  await useDatastore(options, async (store) => {
    for (let attempt = 0; attempt < 5; attempt++) {
      const { kv } = await store.get(CONFIG_KEY);
      const before = kv ? decodeConfig(kv.value) : undefined;
      const config: IpamConfig = { ...(before?.ok ? before.value : defaultIpamConfig) };
      const changed: IpamConfig = {
        ...config,
        strictAffinity: strictaffinity ?? config.strictAffinity,
        maxBlocksPerHost: maxBlocksPerHost ?? config.maxBlocksPerHost,
        ipCooldownSeconds: ipCooldownSeconds ?? config.ipCooldownSeconds,
      };
      const faults = configFaults(changed);
      if (faults.length > 0) throw new GodwitError('invalid', faults.join('\n'));
      const { succeeded } = await store.transaction({
        if: [{ key: CONFIG_KEY, modRevision: kv?.modRevision ?? 0 }],
        do: [{ op: 'put', key: CONFIG_KEY, value: encodeConfig(changed) }],
      });
      if (!succeeded) continue;
      const names = {
        strictaffinity: 'strictAffinity',
        maxBlocksPerHost: 'maxBlocksPerHost',
        ipCooldownSeconds: 'ipCooldownSeconds',
      } as const;
      const lines = Object.entries(names)
        .filter(([option]) => options[option as keyof typeof names] !== undefined)
        .map(([, name]) => `${name} is ${String(changed[name])}`);
      return print(lines.join('\n'));
    }
    throw new GodwitError('conflict', 'the configuration keeps changing under our hands', { hint: 'Try again.' });
  });
}
