/** Commands that talk to a speaker over its control socket. */
import { Argument, Option } from 'commander';
import type { Command } from 'commander';
import { printable } from '../base/mod.ts';
import { ControlClient, DEFAULT_CONTROL } from '../bgp/mod.ts';
import type { AttributesJson, NeighborStatus, ReloadReport, RouteJson, SpeakerSummary } from '../bgp/mod.ts';
import {
  advertisedHeadings,
  advertisedRow,
  formatNeighbor,
  formatReport,
  formatRoute,
  formatSummary,
  routeHeadings,
  routeLegend,
  routeRows,
} from './bgp-tables.ts';
import { integerBetween, outputFormat, print, show, table, withOutput } from './output.ts';
import type { OutputOptions, Row } from './output.ts';

interface ClientFlags extends OutputOptions {
  readonly socket: string;
}
type Advertised = AttributesJson & { readonly prefix: string; readonly from: string };

/** Routes laid out together; columns fit within a batch, and the first appears at once. */
const TABLE_BATCH = 2000;

export function registerBgpClient(parent: Command): void {
  const command = (on: Command, name: string, description: string): Command =>
    withOutput(on.command(name).description(description)).addOption(
      new Option('--socket <path>', 'control socket of the speaker').default(DEFAULT_CONTROL).env('GODWIT_BGP_SOCKET'),
    );
  const bgp = (name: string, description: string) => command(parent, name, description);

  const shows = parent.command('show').description('Show what the speaker knows.');
  command(shows, 'summary', 'The speaker and its neighbours.').action(async (_: unknown, self: Command) => {
    const flags = self.optsWithGlobals<ClientFlags>();
    const summary = await clientOf(flags).get<SpeakerSummary>('/summary');
    await show(flags, summary, () => formatSummary(summary, Date.now()));
  });
  command(shows, 'neighbors', 'Neighbours in full, or one of them.')
    .argument('[neighbor]', 'address or name')
    .action(async (neighbor: string | undefined, _: unknown, self: Command) => {
      const flags = self.optsWithGlobals<ClientFlags>();
      const list = await clientOf(flags).get<NeighborStatus[]>('/neighbors', { neighbor });
      await show(flags, list, () => list.map((n) => formatNeighbor(n, Date.now())).join('\n\n'));
    });
  command(shows, 'routes', 'The table, or one prefix with all attributes and why each path is where it is.')
    .argument('[prefix]', 'a prefix, or an address: what covers it')
    .option('--received <neighbor>', 'what this neighbour sent')
    .option('--advertised <neighbor>', 'what was sent to this neighbour')
    .addOption(new Option('--family <family>', 'one family only').choices(['ipv4', 'ipv6']))
    .option('--within', 'all prefixes inside the one given')
    .action(async (prefix: string | undefined, _: unknown, self: Command) => {
      await showRoutes(prefix, self.optsWithGlobals<RouteFlags>());
    });

  bgp('announce', 'Announce a prefix.')
    .argument('<prefix>')
    .option('--next-hop <address>', 'instead of ourselves')
    .option('--med <number>', 'multi exit discriminator', integerBetween(0, 0xffffffff))
    .option('--local-pref <number>', 'local preference', integerBetween(0, 0xffffffff))
    .option('--community <community...>', 'as 65000:1, 65000:1:2 or no-export')
    .option('--prepend <asn...>', 'put before the AS path')
    .action(async (prefix: string, _: unknown, self: Command) => {
      const flags = self.optsWithGlobals<ClientFlags & AnnounceFlags>();
      await clientOf(flags).post('/announce', {
        prefix,
        ...(flags.nextHop !== undefined && { nextHop: flags.nextHop }),
        ...(flags.med !== undefined && { med: flags.med }),
        ...(flags.localPref !== undefined && { localPref: flags.localPref }),
        ...(flags.community && { communities: flags.community }),
        ...(flags.prepend && { prepend: flags.prepend }),
      });
    });
  bgp('withdraw', 'Announce a prefix no longer.')
    .argument('<prefix>')
    .action(async (prefix: string, _: unknown, self: Command) => {
      await clientOf(self.optsWithGlobals()).post('/withdraw', { prefix });
    });
  bgp('clear', 'End a session and begin it again; `soft in` and `soft out` go over the routes only.')
    .argument('<neighbor>')
    .addArgument(new Argument('[soft]').choices(['soft']))
    .addArgument(new Argument('[direction]').choices(['in', 'out']))
    .action(
      async (neighbor: string, soft: string | undefined, direction: string | undefined, _: unknown, self: Command) => {
        const client = clientOf(self.optsWithGlobals());
        const directions = soft === undefined ? [''] : direction === undefined ? ['in', 'out'] : [direction];
        for (const one of directions) await client.post('/clear', { neighbor, soft: one });
      },
    );
  bgp('shutdown', 'End a session and keep it down; the reason is sent to the neighbour (RFC 9003).')
    .argument('<neighbor>')
    .argument('[reason]', 'up to 255 bytes', '')
    .action(async (neighbor: string, reason: string, _: unknown, self: Command) => {
      await clientOf(self.optsWithGlobals()).post('/shutdown', { neighbor, reason });
    });
  bgp('start', 'Begin the session with a neighbour that was shut down.')
    .argument('<neighbor>')
    .action(async (neighbor: string, _: unknown, self: Command) => {
      await clientOf(self.optsWithGlobals()).post('/start', { neighbor });
    });
  bgp('reload', 'Read the configuration file again; sessions that did not change stay up.').action(
    async (_: unknown, self: Command) => {
      const flags = self.optsWithGlobals<ClientFlags>();
      const report = await clientOf(flags).post<ReloadReport>('/reload');
      await show(flags, report, () => formatReport(report));
    },
  );
  bgp('restart', 'End the process so that neighbours with graceful restart keep the routes.').action(
    async (_: unknown, self: Command) => {
      await clientOf(self.optsWithGlobals()).post('/restart');
    },
  );
  bgp('monitor', 'Print events as they happen.').action(async (_: unknown, self: Command) => {
    const flags = self.optsWithGlobals<ClientFlags>();
    const json = outputFormat(flags) === 'json';
    for await (const event of clientOf(flags).stream<Record<string, unknown>>('/events')) {
      await print(json ? JSON.stringify(event) : formatEvent(event));
    }
  });
}

interface AnnounceFlags {
  readonly nextHop?: string;
  readonly med?: number;
  readonly localPref?: number;
  readonly community?: string[];
  readonly prepend?: string[];
}

interface RouteFlags extends ClientFlags {
  readonly received?: string;
  readonly advertised?: string;
  readonly family?: string;
  readonly within?: boolean;
}

const clientOf = (flags: { readonly socket: string }): ControlClient => new ControlClient(flags.socket);

async function showRoutes(prefix: string | undefined, flags: RouteFlags): Promise<void> {
  const client = clientOf(flags);
  const { received, advertised, family } = flags;
  const format = outputFormat(flags);
  const match = flags.within === true ? 'within' : undefined;
  const stream =
    advertised === undefined
      ? client.stream<RouteJson>('/routes', { prefix, received, family, match })
      : client.stream<Advertised>('/advertised', { prefix, neighbor: advertised, family, match });
  if (format === 'yaml') {
    await show(flags, await Array.fromAsync<unknown>(stream), () => '');
    return;
  }
  if (format === 'json') {
    await printJsonArray(stream);
    return;
  }
  const single = prefix !== undefined && match === undefined && advertised === undefined;
  if (single) {
    const routes = await Array.fromAsync(stream as AsyncGenerator<RouteJson>);
    await print(routes.length === 0 ? `no route for ${prefix}` : routes.map(formatRoute).join('\n'));
    return;
  }
  let headings: readonly string[] = advertised === undefined ? routeHeadings : advertisedHeadings;
  let rows: Row[] = [];
  for await (const route of stream) {
    rows.push(...('paths' in route ? routeRows(route) : [advertisedRow(route)]));
    if (rows.length < TABLE_BATCH) continue;
    await print(table(headings, rows));
    [headings, rows] = [[], []];
  }
  if (rows.length > 0) await print(table(headings, rows));
  if (advertised === undefined && process.stdout.isTTY) await print(`\n${routeLegend}`);
}

/** A JSON array, written as it comes: a full table does not pass through memory at once. */
async function printJsonArray(items: AsyncIterable<unknown>): Promise<void> {
  let before = '[\n  ';
  let out = '';
  for await (const item of items) {
    out += before + JSON.stringify(item);
    before = ',\n  ';
    if (out.length < 65536) continue;
    await Bun.write(Bun.stdout, out);
    out = '';
  }
  await print(before.startsWith('[') ? '[]' : `${out}\n]`);
}

function formatEvent(event: Record<string, unknown>): string {
  const { at, type, neighbor, ...rest } = event;
  const words = [type, neighbor].filter((word) => typeof word === 'string');
  const details = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return printable([new Date(Number(at)).toISOString(), ...words, ...details].join(' '), 2000);
}
