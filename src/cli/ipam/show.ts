/** `godwit ipam show`. */
import {
  reservedIn,
  settingsFrom,
  audit,
  decodeBlock,
  freeOrdinals,
  readPicture,
  parseBlockKey,
  poolOf,
} from '../../ipam/blocks/mod.ts';
import type { Allocation, Audit, Block, IpamPicture, IpamSettings } from '../../ipam/blocks/mod.ts';
import { prefixAddress, prefixCovers, prefixSize } from '../../net/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { useDatastore } from '../datastore.ts';
import type { DatastoreCommandOptions } from '../datastore.ts';
import { show as showValue, table } from '../output.ts';
import type { OutputOptions } from '../output.ts';

interface ShowOptions extends DatastoreCommandOptions, OutputOptions {
  readonly ip?: IpAddress;
  readonly showBlocks?: boolean;
  readonly showBorrowed?: boolean;
  readonly showConfiguration?: boolean;
}

export async function show(options: ShowOptions): Promise<void> {
  await useDatastore(options, async (store) => {
    const settings = await settingsFrom(store).current();
    if (options.showConfiguration) {
      const { others: _, ...config } = settings.config;
      await showValue(options, config, () =>
        table(
          ['PROPERTY', 'VALUE'],
          Object.entries(config).map(([k, v]) => [k, String(v ?? '-')]),
        ),
      );
      return;
    }
    const picture = await readPicture(store, Date.now());
    const found = audit(picture);
    if (options.ip !== undefined) return showAddress(options, options.ip, found, settings);
    if (options.showBorrowed) return showBorrowed(options, found);
    const usage = usageOf(picture, found, settings);
    const shown = options.showBlocks
      ? usage
      : usage.map(({ pool, cidr, total, inUse, free }) => ({ pool, cidr, total, inUse, free }));
    await showValue(options, shown, () => usageText(usage, options.showBlocks === true));
  });
}

/** bigints do not fit into JSON; a sequence number is an opaque text to whoever reads it. */
const plain = (a: Allocation) => ({ ...a, sequenceNumber: a.sequenceNumber.toString() });

function showAddress(options: ShowOptions, address: IpAddress, found: Audit, settings: IpamSettings): Promise<void> {
  const allocation = found.allocations.find((a) => a.address === address);
  const pool = poolOf(settings, address)?.name ?? null;
  const value = allocation ? { ...plain(allocation), pool } : { address, pool, assigned: false };
  return showValue(options, value, () => {
    if (!allocation)
      return `${address} is not assigned${pool === null ? ', and in no enabled pool' : ` (pool ${pool})`}`;
    const state = allocation.coolingDown
      ? 'is cooling down'
      : allocation.owners.length > 0
        ? 'is in use'
        : 'is assigned, and nobody is known to use it';
    const rows = [
      ['handle', allocation.handle ?? '-'],
      ['node', allocation.node ?? '-'],
      ['pod', allocation.pod === undefined ? '-' : `${allocation.namespace ?? ''}/${allocation.pod}`],
      ['type', allocation.type ?? 'workload'],
      ['since', allocation.timestamp ?? '-'],
      ['block', `${allocation.block}${allocation.borrowed ? ' (borrowed)' : ''}`],
      ['pool', pool ?? '-'],
      ['used by', allocation.owners.join(', ') || '-'],
    ];
    return `${address} ${state}\n${table([], rows)}`;
  });
}

function showBorrowed(options: ShowOptions, found: Audit): Promise<void> {
  const borrowed = found.allocations.filter((a) => a.borrowed && !a.coolingDown);
  return showValue(options, borrowed.map(plain), () =>
    table(
      ['IP', 'BORROWING-NODE', 'BLOCK', 'TYPE', 'ALLOCATED-TO'],
      borrowed.map((a) => [
        a.address,
        a.node ?? '-',
        a.block,
        a.type ?? 'pod',
        a.pod === undefined ? '' : `${a.namespace ?? ''}/${a.pod}`,
      ]),
    ),
  );
}

interface Usage {
  readonly cidr: Prefix;
  readonly total: number;
  readonly inUse: number;
  readonly free: number;
}
interface PoolUsage extends Usage {
  readonly pool: string | null;
  readonly blocks: readonly (Usage & { readonly affinity: string | null })[];
}

function usageOf(picture: IpamPicture, found: Audit, settings: IpamSettings): PoolUsage[] {
  const blocks = picture.blocks.flatMap((kv): Block[] => {
    const decoded = parseBlockKey(kv.key) === undefined ? undefined : decodeBlock(kv.value);
    return decoded?.ok ? [decoded.value] : [];
  });
  const used = Map.groupBy(found.allocations, (a) => a.block);
  const usage = (block: Block) => ({
    cidr: block.cidr,
    affinity: block.affinity ?? null,
    total: block.allocations.length,
    inUse: used.get(block.cidr)?.length ?? 0,
    free: freeOrdinals(block, reservedIn(settings, block.cidr)).length,
  });
  const sum = (list: readonly Usage[], key: 'inUse' | 'free' | 'total') => list.reduce((n, one) => n + one[key], 0);
  const pools = picture.pools.map(({ name, spec }): PoolUsage => {
    const own = blocks.filter((block) => prefixCovers(spec.cidr, block.cidr)).map(usage);
    const total = Number(prefixSize(spec.cidr));
    return {
      pool: name,
      cidr: spec.cidr,
      total,
      inUse: sum(own, 'inUse'),
      free: total - sum(own, 'total') + sum(own, 'free'),
      blocks: own,
    };
  });
  const orphans = blocks
    .filter((block) => !picture.pools.some(({ spec }) => prefixCovers(spec.cidr, block.cidr)))
    .map(usage);
  if (orphans.length === 0) return pools;
  const cidr = `${prefixAddress('0.0.0.0/0' as Prefix)}/0` as Prefix;
  return [
    ...pools,
    { pool: null, cidr, total: sum(orphans, 'total'), inUse: sum(orphans, 'inUse'), free: 0, blocks: orphans },
  ];
}

function usageText(usage: readonly PoolUsage[], withBlocks: boolean): string {
  const rows: string[][] = [];
  const share = (n: number, total: number) => `${count(n)} (${Math.round((100 * n) / total)}%)`;
  const row = (grouping: string, { cidr, total, inUse, free }: Usage, owner = '') =>
    rows.push([grouping, cidr, count(total), share(inUse, total), share(free, total), owner]);
  for (const pool of usage) {
    if (pool.pool !== null) row('IP Pool', pool);
    if (!withBlocks) continue;
    for (const block of pool.blocks)
      row(pool.pool === null ? 'Block without pool' : 'Block', block, block.affinity ?? '(nobody)');
  }
  return table(['GROUPING', 'CIDR', 'IPS TOTAL', 'IPS IN USE', 'IPS FREE', ...(withBlocks ? ['OWNER'] : [])], rows);
}

const count = (n: number): string => (n < 1e6 ? String(n) : n.toPrecision(5));
