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
  WellKnownCommunity,
  decodeAttributes,
  encodeAttributes,
} from '../wire/mod.ts';
import type { AttributeFault, PathAttributes, ProtocolError, SessionContext } from '../wire/mod.ts';
import type { Family } from '../../net/mod.ts';
import { longer16, longer32, longer8 } from './columns.ts';
import { BytePool } from './bytepool.ts';
import type { NextHops } from './nexthops.ts';
import { PlainBlock } from './plain.ts';

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
  /** Where its link-local next hops are. */
  readonly device: string | undefined;
  readonly localAs: number;
  readonly allowAsIn: number;
  /** RFC 8326: its routes with GRACEFUL_SHUTDOWN get local preference 0. */
  readonly honorGracefulShutdown: boolean;
}

/** Not evaluated yet, refused, or a set id: what the import policy of the set's neighbour made of it. */
export const importUnknown = 0;
export const importRejected = 0xffffffff;

/** How the octets of a set are to be read: the properties of a session that `decodeAttributes` depends on. */
const contexts: SessionContext[] = [];
const fourOctet = 1;
const internal = 2;
const mixedNextHop = 4;
for (let i = 0; i < 8; i++) {
  const both = new Set([IPV4_UNICAST, IPV6_UNICAST]);
  const none = new Set<typeof IPV4_UNICAST>();
  contexts.push({
    fourOctetAs: (i & fourOctet) !== 0,
    extendedMessages: true,
    peerType: i & internal ? 'internal' : 'external',
    families: both,
    extendedNextHop: i & mixedNextHop ? both : none,
    addPathReceive: none,
    addPathSend: none,
  });
}
/** Sets made here, by a policy or of our own routes: as an iBGP neighbour that knows everything would send them. */
const madeContext = 15;

/** The index that stands for this context in a set's tag. */
export function contextIndex(context: SessionContext): number {
  return (
    (context.fourOctetAs ? fourOctet : 0) |
    (context.peerType === 'internal' ? internal : 0) |
    (context.extendedNextHop.has(IPV4_UNICAST) ? mixedNextHop : 0)
  );
}

/** Beside the flags of sets. */
const gracefulShutdown = 256;

function communityFlag(community: number): number {
  switch (community) {
    case WellKnownCommunity.NoAdvertise:
      return SetFlag.NoAdvertise;
    case WellKnownCommunity.NoExport:
    case WellKnownCommunity.NoExportSubconfed:
      return SetFlag.NoExport;
    case WellKnownCommunity.GracefulShutdown:
      return gracefulShutdown;
    default:
      return 0;
  }
}

const none: readonly AttributeFault[] = [];

export interface BadBlock {
  readonly treatment: 'treat-as-withdraw' | 'session-reset';
  readonly faults: readonly AttributeFault[];
  readonly error?: ProtocolError;
}

/** Sets described again in one go: some milliseconds. */
const describeShare = 2048;

/** Not so few that a table of some thousand routes makes them grow often. */
const initialSets = 4096;

export class AttributeSets {
  readonly pool = new BytePool(initialSets);
  peer = new Uint16Array(initialSets);
  flags = new Uint8Array(initialSets);
  origin = new Uint8Array(initialSets);
  pathLength = new Uint16Array(initialSets);
  clusterLength = new Uint16Array(initialSets);
  nextHop = new Uint32Array(initialSets);
  localPref = new Uint32Array(initialSets);
  med = new Uint32Array(initialSets);
  neighborAs = new Uint32Array(initialSets);
  routerId = new Uint32Array(initialSets);
  weight = new Uint32Array(initialSets);
  /** The outcome of the import policy, when it does not look at prefixes. Holds a reference if it is another set. */
  imported = new Uint32Array(initialSets);
  private readonly plain = new PlainBlock();
  private readonly summary = {
    ...{ origin: 0, pathLength: 0, neighborAs: 0, loops: 0, community: 0, med: -1, localPref: -1, originatorId: -1 },
    ...{ clusterLength: 0, ownCluster: false, nextHop: 0 },
  };
  private readonly nextHops: NextHops;
  private readonly ownAs: number;
  private readonly routerIdSelf: number;
  private readonly clusterId: number;
  /** Sets whose last reference went; freed by `collect`, when nothing can refer to them any more. */
  private unreferenced: number[] = [];
  /** Why the last `intern` gave 0, or which faults it passed over. */
  bad: BadBlock | undefined;
  discarded: readonly AttributeFault[] = none;

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
    this.discarded = none;
    if (!this.pool.created) return id;
    if (family === 4 && (context & fourOctet) !== 0 && source === RouteSource.Nlri) {
      if (this.plain.scan(bytes, start, end, (context & internal) === 0)) {
        this.describePlain(id, from);
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

  /** The set of these attributes, as made by a policy or by this speaker. */
  internAttributes(from: SetOrigin, family: Family, attributes: PathAttributes): number {
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
    const outcome = decodeAttributes(arena, start, start + lengths[id]!, sourceOf(tag), contexts[(tag >>> 3) & 7]!);
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

  private describe(id: number, from: SetOrigin, attributes: PathAttributes, received: boolean): void {
    const { asPath, communities } = attributes;
    const { summary } = this;
    summary.community = 0;
    for (let i = 0; i < communities.length; i++) summary.community |= communityFlag(communities[i]!);
    summary.pathLength = 0;
    summary.loops = 0;
    for (let i = 0; i < asPath.length; i++) {
      const segment = asPath[i]!;
      summary.pathLength += segment.type === 1 ? 1 : segment.asns.length; // RFC 4271 §9.1.2.2 (a)
      for (let j = 0; j < segment.asns.length; j++) {
        if (segment.asns[j] === from.localAs || segment.asns[j] === this.ownAs) summary.loops++;
      }
    }
    const first = asPath[0];
    summary.neighborAs = first?.type === 2 ? first.asns[0]! : 0;
    summary.origin = attributes.origin;
    summary.med = attributes.med ?? -1;
    summary.localPref = attributes.localPref ?? -1;
    summary.originatorId = attributes.originatorId ?? -1;
    summary.clusterLength = attributes.clusterList.length;
    summary.ownCluster = attributes.clusterList.includes(this.clusterId);
    summary.nextHop = this.nextHops.acquire(attributes.nextHop.address, from.device);
    this.fill(id, from, received);
  }

  /** The same from a plain block. */
  private describePlain(id: number, from: SetOrigin): void {
    const { plain, summary } = this;
    const { at, size } = plain;
    summary.community = 0;
    const communities = at[AttributeType.Communities]!;
    if (communities !== 0) {
      const end = communities + size[AttributeType.Communities]!;
      for (let p = communities; p < end; p += 4) {
        // the well-known ones all begin with 0xffff
        if (plain.bytes[p] === 0xff) summary.community |= communityFlag(plain.u32(p));
      }
    }
    summary.pathLength = plain.pathLength;
    summary.loops = 0;
    for (let i = 0; i < plain.pathLength; i++) {
      const asn = plain.asn(i);
      if (asn === from.localAs || asn === this.ownAs) summary.loops++;
    }
    summary.neighborAs = plain.pathLength === 0 ? 0 : plain.asn(0);
    summary.origin = plain.bytes[at[AttributeType.Origin]!]!;
    summary.med = plain.number(AttributeType.MultiExitDisc);
    summary.localPref = plain.number(AttributeType.LocalPref);
    summary.originatorId = plain.number(AttributeType.OriginatorId);
    summary.clusterLength = 0;
    summary.ownCluster = false;
    const clusters = at[AttributeType.ClusterList]!;
    if (clusters !== 0) {
      summary.clusterLength = size[AttributeType.ClusterList]! / 4;
      for (let i = 0; i < summary.clusterLength; i++)
        summary.ownCluster ||= plain.u32(clusters + 4 * i) === this.clusterId;
    }
    summary.nextHop = this.nextHops.acquire4(plain.number(AttributeType.NextHop));
    this.fill(id, from, true);
  }

  /** Fills the columns; the one place where attributes become what the decision compares. */
  private fill(id: number, from: SetOrigin, received: boolean): void {
    if (this.pool.capacity > this.peer.length) this.grow();
    const { summary } = this;
    let flags = from.kind === 'ebgp' ? SetFlag.Ebgp : from.kind === 'local' ? SetFlag.Local : 0;
    flags |= summary.community & (SetFlag.NoAdvertise | SetFlag.NoExport);
    if (received && summary.loops > from.allowAsIn) flags |= SetFlag.AsLoop;
    if (received && from.kind === 'ibgp' && (summary.ownCluster || summary.originatorId === this.routerIdSelf)) {
      flags |= SetFlag.ReflectionLoop;
    }
    if (summary.med >= 0) flags |= SetFlag.HasMed;
    // RFC 8326 §4.1
    const shutdown = received && from.honorGracefulShutdown && (summary.community & gracefulShutdown) !== 0;
    this.peer[id] = from.id;
    this.flags[id] = flags;
    this.origin[id] = summary.origin;
    this.pathLength[id] = summary.pathLength;
    this.clusterLength[id] = summary.clusterLength;
    this.nextHop[id] = summary.nextHop;
    this.localPref[id] = shutdown ? 0 : summary.localPref < 0 ? 100 : summary.localPref;
    this.med[id] = summary.med < 0 ? 0 : summary.med;
    this.neighborAs[id] = summary.neighborAs;
    this.routerId[id] = summary.originatorId < 0 ? from.routerId : summary.originatorId;
    this.weight[id] = from.weight;
    this.imported[id] = importUnknown;
  }

  familyOf(id: number): Family {
    return this.pool.tags[id]! & 4 ? 6 : 4;
  }

  /** Fills the columns of all sets of this neighbour and family again, after a change of its settings; a share between yields. */
  *redescribe(from: SetOrigin, family: Family): Generator<void> {
    let share = describeShare;
    for (let id = 1; id < this.pool.top; id++) {
      const tag = this.pool.tags[id]!;
      if (tag === 0 || tag >>> 7 !== from.id || this.familyOf(id) !== family) continue;
      const made = (tag & (madeContext << 3)) === madeContext << 3;
      const imported = this.imported[id]!;
      if (imported !== importUnknown && imported !== importRejected && imported !== id) this.release(imported);
      const nextHop = this.nextHop[id]!;
      const attributes = this.decode(id);
      this.describe(id, from, attributes, !made);
      this.nextHops.release(nextHop);
      if (--share > 0) continue;
      yield;
      share = describeShare;
    }
  }

  private grow(): void {
    const n = this.pool.capacity;
    this.peer = longer16(this.peer, n);
    this.flags = longer8(this.flags, n);
    this.origin = longer8(this.origin, n);
    this.pathLength = longer16(this.pathLength, n);
    this.clusterLength = longer16(this.clusterLength, n);
    this.nextHop = longer32(this.nextHop, n);
    this.localPref = longer32(this.localPref, n);
    this.med = longer32(this.med, n);
    this.neighborAs = longer32(this.neighborAs, n);
    this.routerId = longer32(this.routerId, n);
    this.weight = longer32(this.weight, n);
    this.imported = longer32(this.imported, n);
  }
}

/** peer (16) | context (4, the highest: made here) | IPv6 (1) | source (2); never 0, as a source is never None. */
function tagOf(peer: number, context: number, source: RouteSource, family: Family): number {
  return (peer << 7) | (context << 3) | (family === 6 ? 4 : 0) | source;
}
const sourceOf = (tag: number): RouteSource => (tag & 3) as RouteSource;
