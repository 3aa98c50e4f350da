/** What can only be judged with the datastore at hand, and what goes along with certain writes. */
import type { Datastore } from '../../datastore/mod.ts';
import {
  blocksPrefix,
  CONFIG_KEY,
  decodeConfig,
  defaultIpamConfig,
  encodeConfig,
  parseBlockKey,
} from '../../ipam/blocks/mod.ts';
import { ResourceClient } from '../../model/mod.ts';
import type { AnyResource, Resource, WriteOptions } from '../../model/mod.ts';
import { familyOf, prefixesOverlap, prefixLength } from '../../net/mod.ts';

/** Sentences about what forbids to write `resource`; `creating` when there is no such object yet. */
export async function checkAgainstStore(store: Datastore, resource: AnyResource, creating: boolean): Promise<string[]> {
  if (resource.kind === 'IPPool' && creating) return checkNewPool(store, resource);
  if (resource.kind === 'BGPPeer' && resource.spec.filters.length > 0) return checkFilters(store, resource);
  return [];
}

async function checkNewPool(store: Datastore, pool: Resource<'IPPool'>): Promise<string[]> {
  const problems: string[] = [];
  const { cidr, blockSize } = pool.spec;
  const { items } = await new ResourceClient(store).list('IPPool');
  problems.push(...overlaps(pool, items));
  const { kvs } = await store.list(blocksPrefix(familyOf(cidr)));
  for (const kv of kvs) {
    const block = parseBlockKey(kv.key);
    if (block === undefined || prefixLength(block) === blockSize || !prefixesOverlap(block, cidr)) continue;
    problems.push(
      `spec.blockSize: ${blockSize} is not; addresses are in use in block ${block}; allowed: ${prefixLength(block)}, or wait until they are freed`,
    );
    break;
  }
  return problems;
}

/** Pools must not share addresses. */
export function overlaps(pool: Resource<'IPPool'>, others: readonly Resource<'IPPool'>[]): string[] {
  return others
    .filter((other) => other.name !== pool.name && prefixesOverlap(other.spec.cidr, pool.spec.cidr))
    .map((other) => `spec.cidr: ${pool.spec.cidr} overlaps pool ${other.name} (${other.spec.cidr})`);
}

async function checkFilters(store: Datastore, peer: Resource<'BGPPeer'>): Promise<string[]> {
  const { items } = await new ResourceClient(store).list('BGPFilter');
  const names = new Set(items.map((filter) => filter.name));
  return peer.spec.filters
    .filter((name) => !names.has(name))
    .map(
      (name) =>
        `spec.filters: there is no BGPFilter ${name}; allowed: ${[...names].join(', ') || 'none, as there is no filter yet'}`,
    );
}

/**
 * IPAM reads its configuration at a key of its own; in etcd, Calico's resource IPAMConfiguration is another. They are
 * written together, so that they cannot say different things.
 */
export async function alongWith(store: Datastore, resource: AnyResource): Promise<WriteOptions> {
  if (resource.kind !== 'IPAMConfiguration') return {};
  const { kv } = await store.get(CONFIG_KEY);
  const before = kv ? decodeConfig(kv.value) : undefined;
  const config = { ...(before?.ok ? before.value : defaultIpamConfig), ...resource.spec };
  return {
    also: [{ op: 'put', key: CONFIG_KEY, value: encodeConfig(config) }],
    guards: [{ key: CONFIG_KEY, modRevision: kv?.modRevision ?? 0 }],
  };
}
