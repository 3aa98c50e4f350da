/**
 * Who owns which part of the address space: the blocks of nodes, and the single addresses that nodes borrowed from
 * blocks of others. Kept up to date from the datastore's updates; what routes and announcements are made from. Only
 * confirmed claims whose block agrees count: a half-done claim must not draw traffic.
 */
import type { Update } from '../../datastore/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { addressOf, decodeBlock } from './block.ts';
import type { Block } from './block.ts';
import { parseAffinityKey, parseBlockKey } from './keys.ts';
import { decodeAffinity } from './records.ts';

/** The part of the datastore to follow. */
export const OWNERSHIP_PREFIX = '/calico/ipam/v2/';

export interface Borrowed {
  readonly address: IpAddress;
  readonly node: string;
}
export type OwnershipEvent = { readonly type: 'block'; readonly cidr: Prefix } | { readonly type: 'inSync' | 'stale' };

/** What is kept of a block: a few words, where the block itself is some kilobytes. There may be 20,000 of them. */
interface Digest {
  readonly affinity: string | undefined;
  /** Ordinals in use, by the node they are with. */
  readonly users: ReadonlyMap<string, readonly number[]>;
}

export class Ownership {
  private readonly blocks = new Map<Prefix, Digest>();
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
    const block = this.blocks.get(cidr);
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
    const owner = this.ownerOf(cidr);
    const out: Borrowed[] = [];
    for (const [node, ordinals] of this.blocks.get(cidr)?.users ?? []) {
      if (node === owner) continue;
      for (const ordinal of ordinals) out.push({ address: addressOf({ cidr }, ordinal), node });
    }
    return out;
  }

  /** Every block known, owned or not. */
  allBlocks(): IterableIterator<Prefix> {
    return this.blocks.keys();
  }

  private take(key: string, kv: { readonly value: string } | undefined): void {
    const cidr = parseBlockKey(key);
    if (cidr !== undefined) {
      const block = kv && decodeBlock(kv.value);
      // a broken block keeps its last good form: its addresses are still in use
      if (block?.ok === false) return;
      if (block) this.blocks.set(cidr, digestOf(block.value));
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

const nobody: Digest['users'] = new Map();

function digestOf({ affinity, allocations, attributes }: Block): Digest {
  let users: Map<string, number[]> | undefined;
  for (const [ordinal, index] of allocations.entries()) {
    const node = index === null ? undefined : attributes[index]!.secondary['node'];
    if (node === undefined || node === '') continue;
    users ??= new Map();
    const ordinals = users.get(node);
    if (ordinals) ordinals.push(ordinal);
    else users.set(node, [ordinal]);
  }
  return { affinity, users: users ?? nobody };
}
