import type { Datastore } from '../../src/datastore/mod.ts';
import {
  addressOf,
  affinitiesPrefix,
  affinityKey,
  blockKey,
  decodeAffinity,
  decodeBlock,
  decodeHandle,
  encodeAffinity,
  encodeBlock,
  encodeHandle,
  freeOrdinals,
  give,
  handleKey,
  hostOwner,
  isEmpty,
  newBlock,
  ordinalsOf,
  parseAffinityKey,
  takeBack,
  written,
} from '../../src/ipam/blocks/mod.ts';
import type { Block } from '../../src/ipam/blocks/mod.ts';
import type { Prefix } from '../../src/net/mod.ts';

/**
 * A client that works as Calico's do: every record is written alone. An affinity goes pending → (block) → confirmed; a
 * handle is counted up before the block is written, and down after an address was taken back. Killed between two writes
 * it leaves what a killed Calico leaves.
 */
export class CalicoActor {
  private readonly store: Datastore;
  private readonly node: string;
  private readonly blocks: readonly Prefix[];
  private readonly now: () => number;

  constructor(store: Datastore, node: string, blocks: readonly Prefix[], now: () => number) {
    this.store = store;
    this.node = node;
    this.blocks = blocks;
    this.now = now;
  }

  /** An address, or undefined when none is free. Throws what the store throws. */
  async assign(handle: string): Promise<string | undefined> {
    for (let attempt = 0; attempt < 30; attempt++) {
      const found = (await this.ownBlock()) ?? (await this.claim());
      if (found === 'again') continue;
      if (!found) return undefined;
      const [ordinal] = freeOrdinals(found.block, undefined);
      if (ordinal === undefined) continue;
      await this.count(handle, found.block.cidr, 1);
      const block = give(found.block, ordinal, handle, { node: this.node });
      if (await this.swap(blockKey(block.cidr), found.revision, encodeBlock(written(block))))
        return addressOf(block, ordinal);
      await this.count(handle, found.block.cidr, -1);
    }
    return undefined;
  }

  async release(handle: string): Promise<void> {
    const { kv } = await this.store.get(handleKey(handle));
    for (const cidr of kv ? decodeHandle(kv.value).keys() : []) {
      for (let attempt = 0; attempt < 30; attempt++) {
        const found = await this.read(cidr);
        const ordinals = found ? ordinalsOf(found.block, handle) : [];
        if (!found || ordinals.length === 0) break;
        const after = takeBack(found.block, ordinals, 0, this.now());
        const gone = isEmpty(after) && after.affinity === undefined;
        if (!(await this.swap(blockKey(cidr), found.revision, gone ? undefined : encodeBlock(written(after)))))
          continue;
        await this.count(handle, cidr, -ordinals.length);
        break;
      }
    }
  }

  private async swap(key: string, modRevision: number, value: string | undefined): Promise<boolean> {
    const change = value === undefined ? ({ op: 'delete', key } as const) : ({ op: 'put', key, value } as const);
    return (await this.store.transaction({ if: [{ key, modRevision }], do: [change] })).succeeded;
  }

  private async read(cidr: Prefix): Promise<{ block: Block; revision: number } | undefined> {
    const { kv } = await this.store.get(blockKey(cidr));
    const decoded = kv && decodeBlock(kv.value);
    return decoded?.ok ? { block: decoded.value, revision: kv!.modRevision } : undefined;
  }

  private async ownBlock(): Promise<{ block: Block; revision: number } | 'again' | undefined> {
    const owner = hostOwner(this.node);
    for (const kv of (await this.store.list(affinitiesPrefix(owner))).kvs) {
      const { cidr } = parseAffinityKey(kv.key)!;
      const found = await this.read(cidr);
      if (!found) return this.create(cidr, kv.modRevision);
      if (found.block.affinity !== owner) {
        await this.swap(kv.key, kv.modRevision, undefined);
        continue;
      }
      if (decodeAffinity(kv.value) !== 'confirmed') {
        if (!(await this.swap(kv.key, kv.modRevision, encodeAffinity('pending')))) return 'again';
        if (!(await this.swap(blockKey(cidr), found.revision, encodeBlock(written(found.block))))) return 'again';
        await this.confirm(cidr);
        return 'again';
      }
      if (found.block.unallocated.length > 0) return found;
    }
    return undefined;
  }

  private async claim(): Promise<'again' | undefined> {
    for (const cidr of this.blocks) {
      if (await this.read(cidr)) continue;
      if (await this.swap(affinityKey(hostOwner(this.node), cidr), 0, encodeAffinity('pending')))
        return this.create(cidr, undefined);
    }
    return undefined;
  }

  /** The block of a pending affinity. */
  private async create(cidr: Prefix, affinityRevision: number | undefined): Promise<'again'> {
    const owner = hostOwner(this.node);
    const key = affinityKey(owner, cidr);
    if (affinityRevision !== undefined && !(await this.swap(key, affinityRevision, encodeAffinity('pending'))))
      return 'again';
    if (await this.swap(blockKey(cidr), 0, encodeBlock(newBlock(cidr, owner, this.now())))) await this.confirm(cidr);
    return 'again';
  }

  private async confirm(cidr: Prefix): Promise<void> {
    const key = affinityKey(hostOwner(this.node), cidr);
    const { kv } = await this.store.get(key);
    if (kv) await this.swap(key, kv.modRevision, encodeAffinity('confirmed'));
  }

  private async count(handle: string, cidr: Prefix, change: number): Promise<void> {
    for (let attempt = 0; attempt < 30; attempt++) {
      const key = handleKey(handle);
      const { kv } = await this.store.get(key);
      const counts = new Map<Prefix, number>(kv ? decodeHandle(kv.value) : []);
      const next = (counts.get(cidr) ?? 0) + change;
      if (next > 0) counts.set(cidr, next);
      else counts.delete(cidr);
      if (!kv && counts.size === 0) return;
      if (await this.swap(key, kv?.modRevision ?? 0, counts.size === 0 ? undefined : encodeHandle(counts))) return;
    }
  }
}
