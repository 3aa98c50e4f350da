/** Giving blocks up: of a node that is gone, of a pool that goes, or empty ones a node has too many of. */
import { Backoff, sleep } from '../../base/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import { encodeBlock } from './block.ts';
import { seeBlock } from './cache.ts';
import { affinitiesPrefix, affinityKey, blockKey, parseAffinityKey } from './keys.ts';
import type { Owner } from './keys.ts';
import { collectCooled, isEmpty, newBlock, written } from './operations.ts';
import { encodeAffinity } from './records.ts';

export interface ReleaseAffinityOptions {
  /** Leave a block alone that has addresses in use; else it stays, without an owner, until they are freed. */
  readonly requireEmpty: boolean;
  readonly cooldownSeconds: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Gives up an owner's claim to a block, with the block when it is empty. `in-use` when it is not and had to be. One
 * transaction, so nothing is ever half given up.
 */
export async function releaseAffinity(
  store: Datastore,
  owner: Owner,
  cidr: Prefix,
  options: ReleaseAffinityOptions,
): Promise<'released' | 'in-use' | 'gone'> {
  const keys = [blockKey(cidr), affinityKey(owner, cidr)] as const;
  const backoff = new Backoff(5, 200);
  for (let attempt = 0; attempt < 50; attempt++) {
    const { gets } = await store.transaction({ if: [], do: keys.map((key) => ({ op: 'get', key })) });
    const [blockValue, affinity] = [gets[0]?.[0], gets[1]?.[0]];
    const seen = seeBlock(blockValue);
    if (seen.fault !== undefined) return 'in-use';
    const block = seen.block && collectCooled(seen.block, options.cooldownSeconds, options.now);
    const ours = block?.affinity === owner;
    if (!affinity && !ours) return 'gone';
    const empty = block === undefined || isEmpty(block);
    if (ours && !empty && options.requireEmpty) return 'in-use';
    const { affinity: _, affinityClaimTime: __, ...rest } = block ?? { cidr };
    const kept = { ...rest, affinity: undefined, affinityClaimTime: undefined } as NonNullable<typeof block>;
    const { succeeded } = await store.transaction({
      if: [
        { key: keys[0], modRevision: seen.revision },
        { key: keys[1], modRevision: affinity?.modRevision ?? 0 },
      ],
      do: [
        ...(affinity ? [{ op: 'delete', key: keys[1] } as const] : []),
        ...(ours && empty ? [{ op: 'delete', key: keys[0] } as const] : []),
        ...(ours && !empty ? [{ op: 'put', key: keys[0], value: encodeBlock(written(kept)) } as const] : []),
      ],
    });
    if (succeeded) return 'released';
    await sleep(backoff.next());
  }
  return 'in-use';
}

/** Claims a block that nobody has, ahead of its first address; false when somebody has it. One transaction. */
export async function claimBlock(store: Datastore, owner: Owner, cidr: Prefix, now: number): Promise<boolean> {
  const keys = [blockKey(cidr), affinityKey(owner, cidr)] as const;
  const { succeeded } = await store.transaction({
    if: keys.map((key) => ({ key, modRevision: 0 })),
    do: [
      { op: 'put', key: keys[0], value: encodeBlock(newBlock(cidr, owner, now)) },
      { op: 'put', key: keys[1], value: encodeAffinity('confirmed') },
    ],
  });
  return succeeded;
}

/** The blocks an owner has claimed, in whatever state. */
export async function affinitiesOf(store: Datastore, owner: Owner): Promise<Prefix[]> {
  const { kvs } = await store.list(affinitiesPrefix(owner));
  return kvs.flatMap((kv) => parseAffinityKey(kv.key)?.cidr ?? []);
}

/**
 * Gives back blocks that stand empty, and of each family keeps one: the next pod should not have to wait for a claim.
 * `emptySince` remembers between calls; only what was found empty by two calls at least `minAgeMs` apart goes.
 */
export async function releaseEmptyBlocks(
  store: Datastore,
  owner: Owner,
  emptySince: Map<Prefix, number>,
  options: Omit<ReleaseAffinityOptions, 'requireEmpty'> & { readonly minAgeMs: number },
): Promise<readonly Prefix[]> {
  const released: Prefix[] = [];
  const empty: Prefix[] = [];
  const kept = { 4: 0, 6: 0 };
  for (const cidr of await affinitiesOf(store, owner)) {
    const seen = seeBlock((await store.get(blockKey(cidr))).kv);
    const block = seen.block && collectCooled(seen.block, options.cooldownSeconds, options.now);
    if (block && isEmpty(block) && block.affinity === owner) empty.push(cidr);
    else kept[familyOf(cidr)]++;
  }
  for (const cidr of emptySince.keys()) if (!empty.includes(cidr)) emptySince.delete(cidr);
  for (const cidr of empty) {
    const since = emptySince.get(cidr) ?? options.now;
    emptySince.set(cidr, since);
    const last = kept[familyOf(cidr)] === 0;
    if (last || options.now - since < options.minAgeMs) {
      kept[familyOf(cidr)]++;
      continue;
    }
    if ((await releaseAffinity(store, owner, cidr, { ...options, requireEmpty: true })) === 'released')
      released.push(cidr);
    emptySince.delete(cidr);
  }
  return released;
}
