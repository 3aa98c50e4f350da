/**
 * Attribute sets: the path attributes that many routes share, interned per neighbour as the octets they came in. What the
 * decision compares stands in flat columns by set id; everything else is decoded again when somebody looks at it, which
 * for most sets is once, at export.
 *
 * A set made by a policy has no received octets; it is encoded as an iBGP neighbour would have sent it.
 */
import {
  Afi,
  AttributeFlag,
  AttributeType,
  IPV4_UNICAST,
  IPV6_UNICAST,
  RouteSource,
  WellKnownCommunity,
  decodeAttributes,
  encodeAttributes,
} from '../wire/mod.ts';
import type { AttributeFault, PathAttributes, ProtocolError, SessionContext } from '../wire/mod.ts';
import type { Family } from '../../net/mod.ts';
import { BytePool } from './bytepool.ts';
import type { NextHops } from './nexthops.ts';

export const SetFlag = {
  Ebgp: 1,
  Local: 2,
  HasMed: 4,
  NoAdvertise: 8,
  NoExport: 16,
  /** Our own AS stands in the path more often than allowed, RFC 4271 §9.1.2. */
  AsLoop: 32,
  /** ORIGINATOR_ID is ours, or our cluster is in CLUSTER_LIST, RFC 4456 §8. */
  ReflectionLoop: 64,
} as const;
export const loopFlags = SetFlag.AsLoop | SetFlag.ReflectionLoop;

/** What the sets need to know of the neighbour they came from. */
export interface SetOrigin {
  readonly id: number;
  readonly kind: 'ebgp' | 'ibgp' | 'local';
  readonly weight: number;
  /** The peer's BGP Identifier, for paths without ORIGINATOR_ID. */
  readonly routerId: number;
  readonly localAs: number;
  readonly allowAsIn: number;
}

/** Not evaluated yet, refused, or a set id: what the import policy of the set's neighbour made of it. */
export const importUnknown = 0;
export const importRejected = 0xffffffff;

/** How the octets of a set are to be read: the properties of a session that `decodeAttributes` depends on. */
const contexts: SessionContext[] = [];
for (let i = 0; i < 8; i++) {
  const both = new Set([IPV4_UNICAST, IPV6_UNICAST]);
  const none = new Set<typeof IPV4_UNICAST>();
  contexts.push({
    fourOctetAs: (i & 1) !== 0,
    extendedMessages: true,
    peerType: i & 2 ? 'internal' : 'external',
    families: both,
    extendedNextHop: i & 4 ? both : none,
    addPathReceive: none,
    addPathSend: none,
  });
}
const internalContext = 7;

/** The index that stands for this context in a set's tag. */
export function contextIndex(context: SessionContext): number {
  return (
    (context.fourOctetAs ? 1 : 0) |
    (context.peerType === 'internal' ? 2 : 0) |
    (context.extendedNextHop.has(IPV4_UNICAST) ? 4 : 0)
  );
}

export interface BadBlock {
  readonly treatment: 'treat-as-withdraw' | 'session-reset';
  readonly faults: readonly AttributeFault[];
  readonly error?: ProtocolError;
}

export class AttributeSets {
  readonly pool = new BytePool();
  peer = new Uint16Array(64);
  flags = new Uint8Array(64);
  origin = new Uint8Array(64);
  pathLength = new Uint16Array(64);
  clusterLength = new Uint16Array(64);
  nextHop = new Uint32Array(64);
  localPref = new Uint32Array(64);
  med = new Uint32Array(64);
  neighborAs = new Uint32Array(64);
  routerId = new Uint32Array(64);
  weight = new Uint32Array(64);
  /** The outcome of the import policy, when it does not look at prefixes. Holds a reference if it is another set. */
  imported = new Uint32Array(64);
  private readonly nextHops: NextHops;
  private readonly ownAs: number;
  private readonly routerIdSelf: number;
  private readonly clusterId: number;
  /** Sets whose last reference went; freed by `collect`, when nothing can refer to them any more. */
  private unreferenced: number[] = [];
  /** Why the last `intern` gave 0, or which faults it passed over. */
  bad: BadBlock | undefined;
  discarded: readonly AttributeFault[] | undefined;

  constructor(nextHops: NextHops, ownAs: number, routerId: number, clusterId: number) {
    this.nextHops = nextHops;
    this.ownAs = ownAs;
    this.routerIdSelf = routerId;
    this.clusterId = clusterId;
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
    if (!this.pool.created) return id;
    const outcome = decodeAttributes(bytes, start, end, source, contexts[context]!);
    if (outcome.treatment === 'treat-as-withdraw' || outcome.treatment === 'session-reset') {
      this.pool.free(id);
      this.bad = outcome;
      return 0;
    }
    this.discarded = outcome.treatment === 'attribute-discard' ? outcome.faults : undefined;
    this.describe(id, from, outcome.attributes, true);
    return id;
  }

  /** The set of these attributes, as made by a policy or by this speaker. */
  internAttributes(from: SetOrigin, family: Family, attributes: PathAttributes): number {
    const withPref = { ...attributes, localPref: attributes.localPref ?? 100 };
    const encoded = encodeAttributes(withPref, family === 4 ? IPV4_UNICAST : IPV6_UNICAST, contexts[internalContext]!);
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
    const id = this.pool.intern(tagOf(from.id, internalContext, source, family), block, 0, block.length);
    if (this.pool.created) this.describe(id, from, withPref, false);
    return id;
  }

  /** Decodes the set again. `localPref` is always there: what the decision used. */
  attributes(id: number): PathAttributes {
    const tag = this.pool.tags[id]!;
    const block = this.pool.view(id);
    const outcome = decodeAttributes(block, 0, block.length, sourceOf(tag), contexts[(tag >>> 3) & 7]!);
    if (outcome.treatment !== 'ok' && outcome.treatment !== 'attribute-discard') {
      throw new Error(`attribute set ${id} cannot be decoded any more: ${outcome.faults[0]?.reason}`);
    }
    return { ...outcome.attributes, localPref: this.localPref[id]! };
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
      this.pool.free(id);
    }
    this.unreferenced = [];
  }

  /** Fills the columns; the one place where attributes become what the decision compares. */
  private describe(id: number, from: SetOrigin, attributes: PathAttributes, received: boolean): void {
    if (this.pool.capacity > this.peer.length) this.grow();
    const { asPath, communities } = attributes;
    let flags = from.kind === 'ebgp' ? SetFlag.Ebgp : from.kind === 'local' ? SetFlag.Local : 0;
    let localPref = attributes.localPref ?? 100;
    for (let i = 0; i < communities.length; i++) {
      const community = communities[i]!;
      if (community < 0xffff0000) continue;
      if (community === WellKnownCommunity.NoAdvertise) flags |= SetFlag.NoAdvertise;
      else if (community === WellKnownCommunity.NoExport || community === WellKnownCommunity.NoExportSubconfed) {
        flags |= SetFlag.NoExport;
      } else if (received && community === WellKnownCommunity.GracefulShutdown && from.kind === 'ebgp') {
        localPref = 0; // RFC 8326 §4.1
      }
    }
    let length = 0;
    let loops = 0;
    for (let i = 0; i < asPath.length; i++) {
      const segment = asPath[i]!;
      length += segment.type === 1 ? 1 : segment.asns.length; // RFC 4271 §9.1.2.2 (a)
      for (let j = 0; j < segment.asns.length; j++) {
        if (segment.asns[j] === from.localAs || segment.asns[j] === this.ownAs) loops++;
      }
    }
    if (received && loops > from.allowAsIn) flags |= SetFlag.AsLoop;
    if (received && from.kind === 'ibgp') {
      if (attributes.originatorId === this.routerIdSelf || attributes.clusterList.includes(this.clusterId)) {
        flags |= SetFlag.ReflectionLoop;
      }
    }
    if (attributes.med !== undefined) flags |= SetFlag.HasMed;
    const first = asPath[0];
    this.peer[id] = from.id;
    this.flags[id] = flags;
    this.origin[id] = attributes.origin;
    this.pathLength[id] = length;
    this.clusterLength[id] = attributes.clusterList.length;
    this.nextHop[id] = this.nextHops.acquire(attributes.nextHop.address);
    this.localPref[id] = localPref;
    this.med[id] = attributes.med ?? 0;
    this.neighborAs[id] = first?.type === 2 ? first.asns[0]! : 0;
    this.routerId[id] = attributes.originatorId ?? from.routerId;
    this.weight[id] = from.weight;
    this.imported[id] = importUnknown;
  }

  familyOf(id: number): Family {
    return this.pool.tags[id]! & 4 ? 6 : 4;
  }

  private grow(): void {
    const n = this.pool.capacity;
    const u16 = (old: Uint16Array): Uint16Array => {
      const grown = new Uint16Array(n);
      grown.set(old);
      return grown;
    };
    const u32 = (old: Uint32Array): Uint32Array => {
      const grown = new Uint32Array(n);
      grown.set(old);
      return grown;
    };
    const u8 = (old: Uint8Array): Uint8Array => {
      const grown = new Uint8Array(n);
      grown.set(old);
      return grown;
    };
    this.peer = u16(this.peer);
    this.flags = u8(this.flags);
    this.origin = u8(this.origin);
    this.pathLength = u16(this.pathLength);
    this.clusterLength = u16(this.clusterLength);
    this.nextHop = u32(this.nextHop);
    this.localPref = u32(this.localPref);
    this.med = u32(this.med);
    this.neighborAs = u32(this.neighborAs);
    this.routerId = u32(this.routerId);
    this.weight = u32(this.weight);
    this.imported = u32(this.imported);
  }
}

/** peer (16) | context (3) | IPv6 (1) | source (2); never 0, as a source is never None. */
function tagOf(peer: number, context: number, source: RouteSource, family: Family): number {
  return (peer << 6) | (context << 3) | (family === 6 ? Afi.IPv6 << 1 : 0) | source;
}
const sourceOf = (tag: number): RouteSource => (tag & 3) as RouteSource;
