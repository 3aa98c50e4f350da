/**
 * Who owns which part of the address space: the blocks of nodes, and the single addresses that nodes borrowed from
 * blocks of others. Kept up to date from the datastore's updates; what routes and announcements are made from. Only
 * confirmed claims whose block agrees count: a half-done claim must not draw traffic.
 */
import type { Update } from '../../datastore/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { addressOf } from './block.ts';
import { seeBlock } from './cache.ts';
import type { SeenBlock } from './cache.ts';
import { parseAffinityKey, parseBlockKey } from './keys.ts';
import { decodeAffinity } from './records.ts';

/** The part of the datastore to follow. */
export const OWNERSHIP_PREFIX = '/calico/ipam/v2/';

export interface Borrowed {
  readonly address: IpAddress;
  readonly node: string;
}
export type OwnershipEvent = { readonly type: 'block'; readonly cidr: Prefix } | { readonly type: 'inSync' | 'stale' };

export class Ownership {
  private readonly blocks = new Map<Prefix, SeenBlock>();
  /** Confirmed claims: block → nodes. More than one only while a claim moves. */
  private readonly claims = new Map<Prefix, Set<string>>();
  private readonly listeners = new Set<(event: OwnershipEvent) => void>();
  private synced = false;

  /** Whether a complete picture has been told. Nothing may be swept before. */
  get inSync(): boolean {
    return this.synced;
  }

  onChange(listener: (event: OwnershipEvent) => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  /** Takes updates for ever; the argument is `datastore.follow(OWNERSHIP_PREFIX, signal)`. */
  async run(updates: AsyncIterable<Update>): Promise<void> {
    for await (const update of updates) this.apply(update);
  }

  apply(update: Update): void {
    if (update.type === 'put') this.take(update.kv.key, update.kv);
    else if (update.type === 'delete') this.take(update.key, undefined);
    else {
      if (update.type === 'inSync') this.synced = true;
      this.tell({ type: update.type });
    }
  }

  /** The node a block belongs to: its confirmed claim, and the block's word for it where there is one. */
  ownerOf(cidr: Prefix): string | undefined {
    const claims = this.claims.get(cidr);
    if (!claims) return undefined;
    const block = this.blocks.get(cidr)?.block;
    if (!block) return claims.size === 1 ? [...claims][0] : undefined;
    const node = block.affinity?.startsWith('host:') ? block.affinity.slice('host:'.length) : undefined;
    return node !== undefined && claims.has(node) ? node : undefined;
  }

  /** Every owned block with its node. */
  *owned(): Generator<readonly [Prefix, string]> {
    for (const cidr of this.claims.keys()) {
      const node = this.ownerOf(cidr);
      if (node !== undefined) yield [cidr, node];
    }
  }

  /** Addresses of a block that are with another node than the block's. */
  borrowed(cidr: Prefix): readonly Borrowed[] {
    const block = this.blocks.get(cidr)?.block;
    if (!block) return [];
    const owner = this.ownerOf(cidr);
    const out: Borrowed[] = [];
    for (const [ordinal, index] of block.allocations.entries()) {
      if (index === null) continue;
      const node = block.attributes[index]!.secondary['node'];
      if (node !== undefined && node !== '' && node !== owner) out.push({ address: addressOf(block, ordinal), node });
    }
    return out;
  }

  /** Every block known, owned or not. */
  allBlocks(): IterableIterator<Prefix> {
    return this.blocks.keys();
  }

  private take(key: string, kv: Parameters<typeof seeBlock>[0]): void {
    const cidr = parseBlockKey(key);
    if (cidr !== undefined) {
      const seen = seeBlock(kv);
      // a broken block keeps its last good form: its addresses are still in use
      if (kv && !seen.block) return;
      if (kv) this.blocks.set(cidr, seen);
      else this.blocks.delete(cidr);
      this.tell({ type: 'block', cidr });
      return;
    }
    const affinity = parseAffinityKey(key);
    if (!affinity?.owner.startsWith('host:')) return;
    const node = affinity.owner.slice('host:'.length);
    const nodes = this.claims.get(affinity.cidr) ?? new Set();
    if (kv && decodeAffinity(kv.value) === 'confirmed') nodes.add(node);
    else nodes.delete(node);
    if (nodes.size > 0) this.claims.set(affinity.cidr, nodes);
    else this.claims.delete(affinity.cidr);
    this.tell({ type: 'block', cidr: affinity.cidr });
  }

  private tell(event: OwnershipEvent): void {
    for (const listener of this.listeners) listener(event);
  }
}
