/** The tables as people see them: routes with all their paths and why one of them is best, and what a neighbour was told. */
import { unreachable } from '../../base/mod.ts';
import { addressFromBytes, familyOf } from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import { decodeAttributes, RouteSource } from '../wire/mod.ts';
import type { Decision, DecisionReason } from './decide.ts';
import type { ImportStage } from './importstage.ts';
import type { NextHops } from './nexthops.ts';
import type { Peer } from './peers.ts';
import { loopFlags, SetFlag } from './set-columns.ts';
import type { AttributeSets } from './sets.ts';
import type { FamilyTable } from './table.ts';
import type { AdvertisedView, PathView, PeerId, RouteQuery, RouteView } from './types.ts';

export class Views {
  private readonly tables: { readonly [F in Family]: FamilyTable };
  private readonly sets: AttributeSets;
  private readonly nextHops: NextHops;
  private readonly decision: Decision;
  private readonly imports: ImportStage;
  private readonly peerOf: (id: number) => Peer | undefined;

  constructor(
    tables: { readonly [F in Family]: FamilyTable },
    sets: AttributeSets,
    nextHops: NextHops,
    decision: Decision,
    imports: ImportStage,
    peerOf: (id: number) => Peer | undefined,
  ) {
    this.tables = tables;
    this.sets = sets;
    this.nextHops = nextHops;
    this.decision = decision;
    this.imports = imports;
    this.peerOf = peerOf;
  }

  *routes(query: RouteQuery): Generator<RouteView> {
    for (const family of [4, 6] as const) {
      if (query.family !== undefined && query.family !== family) continue;
      const table = this.tables[family];
      for (const index of indexes(table, query.prefix, query.match ?? 'exact')) {
        if (table.head[index] === 0) continue;
        if (query.receivedFrom !== undefined && table.pathOf(index, query.receivedFrom) === 0) continue;
        yield this.route(table, index, query.receivedFrom);
      }
    }
  }

  private route(table: FamilyTable, index: number, only: PeerId | undefined): RouteView {
    const paths: PathView[] = [];
    const head = table.head[index]!;
    const best = table.best[index]!;
    const multipath = this.decision.multipath(table.paths, head, best);
    for (let path = head; path !== 0; path = table.paths.next[path]!) {
      if (only !== undefined && table.paths.peer[path] !== only) continue;
      paths.push(this.path(table, head, path, best, multipath));
    }
    const rank = { best: 0, multipath: 1, valid: 2, unreachable: 3, rejected: 4, loop: 5 };
    paths.sort((a, b) => rank[a.state] - rank[b.state] || a.peer - b.peer);
    return { prefix: table.prefixes.text(index), paths };
  }

  private path(table: FamilyTable, head: number, path: number, best: number, multipath: readonly number[]): PathView {
    const { sets, decision } = this;
    const receivedSet = table.paths.received[path]!;
    const set = table.paths.accepted[path]!;
    const received = sets.attributes(receivedSet);
    const attributes = set === receivedSet || set === 0 ? received : sets.attributes(set);
    const looped = (sets.flags[receivedSet]! & loopFlags) !== 0;
    let state: PathView['state'];
    if (set === 0) state = looped ? 'loop' : 'rejected';
    else if (!decision.feasible(set)) state = 'unreachable';
    else if (set === best) state = 'best';
    else state = multipath.includes(set) ? 'multipath' : 'valid';
    let reason: DecisionReason;
    let why: string;
    if (state === 'best') {
      const second = decision.runnerUp(table.paths, head, best);
      reason = second === 0 ? 'only-path' : decision.reason(table.paths, head, best, second, best);
      why = second === 0 ? 'the only usable path' : this.explain(reason, best, second);
    } else if (best === 0 || set === 0 || state === 'unreachable') {
      reason = set === 0 ? 'rejected' : 'next-hop-unreachable';
      why = this.whyNot(receivedSet, set);
    } else {
      reason = decision.reason(table.paths, head, best, set, best);
      why = this.explain(reason, set, best);
    }
    return {
      peer: table.paths.peer[path]! as PeerId,
      attributes,
      received,
      state,
      stale: table.paths.stale[path] !== 0,
      reason,
      why,
    };
  }

  private whyNot(received: number, set: number): string {
    const flags = this.sets.flags[received]!;
    if ((flags & SetFlag.AsLoop) !== 0) return 'our own AS is in its AS path';
    if ((flags & SetFlag.ReflectionLoop) !== 0) return 'it was reflected by us before';
    if (set !== 0) return `next hop ${this.nextHops.address(this.sets.nextHop[set]!)} is not reachable`;
    const peer = this.peerOf(this.sets.peer[received]!);
    if (peer && this.imports.leadsHere(received, peer)) return 'its next hop is our own address';
    const policy = peer?.config.families[this.sets.familyOf(received)]?.importPolicy;
    if (peer && this.imports.foreignPath(received, peer)) {
      return `its AS path does not begin with AS ${peer.config.remoteAs} (enforceFirstAs)`;
    }
    return policy ? `import policy ${policy.name} refuses it` : 'there is no import policy (RFC 8212)';
  }

  /** The comparison that decided between two paths, with both values. */
  private explain(reason: DecisionReason, one: number, other: number): string {
    const s = this.sets;
    const number = (column: ArrayLike<number>): string => `${column[one]!} against ${column[other]!}`;
    const med = (set: number): string => ((s.flags[set]! & SetFlag.HasMed) !== 0 ? String(s.med[set]) : 'none');
    switch (reason) {
      case 'weight':
        return `weight ${number(s.weight)}`;
      case 'local-pref':
        return `local preference ${number(s.localPref)}`;
      case 'local-route':
        return 'a route of this speaker against one that was learned';
      case 'as-path-length':
        return `AS path length ${number(s.pathLength)}`;
      case 'origin':
        return `origin ${['IGP', 'EGP', 'incomplete'][s.origin[one]!]} against ${['IGP', 'EGP', 'incomplete'][s.origin[other]!]}`;
      case 'med':
        return `MED ${med(one)} against ${med(other)}, or a lower one from the same neighbouring AS`;
      case 'ebgp-over-ibgp':
        return (s.flags[one]! & SetFlag.Ebgp) !== 0 ? 'eBGP against iBGP' : 'iBGP against eBGP';
      case 'igp-metric':
        return `metric of the next hop ${this.metric(one)} against ${this.metric(other)}`;
      case 'older':
        return 'the one that was best before';
      case 'router-id':
        return `router id ${dotted(s.routerId[one]!)} against ${dotted(s.routerId[other]!)}`;
      case 'cluster-list-length':
        return `cluster list length ${number(s.clusterLength)}`;
      case 'peer-address':
        return `neighbour ${this.peerOf(s.peer[one]!)?.config.address} against ${this.peerOf(s.peer[other]!)?.config.address}`;
      case 'only-path':
      case 'next-hop-unreachable':
      case 'rejected':
        return reason;
      default:
        return unreachable(reason);
    }
  }

  private metric(set: number): number {
    return this.nextHops.metric[this.sets.nextHop[set]!]!;
  }

  *advertised(peer: Peer, family: Family, query: Pick<RouteQuery, 'prefix' | 'match'>): Generator<AdvertisedView> {
    const side = peer.out[family];
    if (!side) return;
    const { table, out, context } = side.group;
    for (const index of indexes(table, query.prefix, query.match ?? 'exact')) {
      const id = out.get(index);
      if (id === 0 || out.source(id) === peer.id) continue;
      const encoded = out.encoded(id);
      const block = encoded.mpReach
        ? Uint8Array.of(
            0x90,
            14,
            encoded.mpReach.length >> 8,
            encoded.mpReach.length,
            ...encoded.mpReach,
            ...encoded.octets,
          )
        : encoded.octets;
      const source = encoded.mpReach ? RouteSource.MpReach : RouteSource.Nlri;
      // the neighbour reads it as we would read what it sends: the session's properties hold both ways
      const outcome = decodeAttributes(block, 0, block.length, source, context);
      if (!('attributes' in outcome)) throw new Error(`an announcement of ours is bad: ${outcome.faults[0]?.reason}`);
      yield { prefix: table.prefixes.text(index), attributes: outcome.attributes, from: out.source(id) as PeerId };
    }
  }
}

function* indexes(table: FamilyTable, prefix: Prefix | undefined, match: 'exact' | 'within' | 'covering') {
  if (prefix === undefined) {
    for (let index = 1; index < table.prefixes.top; index++) if (table.prefixes.isUsed(index)) yield index;
  } else if (familyOf(prefix) === table.family) yield* table.prefixes.matching(prefix, match);
}

const dotted = (id: number): string => addressFromBytes(Uint8Array.of(id >>> 24, id >>> 16, id >>> 8, id));
