/**
 * Adj-RIB-Out of an update group: for each prefix the attributes announced, already encoded. Those are interned, so that
 * a best path that changes into one that looks the same from outside announces nothing.
 */
import { Writer } from '../../base/mod.ts';
import type { Family } from '../../net/mod.ts';
import { encodeAttributes } from '../wire/mod.ts';
import type { AfiSafi, EncodedAttributes, PathAttributes } from '../wire/mod.ts';
import { BytePool } from './bytepool.ts';
import { longer32 } from './columns.ts';
import { afiSafiOf, mayExport, outbound, ownAttributes } from './outbound.ts';
import type { ExportRules, RouteOrigin } from './outbound.ts';
import { PlainBlock } from './plain.ts';
import { plainOutbound, plainRules } from './plain-outbound.ts';
import type { AttributeSets } from './sets.ts';
import type { FamilyTable } from './table.ts';

export const refused = 0xffffffff;
/** Room that at least one prefix needs beside the attributes: header, two lengths, MP_REACH header, longest prefix. */
const messageOverhead = 19 + 4 + 4 + 21;

const scratch = new Writer(4096);
const block = new PlainBlock();

export class OutTable {
  readonly family: Family;
  readonly afiSafi: AfiSafi;
  /** Undefined: nothing is announced. */
  readonly rules: ExportRules | undefined;
  /** Prefixes announced. */
  size = 0;
  /** Scratch for the group: by announcement id, the head of a list while a batch is built; all zeros otherwise. */
  heads = new Uint32Array(1024);
  onChange: (index: number) => void = () => {};
  private readonly table: FamilyTable;
  private readonly sets: AttributeSets;
  private readonly originOf: (peer: number) => RouteOrigin;
  /** The announcements: MP_REACH head (its length first), then all other attributes; tagged with the source peer. */
  private readonly pool = new BytePool(1024);
  private entries = new Uint32Array(64);
  private bySource = new Uint32Array(16);
  /** By attribute set: the announcement made of it, `refused`, or 0 for not known yet. Holds a reference. */
  private made = new Uint32Array(64);
  /** The default route we announce whatever the table holds. */
  readonly defaultIndex: number;
  private readonly maxMessage: number;
  private readonly plain: boolean;

  constructor(
    table: FamilyTable,
    sets: AttributeSets,
    rules: ExportRules | undefined,
    maxMessage: number,
    originOf: (peer: number) => RouteOrigin,
  ) {
    this.table = table;
    this.family = table.family;
    this.afiSafi = afiSafiOf(table.family);
    this.sets = sets;
    this.rules = rules;
    this.originOf = originOf;
    this.maxMessage = maxMessage;
    this.plain = rules !== undefined && plainRules(rules);
    this.defaultIndex = rules?.defaultOriginate ? table.insertIndex((p) => p.insert(0, 0, 0, 0, 0)) : 0;
  }

  get bytes(): number {
    return this.entries.byteLength + this.made.byteLength + this.heads.byteLength + this.pool.bytes;
  }

  get attributeSets(): number {
    return this.pool.size;
  }

  /** Makes room for all prefixes there are now. */
  reserve(): void {
    if (this.entries.length < this.table.prefixes.capacity) {
      this.entries = longer32(this.entries, this.table.prefixes.capacity);
    }
  }

  /** The announcement of this prefix, 0 for none. */
  get(index: number): number {
    return this.entries[index] ?? 0;
  }

  /** The peer an announcement's route was learned from. */
  source(id: number): number {
    return this.pool.tags[id]! - 1;
  }

  encoded(id: number): EncodedAttributes {
    const all = this.pool.view(id);
    const head = all[0]!;
    return {
      family: this.afiSafi,
      octets: all.subarray(1 + head),
      mpReach: head === 0 ? undefined : all.subarray(1, 1 + head),
    };
  }

  /** What is to be announced for the prefix whose best path has this attribute set (0: none). */
  choose(index: number, set: number): number {
    if (set === 0) return index === this.defaultIndex && index !== 0 ? this.defaultRoute() : 0;
    let id: number;
    if (this.rules?.policy?.perPrefix) id = this.make(set, index);
    else {
      if (set >= this.made.length) this.growMade(set);
      id = this.made[set]!;
      if (id === 0) {
        id = this.make(set, undefined);
        if (id !== refused) this.pool.refs[id]!++;
        this.made[set] = id;
      }
    }
    if (id !== refused) return id;
    return index === this.defaultIndex && index !== 0 ? this.defaultRoute() : 0;
  }

  set(index: number, id: number, tell: boolean): void {
    const { refs } = this.pool;
    const old = this.entries[index]!;
    if (id !== 0) {
      refs[id]!++;
      if (old === 0) this.size++;
      this.count(this.source(id), 1);
    } else this.size--;
    this.entries[index] = id;
    if (old !== 0) {
      this.count(this.source(old), -1);
      this.release(old);
    }
    if (tell) this.onChange(index);
  }

  update(index: number, set: number): void {
    const id = this.choose(index, set);
    if (id !== this.entries[index]) this.set(index, id, true);
  }

  private count(source: number, by: 1 | -1): void {
    if (source >= this.bySource.length)
      this.bySource = longer32(this.bySource, Math.max(source + 1, 2 * this.bySource.length));
    this.bySource[source]! += by;
  }

  /** How many of the prefixes announced were learned from this peer, and so are not announced to it. */
  learnedFrom(peer: number): number {
    return this.bySource[peer] ?? 0;
  }

  forEach(top: number, visit: (index: number) => void): void {
    const end = Math.min(top, this.entries.length);
    for (let index = 1; index < end; index++) if (this.entries[index] !== 0) visit(index);
  }

  /** An attribute set is gone: forget what was made of it. */
  setGone(set: number): void {
    const id = this.made[set];
    if (id === undefined || id === 0) return;
    this.made[set] = 0;
    if (id !== refused) this.release(id);
  }

  /** Forgets what was made of all sets. */
  again(): void {
    for (let set = 0; set < this.made.length; set++) this.setGone(set);
  }

  clear(): void {
    this.entries = new Uint32Array(64);
    this.made = new Uint32Array(64);
    this.bySource = new Uint32Array(16);
    this.size = 0;
  }

  private release(id: number): void {
    if (--this.pool.refs[id]! === 0) this.pool.free(id);
  }

  private make(set: number, index: number | undefined): number {
    const { sets, rules } = this;
    if (!rules) return refused;
    const peer = sets.peer[set]!;
    const origin = this.originOf(peer);
    if (!mayExport(sets.flags[set]!, origin, rules)) return refused;
    if (this.plain && sets.scanPlain(set, block)) {
      const octets = scratch.reset().u8(0); // no MP_REACH_NLRI
      if (plainOutbound(block, origin, rules, sets.localPref[set]!, octets)) {
        return this.internOctets(peer, octets.bytes, octets.length);
      }
    }
    const prefix = index === undefined ? undefined : this.table.prefixes.text(index);
    const attributes = outbound(sets.attributes(set), origin, rules, prefix);
    if (!attributes) return refused;
    return this.intern(peer, encodeAttributes(attributes, this.afiSafi, rules.context));
  }

  private intern(peer: number, encoded: EncodedAttributes): number {
    const head = encoded.mpReach?.length ?? 0;
    const all = new Uint8Array(1 + head + encoded.octets.length);
    all[0] = head;
    if (encoded.mpReach) all.set(encoded.mpReach, 1);
    all.set(encoded.octets, 1 + head);
    return this.internOctets(peer, all, all.length);
  }

  private internOctets(peer: number, bytes: Uint8Array, length: number): number {
    // RFC 8654 §4: what does not fit the largest message the neighbour takes is not announced to it
    if (length + messageOverhead > this.maxMessage) return refused;
    const id = this.pool.intern(peer + 1, bytes, 0, length);
    if (id >= this.heads.length) {
      this.heads = longer32(this.heads, this.pool.capacity);
    }
    return id;
  }

  private defaultRoute(): number {
    const { rules } = this;
    if (!rules?.self) return 0;
    const external = rules.kind === 'ebgp';
    const attributes: PathAttributes = {
      ...ownAttributes(this.family),
      asPath: external ? [{ type: 2, asns: [rules.localAs] }] : [],
      nextHop: rules.self,
      localPref: external ? undefined : 100,
    };
    const id = this.intern(0, encodeAttributes(attributes, this.afiSafi, rules.context));
    return id === refused ? 0 : id;
  }

  private growMade(set: number): void {
    this.made = longer32(this.made, Math.max(set + 1, this.made.length * 2, this.sets.pool.capacity));
  }
}
