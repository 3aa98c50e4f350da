/**
 * `godwit ipam split`: a pool becomes equal parts of it. Old pool out and new pools in is one transaction, so at no moment
 * is an address in two pools or in none, and nothing has to be locked; blocks and their addresses stay as they are.
 */
import { GodwitError } from '../../base/mod.ts';
import { encodeStored, goTime, kinds, parseGiven, ResourceClient, resourceKey, storedJson } from '../../model/mod.ts';
import type { AnyResource, JsonObject, Resource } from '../../model/mod.ts';
import {
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  addressBits,
  prefixAddress,
  prefixLength,
} from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import { useDatastore } from '../datastore.ts';
import type { DatastoreCommandOptions } from '../datastore.ts';
import { print } from '../output.ts';

interface SplitOptions extends DatastoreCommandOptions {
  readonly name?: string;
  readonly cidr?: string;
  readonly dryRun?: boolean;
}

export async function split(parts: number, options: SplitOptions): Promise<void> {
  if ((options.name === undefined) === (options.cidr === undefined))
    throw new GodwitError('input', 'split which pool?', { hint: 'Give --name or --cidr, one of the two.' });
  if (!Number.isInteger(Math.log2(parts))) throw new GodwitError('input', `${parts} is not a power of two`);
  await useDatastore(options, async (store) => {
    const { items } = await new ResourceClient(store).list('IPPool');
    const pool = items.find(({ name, spec }) => name === options.name || spec.cidr === options.cidr);
    if (!pool) throw new GodwitError('not-found', `there is no pool ${options.name ?? options.cidr}`);
    const children = splitPool(pool, parts, Date.now(), () => crypto.randomUUID());
    if (!options.dryRun) {
      const { succeeded } = await store.transaction({
        if: [
          { key: resourceKey('IPPool', pool.name), modRevision: pool.revision },
          ...children.map((child) => ({ key: resourceKey('IPPool', child.name), modRevision: 0 })),
        ],
        do: [
          { op: 'delete', key: resourceKey('IPPool', pool.name) },
          ...children.map(
            (child) => ({ op: 'put', key: resourceKey('IPPool', child.name), value: encodeStored(child) }) as const,
          ),
        ],
      });
      if (!succeeded)
        throw new GodwitError('conflict', `pool ${pool.name} was changed meanwhile, or has been split before`, {
          hint: 'Look at it again.',
        });
    }
    const verb = options.dryRun ? 'would be' : 'is';
    await print(
      [
        `pool ${pool.name} (${pool.spec.cidr}) ${verb} split into`,
        ...children.map((c) => `  ${c.name} ${c.kind === 'IPPool' ? c.spec.cidr : ''}`),
      ].join('\n'),
    );
  });
}

export function splitPool(pool: Resource<'IPPool'>, parts: number, now: number, uuid: () => string): AnyResource[] {
  const { cidr, blockSize } = pool.spec;
  const length = prefixLength(cidr) + Math.log2(parts);
  if (length > blockSize)
    throw new GodwitError('invalid', `${cidr} has no ${parts} parts of at least one block of /${blockSize}`);
  const family = familyOf(cidr);
  const size = 1n << BigInt(addressBits(family) - length);
  const base = addressToBigInt(prefixAddress(cidr));
  const json = storedJson(pool);
  return Array.from({ length: parts }, (_, i) => {
    const part = `${addressFromBigInt(base + BigInt(i) * size, family)}/${length}` as Prefix;
    const { labels, annotations } = json['metadata'] as JsonObject;
    const metadata = {
      name: `split-${pool.name.slice(0, 240)}-${i}`,
      labels,
      annotations,
      uid: uuid(),
      creationTimestamp: goTime(now),
    };
    const given = parseGiven({
      ...json,
      metadata: Object.fromEntries(Object.entries(metadata).filter(([, v]) => v !== undefined)),
      spec: { ...(json['spec'] as JsonObject), cidr: part },
    });
    if (!given.ok) throw new Error(`part of ${kinds.IPPool.kind} ${pool.name}: ${JSON.stringify(given.error)}`);
    return given.value;
  });
}
