/**
 * What the decision compares of attribute sets, in flat columns by set id, and how it follows from the attributes and the
 * neighbour that they came from.
 */
import { AttributeType, WellKnownCommunity } from '../wire/mod.ts';
import type { PathAttributes } from '../wire/mod.ts';
import { longer16, longer32, longer8 } from './columns.ts';
import type { NextHops } from './nexthops.ts';
import type { PlainBlock } from './plain.ts';

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

/** Not so few that a table of some thousand routes makes them grow often. */
export const initialSets = 4096;

export abstract class SetColumns {
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
  /** What one set comes to, on its way into the columns. */
  private readonly summary = {
    ...{ origin: 0, pathLength: 0, neighborAs: 0, loops: 0, community: 0, med: -1, localPref: -1, originatorId: -1 },
    ...{ clusterLength: 0, ownCluster: false, nextHop: 0 },
  };
  protected readonly nextHops: NextHops;
  private readonly ownAs: number;
  private readonly routerIdSelf: number;
  private readonly clusterId: number;

  constructor(nextHops: NextHops, ownAs: number, routerId: number, clusterId: number) {
    this.nextHops = nextHops;
    this.ownAs = ownAs;
    this.routerIdSelf = routerId;
    this.clusterId = clusterId;
  }

  /** How many ids there may be. */
  protected abstract get room(): number;

  /** From attributes; `received`: as a neighbour sent them, so that loops count and RFC 8326 is heard. */
  protected describe(id: number, from: SetOrigin, attributes: PathAttributes, received: boolean): void {
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
  protected describePlain(id: number, from: SetOrigin, plain: PlainBlock): void {
    const { summary } = this;
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
    if (this.room > this.peer.length) this.grow(this.room);
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

  private grow(n: number): void {
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
