/**
 * Finds a block when the node's own are full: an unclaimed one, then one that another node left empty for a while, then
 * (unless strictAffinity) a free address in another node's block. Each node begins at a place of its own, so that many
 * that search at once meet rarely.
 */
import { GodwitError } from '../../base/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import {
  addressBits,
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  prefixAddress,
  prefixCovers,
  prefixesOverlap,
  prefixLength,
} from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import { seeBlock } from './cache.ts';
import type { Cache, SeenBlock } from './cache.ts';
import { affinityKey, blocksPrefix, hostOwner, parseBlockKey } from './keys.ts';
import { collectCooled, freeOrdinals, isEmpty, newBlock } from './operations.ts';
import type { Claim } from './plan.ts';
import type { IpamError } from './requests.ts';
import { eligiblePools, reservedIn } from './settings.ts';
import type { IpamSettings, Pool } from './settings.ts';

/** A node that just claimed a block gets the time to use it. */
const MIN_RECLAIM_AGE_MS = 60_000;
/** What Calico allows a node when nothing is configured: a guard against running away. */
const DEFAULT_MAX_BLOCKS = 20;

export type Found =
  | { readonly type: 'claim'; readonly claim: Claim }
  /** The cache was old and is new now: plan again. */
  | { readonly type: 'again' }
  | { readonly type: 'none'; readonly error: IpamError };

export interface Search {
  readonly store: Datastore;
  readonly cache: Cache;
  readonly settings: IpamSettings;
  readonly node: string;
  readonly family: Family;
  readonly pools: readonly Pool[];
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Taken already in the transaction that is being planned. */
  readonly claimed: ReadonlySet<Prefix>;
}

export async function findRoom(search: Search): Promise<Found> {
  const { store, cache, settings, node, family, pools } = search;
  const { kvs } = await store.list(blocksPrefix(family));
  const existing = new Map<Prefix, SeenBlock>();
  for (const kv of kvs) {
    const cidr = parseBlockKey(kv.key);
    if (cidr !== undefined) existing.set(cidr, seeBlock(kv));
  }
  if (learn(search, existing)) return { type: 'again' };
  const owned = [...cache.affinities.keys()].filter((cidr) =>
    pools.some((pool) => prefixCovers(pool.spec.cidr, cidr)),
  ).length;
  const limit = settings.config.maxBlocksPerHost || DEFAULT_MAX_BLOCKS;
  if (owned >= limit) {
    const message = `node ${node} has ${owned} IPv${family} blocks and may have ${limit}, all are full`;
    const hint = 'godwit ipam configure --max-blocks-per-host raises the limit.';
    return { type: 'none', error: new GodwitError('block-limit', message, { hint }) };
  }
  const claim =
    (settings.config.autoAllocateBlocks
      ? (unclaimed(search, existing) ?? (await abandoned(search, existing)))
      : undefined) ?? (settings.config.strictAffinity ? undefined : borrowable(search, existing));
  if (claim) {
    cache.blocks.set(claim.cidr, existing.get(claim.cidr) ?? { block: undefined, revision: 0 });
    return { type: 'claim', claim };
  }
  const message = `no free IPv${family} address in ${pools.map((pool) => `${pool.name} (${pool.spec.cidr})`).join(', ')}`;
  const strict = settings.config.strictAffinity ? ' in blocks of this node, and strictAffinity forbids borrowing' : '';
  return {
    type: 'none',
    error: new GodwitError('exhausted', message + strict, {
      hint: 'godwit ipam show --show-blocks tells who has them.',
    }),
  };
}

/** Brings the cache up to date with the list; true when that opens room in a block of our own. */
function learn(search: Search, existing: ReadonlyMap<Prefix, SeenBlock>): boolean {
  const { cache, pools } = search;
  let room = false;
  for (const cidr of cache.blocks.keys()) {
    const now = existing.get(cidr);
    if (familyOf(cidr) !== search.family || search.claimed.has(cidr)) continue;
    const old = cache.blocks.get(cidr)!;
    if ((now?.revision ?? 0) === old.revision) continue;
    cache.blocks.set(cidr, now ?? { block: undefined, revision: 0 });
    if (cache.affinities.has(cidr)) room = true;
  }
  for (const [cidr, { block }] of existing) {
    if (block?.affinity !== cache.owner || cache.affinities.has(cidr)) continue;
    if (!pools.some((pool) => prefixCovers(pool.spec.cidr, cidr)) || search.claimed.has(cidr)) continue;
    // claimed by another process of this node, or its affinity was lost: taken up, and confirmed when it is used
    cache.blocks.set(cidr, existing.get(cidr)!);
    cache.affinities.set(cidr, { state: undefined, revision: 0 });
    room = true;
  }
  return room;
}

function unclaimed(search: Search, existing: ReadonlyMap<Prefix, SeenBlock>): Claim | undefined {
  for (const pool of search.pools) {
    const odd = [...existing.keys()].filter(
      (cidr) => prefixLength(cidr) !== pool.spec.blockSize && prefixesOverlap(cidr, pool.spec.cidr),
    );
    for (const cidr of candidates(pool, search)) {
      if (existing.has(cidr) || odd.some((other) => prefixesOverlap(other, cidr))) continue;
      // nobody could be given an address of a block that is reserved piece by piece
      const reserved = reservedIn(search.settings, cidr);
      if (reserved && freeOrdinals(newBlock(cidr, search.cache.owner, search.now), reserved).length === 0) continue;
      return { cidr, pool, own: true };
    }
  }
  return undefined;
}

async function abandoned(search: Search, existing: ReadonlyMap<Prefix, SeenBlock>): Promise<Claim | undefined> {
  const { cache, store, now, settings } = search;
  for (const { cidr, pool, block } of others(search, existing)) {
    const claimedAt = Date.parse(block.affinityClaimTime ?? '1970-01-01T00:00:00Z');
    const usable = freeOrdinals(block, reservedIn(settings, cidr)).length > 0;
    if (!isEmpty(block) || !usable || now - claimedAt < MIN_RECLAIM_AGE_MS) continue;
    if (block.affinity === undefined || block.affinity === cache.owner) continue;
    const key = affinityKey(block.affinity, cidr);
    const { kv } = await store.get(key);
    return { cidr, pool, own: true, from: { key, revision: kv?.modRevision ?? 0 } };
  }
  return undefined;
}

function borrowable(search: Search, existing: ReadonlyMap<Prefix, SeenBlock>): Claim | undefined {
  for (const { cidr, pool, block } of others(search, existing)) {
    if (block.affinity?.startsWith('virtual:') || search.claimed.has(cidr)) continue;
    if (freeOrdinals(block, reservedIn(search.settings, cidr)).length > 0) return { cidr, pool, own: false };
  }
  return undefined;
}

/** Whole blocks that are not ours, from the node's own place on. */
function* others(search: Search, existing: ReadonlyMap<Prefix, SeenBlock>) {
  const { cache, settings, now, node } = search;
  const list = [...existing].filter(([, { block }]) => block && block.affinity !== cache.owner);
  const start = list.length === 0 ? 0 : hash(node) % list.length;
  for (const [cidr, { block }] of [...list.slice(start), ...list.slice(0, start)]) {
    const pool = search.pools.find(({ spec }) => prefixCovers(spec.cidr, cidr));
    if (pool && block) yield { cidr, pool, block: collectCooled(block, settings.config.ipCooldownSeconds, now) };
  }
}

/** The block a node would claim first for pods, as things are; undefined when there is none. */
export function nextBlock(
  settings: IpamSettings,
  node: string,
  family: Family,
  taken: ReadonlySet<Prefix>,
): Prefix | undefined {
  const pools = eligiblePools(settings, { family, node, use: 'Workload' });
  if (!pools.ok) return undefined;
  const existing = [...taken];
  for (const pool of pools.value) {
    for (const cidr of candidates(pool, { settings, node })) {
      if (taken.has(cidr) || existing.some((other) => prefixesOverlap(other, cidr))) continue;
      const reserved = reservedIn(settings, cidr);
      if (!reserved || freeOrdinals(newBlock(cidr, hostOwner(node), 0), reserved).length > 0) return cidr;
    }
  }
  return undefined;
}

/** The blocks of a pool from the node's own place on, once around; what is reserved as a whole is jumped over. */
export function* candidates(pool: Pool, { settings, node }: Pick<Search, 'settings' | 'node'>): Generator<Prefix> {
  const { cidr, blockSize } = pool.spec;
  const family = familyOf(cidr);
  const bits = BigInt(addressBits(family) - blockSize);
  const base = addressToBigInt(prefixAddress(cidr));
  const count = 1n << BigInt(blockSize - prefixLength(cidr));
  const start = BigInt(hash(node)) % count;
  const reserved = settings.reserved.filter(
    (prefix) => familyOf(prefix) === family && prefixLength(prefix) <= blockSize,
  );
  for (let step = 0n; step < count; step++) {
    const index = (start + step) % count;
    const block = `${addressFromBigInt(base + (index << bits), family)}/${blockSize}` as Prefix;
    const within = reserved.find((prefix) => prefixCovers(prefix, block));
    if (within === undefined) yield block;
    else {
      const end = addressToBigInt(prefixAddress(within)) + (1n << BigInt(addressBits(family) - prefixLength(within)));
      const next = (end - base) >> bits;
      // never past the end of the pool, where counting begins at its start again
      step += (next < count ? next : count) - index - 1n;
    }
  }
}

/** FNV-1a, 32 bits. */
export function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return value;
}
