/**
 * Attribute sets: the path attributes that many routes share, interned per neighbour as the octets they came in. What the
 * decision compares stands in flat columns by set id; everything else is decoded again when somebody looks at it, which
 * for most sets is once, at export.
 *
 * A set made by a policy has no received octets; it is encoded as an iBGP neighbour would have sent it.
 */
import {
  AttributeFlag,
  AttributeType,
  IPV4_UNICAST,
  IPV6_UNICAST,
  RouteSource,
  attributesFit,
  decodeAttributes,
  encodeAttributes,
  isHostAddress,
} from '../wire/mod.ts';
import type { AttributeFault, PathAttributes, ProtocolError } from '../wire/mod.ts';
import type { Family } from '../../net/mod.ts';
import { BytePool } from './bytepool.ts';
import { PlainBlock } from './plain.ts';
import { SetColumns, importRejected, importUnknown, initialSets } from './set-columns.ts';
import type { SetOrigin } from './set-columns.ts';
import {
  contextOf,
  contexts,
  familyOfTag,
  fourOctet,
  internal,
  isMade,
  madeContext,
  peerOfTag,
  sourceOf,
  tagOf,
} from './set-tags.ts';

const none: readonly AttributeFault[] = [];

export interface BadBlock {
  readonly treatment: 'treat-as-withdraw' | 'session-reset';
  readonly faults: readonly AttributeFault[];
  readonly error?: ProtocolError;
}

/** Sets described again in one go: some milliseconds. */
const describeShare = 2048;

export class AttributeSets extends SetColumns {
  readonly pool = new BytePool(initialSets);
  private readonly plain = new PlainBlock();
  /** Sets whose last reference went; freed by `collect`, when nothing can refer to them any more. */
  private unreferenced: number[] = [];
  /** Why the last `intern` gave 0, or which faults it passed over. */
  bad: BadBlock | undefined;
  discarded: readonly AttributeFault[] = none;

  protected override get room(): number {
    return this.pool.capacity;
  }

  get size(): number {
    return this.pool.size;
  }

  get bytes(): number {
    return this.pool.bytes + this.peer.length * 38;
  }

  /**
   * The set of these octets, as `UpdateView.block(source)` gives them, received from `from`. 0 when they are so bad that
   * RFC 7606 wants the routes withdrawn or the session reset: `bad` tells.
   */
  intern(
    from: SetOrigin,
    context: number,
    source: RouteSource,
    family: Family,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): number {
    const id = this.pool.intern(tagOf(from.id, context, source, family), bytes, start, end);
    this.discarded = none;
    if (!this.pool.created) return id;
    if (family === 4 && (context & fourOctet) !== 0 && source === RouteSource.Nlri) {
      if (this.plain.scan(bytes, start, end, (context & internal) === 0)) {
        this.describePlain(id, from, this.plain);
        return id;
      }
    }
    const outcome = decodeAttributes(bytes, start, end, source, contexts[context]!);
    if (outcome.treatment === 'treat-as-withdraw' || outcome.treatment === 'session-reset') {
      this.pool.free(id);
      this.bad = outcome;
      return 0;
    }
    if (outcome.treatment === 'attribute-discard') this.discarded = outcome.faults;
    this.describe(id, from, outcome.attributes, true);
    return id;
  }

  /** The set of these attributes, as made by a policy or by this speaker; 0 when no message could carry them. */
  internAttributes(from: SetOrigin, family: Family, attributes: PathAttributes): number {
    const host = from.kind === 'local' || isHostAddress(attributes.nextHop.address);
    if (!host || !attributesFit(attributes)) return 0;
    const withPref = { ...attributes, localPref: attributes.localPref ?? 100 };
    const encoded = encodeAttributes(withPref, family === 4 ? IPV4_UNICAST : IPV6_UNICAST, contexts[madeContext & 7]!);
    const head = encoded.mpReach;
    let block = encoded.octets;
    if (head) {
      block = new Uint8Array(4 + head.length + encoded.octets.length);
      block[0] = AttributeFlag.Optional | AttributeFlag.ExtendedLength;
      block[1] = AttributeType.MpReachNlri;
      block[2] = head.length >> 8;
      block[3] = head.length;
      block.set(head, 4);
      block.set(encoded.octets, 4 + head.length);
    }
    const source = head ? RouteSource.MpReach : RouteSource.Nlri;
    const id = this.pool.intern(tagOf(from.id, madeContext, source, family), block, 0, block.length);
    if (this.pool.created) {
      this.describe(id, from, withPref, false);
      if (from.kind === 'local') this.own.set(id, withPref);
    }
    return id;
  }

  /** Scans the set's octets; false when they are not plain, so that `attributes` is the way to them. */
  scanPlain(id: number, into: PlainBlock): boolean {
    const tag = this.pool.tags[id]!;
    const context = tag >>> 3;
    if (sourceOf(tag) !== RouteSource.Nlri || (context & fourOctet) === 0 || this.own.has(id)) return false;
    const start = this.pool.offsets[id]!;
    const end = start + this.pool.lengths[id]!;
    return into.scan(this.pool.arena, start, end, (context & internal) === 0);
  }

  /** Attributes of this speaker's own routes, whose next hop, all zeros, no message could carry. */
  private readonly own = new Map<number, PathAttributes>();

  /** The set decoded again. `localPref` is always there: what the decision used. */
  attributes(id: number): PathAttributes {
    return { ...this.decode(id), localPref: this.localPref[id]! };
  }

  private decode(id: number): PathAttributes {
    const own = this.own.get(id);
    if (own) return own;
    const tag = this.pool.tags[id]!;
    const { arena, offsets, lengths } = this.pool;
    const start = offsets[id]!;
    const outcome = decodeAttributes(arena, start, start + lengths[id]!, sourceOf(tag), contextOf(tag));
    if (outcome.treatment !== 'ok' && outcome.treatment !== 'attribute-discard') {
      throw new Error(`attribute set ${id} cannot be decoded any more: ${outcome.faults[0]?.reason}`);
    }
    return outcome.attributes;
  }

  release(id: number): void {
    if (--this.pool.refs[id]! === 0) this.unreferenced.push(id);
  }

  retain(id: number): void {
    this.pool.refs[id]!++;
  }

  /** A set that was interned and perhaps not used: freed by the next `collect` unless it gets a reference. */
  offer(id: number): void {
    if (this.pool.refs[id] === 0) this.unreferenced.push(id);
  }

  /** Frees the sets without references. Only when no best path may still name one; `gone` hears of each. */
  collect(gone: (id: number) => void): void {
    // an import outcome that goes with its set may be the next to go
    for (let i = 0; i < this.unreferenced.length; i++) {
      const id = this.unreferenced[i]!;
      if (this.pool.refs[id] !== 0 || this.pool.tags[id] === 0) continue;
      const imported = this.imported[id]!;
      if (imported !== importUnknown && imported !== importRejected && imported !== id) this.release(imported);
      this.nextHops.release(this.nextHop[id]!);
      gone(id);
      this.own.delete(id);
      this.pool.free(id);
    }
    this.unreferenced = [];
  }

  familyOf(id: number): Family {
    return familyOfTag(this.pool.tags[id]!);
  }

  /** Fills the columns of all sets of this neighbour and family again, after a change of its settings; a share between yields. */
  *redescribe(from: SetOrigin, family: Family): Generator<void> {
    let share = describeShare;
    for (let id = 1; id < this.pool.top; id++) {
      const tag = this.pool.tags[id]!;
      if (tag === 0 || peerOfTag(tag) !== from.id || this.familyOf(id) !== family) continue;
      const imported = this.imported[id]!;
      if (imported !== importUnknown && imported !== importRejected && imported !== id) this.release(imported);
      const nextHop = this.nextHop[id]!;
      const attributes = this.decode(id);
      this.describe(id, from, attributes, !isMade(tag));
      this.nextHops.release(nextHop);
      if (--share > 0) continue;
      yield;
      share = describeShare;
    }
  }
}
