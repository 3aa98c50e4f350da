/**
 * What a node last saw of its part of the datastore: its affinities, the blocks it works with, the handles it wrote.
 * Each with etcd's revision, so that a transaction can say "if it is still so". Being wrong costs a round trip, never an
 * address.
 */
import type { KeyValue } from '../../datastore/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import { decodeBlock } from './block.ts';
import type { Block } from './block.ts';
import { parseAffinityKey, parseBlockKey, parseHandleKey } from './keys.ts';
import type { Owner } from './keys.ts';
import { decodeAffinity, decodeHandle } from './records.ts';
import type { AffinityState, HandleCounts } from './records.ts';

export interface SeenBlock {
  /** undefined when there is none, or when it is broken. */
  readonly block: Block | undefined;
  readonly fault?: string | undefined;
  /** 0 when there is none. */
  readonly revision: number;
}
export interface SeenAffinity {
  /** undefined for a record that cannot be read; it is treated like a pending one. */
  readonly state: AffinityState | undefined;
  readonly revision: number;
}
export interface SeenHandle {
  readonly counts: HandleCounts;
  readonly revision: number;
}

export function seeBlock(kv: KeyValue | undefined): SeenBlock {
  if (!kv) return { block: undefined, revision: 0 };
  const decoded = decodeBlock(kv.value);
  return decoded.ok
    ? { block: decoded.value, revision: kv.modRevision }
    : { block: undefined, fault: decoded.error, revision: kv.modRevision };
}

export class Cache {
  readonly owner: Owner;
  readonly blocks = new Map<Prefix, SeenBlock>();
  /** The owner's own. */
  readonly affinities = new Map<Prefix, SeenAffinity>();
  readonly handles = new Map<string, SeenHandle>();
  /** Handles that must be read before anything is concluded: the outcome of a write is not known. */
  readonly unsure = new Set<string>();
  /** Other programs' keys that a transaction wanted absent and found present. */
  readonly present = new Set<string>();
  /** Whether `affinities` is a whole list. */
  loaded = false;

  constructor(owner: Owner) {
    this.owner = owner;
  }

  /** Takes what the datastore holds at `key`, undefined when that is nothing. */
  absorb(key: string, kv: KeyValue | undefined): void {
    const cidr = parseBlockKey(key);
    if (cidr !== undefined) {
      this.blocks.set(cidr, seeBlock(kv));
      return;
    }
    const affinity = parseAffinityKey(key);
    if (affinity) {
      if (affinity.owner !== this.owner) return;
      if (kv) this.affinities.set(affinity.cidr, { state: decodeAffinity(kv.value), revision: kv.modRevision });
      else this.affinities.delete(affinity.cidr);
      return;
    }
    const handle = parseHandleKey(key);
    if (handle === undefined) return;
    this.unsure.delete(handle);
    this.handles.set(handle, { counts: kv ? decodeHandle(kv.value) : new Map(), revision: kv?.modRevision ?? 0 });
  }

  /** After a write nobody knows the outcome of. */
  forget(keys: Iterable<string>): void {
    for (const key of keys) {
      const cidr = parseBlockKey(key);
      if (cidr !== undefined) this.blocks.delete(cidr);
      else if (parseAffinityKey(key)) this.loaded = false;
      const handle = parseHandleKey(key);
      if (handle === undefined) continue;
      this.handles.delete(handle);
      this.unsure.add(handle);
    }
  }
}
