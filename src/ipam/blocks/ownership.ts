/**
 * Who owns which part of the address space: the blocks of nodes, and the single addresses that nodes borrowed from
 * blocks of others. Kept up to date from the datastore's updates; what routes and announcements are made from. Only
 * confirmed claims whose block agrees count: a half-done claim must not draw traffic.
 */
import { TextMap } from '../../base/mod.ts';
import type { Update } from '../../datastore/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { addressOf } from './block.ts';
import { readDigest } from './digest.ts';
import type { Digest } from './digest.ts';
import { parseAffinityKey, parseBlockKey } from './keys.ts';
import { decodeAffinity } from './records.ts';

/** The part of the datastore to follow. */
export const OWNERSHIP_PREFIX = '/calico/ipam/v2/';

export interface Borrowed {
  readonly address: IpAddress;
  readonly node: string;
}
export type OwnershipEvent = { readonly type: 'block'; readonly cidr: Prefix } | { readonly type: 'inSync' | 'stale' };

/**
 * What is kept of a block and its claims: some hundred bytes, where the block itself has kilobytes, because there may be
 * 20,000 of them.
 */
interface Entry {
  readonly cidr: Prefix;
  /** Confirmed claims. More than one only while a claim moves. */
  claims: readonly string[];
  /** undefined when there is no block, or none that could be read. */
  block: Digest | undefined;
}
const nobody: readonly string[] = [];

export class Ownership {
  private readonly entries = new TextMap<Prefix, Entry>();
  /** A node's name and its list of one claim, each kept once however many blocks the node has. */
  private readonly nodes = new TextMap<string, readonly string[]>();
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
    const entry = this.entries.get(cidr);
    return entry && ownerOf(entry);
  }

  /** Every owned block with its node. */
  *owned(): Generator<readonly [Prefix, string]> {
    for (const [cidr, entry] of this.entries) {
      const node = ownerOf(entry);
      if (node !== undefined) yield [cidr, node];
    }
  }

  /** Addresses of a block that are with another node than the block's. */
  borrowed(cidr: Prefix): readonly Borrowed[] {
    const entry = this.entries.get(cidr);
    if (!entry?.block) return [];
    const { node: self, own, others } = entry.block;
    const owner = ownerOf(entry);
    const out: Borrowed[] = [];
    const add = (node: string, ordinals: string) => {
      for (let i = 0; i < ordinals.length; i++)
        out.push({ address: addressOf({ cidr }, ordinals.charCodeAt(i)), node });
    };
    if (self !== undefined && self !== owner) add(self, own);
    for (const [node, ordinals] of others ?? []) if (node !== owner) add(node, ordinals);
    return out;
  }

  /** Every block known, owned or not. */
  *allBlocks(): Generator<Prefix> {
    for (const [cidr, { block }] of this.entries) if (block) yield cidr;
  }

  private take(key: string, kv: { readonly value: string } | undefined): void {
    const cidr = parseBlockKey(key);
    if (cidr !== undefined) {
      const block = kv && readDigest(kv.value, cidr);
      // a broken block keeps its last good form: its addresses are still in use
      if (block?.ok !== false) this.change(cidr, (entry) => (entry.block = block && this.kept(block.value)));
      return;
    }
    const affinity = parseAffinityKey(key);
    if (!affinity?.owner.startsWith('host:')) return;
    const [node, alone] = this.known(affinity.owner.slice('host:'.length));
    const confirmed = kv !== undefined && decodeAffinity(kv.value) === 'confirmed';
    this.change(affinity.cidr, (entry) => {
      const others = entry.claims.filter((other) => other !== node);
      if (others.length > 0) entry.claims = confirmed ? [...others, node] : others;
      else entry.claims = confirmed ? alone : nobody;
    });
  }

  private change(cidr: Prefix, change: (entry: Entry) => void): void {
    const entry = this.entries.get(cidr) ?? { cidr, claims: nobody, block: undefined };
    change(entry);
    if (entry.block || entry.claims.length > 0) this.entries.set(entry.cidr, entry);
    else this.entries.delete(cidr);
    this.tell({ type: 'block', cidr: entry.cidr });
  }

  private tell(event: OwnershipEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  /** The same with names of nodes that are kept once. */
  private kept({ node, own, others }: Digest): Digest {
    return {
      node: node === undefined ? undefined : this.known(node)[0],
      own,
      others: others && new Map([...others].map(([other, ordinals]) => [this.known(other)[0], ordinals])),
    };
  }

  private known(node: string): readonly [string, readonly string[]] {
    let alone = this.nodes.get(node);
    if (!alone) {
      alone = [node];
      this.nodes.set(node, alone);
    }
    return [alone[0]!, alone];
  }
}

function ownerOf({ claims, block }: Entry): string | undefined {
  if (!block) return claims.length === 1 ? claims[0] : undefined;
  return block.node !== undefined && claims.includes(block.node) ? block.node : undefined;
}
