/**
 * The RIB as the speaker sees it: ties the tables of the two families, the attribute sets, the neighbours and the update
 * groups together. See `types.ts` for what each method promises.
 */
import { compareAddresses, familyOf } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import {
  IPV4_UNICAST,
  IPV6_UNICAST,
  RefreshSubtype,
  RouteSource,
  UpdateView,
  decodeAttributes,
  encodeRouteRefresh,
} from '../wire/mod.ts';
import type { AfiSafi, PrefixBuffer } from '../wire/mod.ts';
import { Decision, defaultDecision } from './decide.ts';
import { BestPathFeed } from './feed.ts';
import { UpdateGroups } from './groups.ts';
import { ImportStage } from './importstage.ts';
import { NextHops } from './nexthops.ts';
import { afiSafiOf, ownAttributes } from './outbound.ts';
import { checkLimit, configure, makePeer } from './peers.ts';
import type { Peer } from './peers.ts';
import { AttributeSets } from './sets.ts';
import type { SetOrigin } from './sets.ts';
import { FamilyTable } from './table.ts';
import { localPeer } from './types.ts';
import type {
  AdvertisedView,
  BestFeed,
  LocalRoute,
  PeerConfig,
  PeerCounters,
  PeerId,
  PeerSession,
  ReceiveResult,
  Rib,
  RibOptions,
  RibStats,
  RouteQuery,
  RouteView,
} from './types.ts';
import { Views } from './views.ts';

const families: readonly Family[] = [4, 6];
const okResult: ReceiveResult = { kind: 'ok' };
const familyOfAfi = (family: AfiSafi): Family | undefined =>
  family === IPV4_UNICAST ? 4 : family === IPV6_UNICAST ? 6 : undefined;

export function createRib(options: RibOptions): Rib {
  return new RibCore(options);
}

class RibCore implements Rib {
  private readonly options: RibOptions;
  private readonly clusterId: number;
  private readonly nextHops: NextHops;
  private readonly sets: AttributeSets;
  private readonly tables: { readonly [F in Family]: FamilyTable };
  private readonly decision: Decision;
  private readonly imports: ImportStage;
  private readonly views: Views;
  private readonly peers: (Peer | undefined)[] = [undefined];
  private readonly groups: UpdateGroups;
  private readonly feeds = new Set<BestPathFeed>();
  private readonly view = new UpdateView();
  private readonly self: SetOrigin;
  /** Removed, and still in what was decided or announced. */
  private readonly leaving = new Set<PeerId>();
  /** What has to go through a whole table before anything is decided, a share a turn; by neighbour and family. */
  private readonly passes = new Map<string, Iterator<void>>();
  private deferred = false;
  private announcedWork = false;

  constructor(options: RibOptions) {
    this.options = options;
    this.clusterId = options.clusterId ?? options.routerId;
    this.nextHops = new NextHops(options.resolver);
    this.sets = new AttributeSets(this.nextHops, options.localAs, options.routerId, this.clusterId);
    const decision = { ...defaultDecision, ...options.decision };
    this.decision = new Decision(decision, this.sets, this.nextHops, (a, b) => this.comparePeers(a, b));
    const seed = options.seed ?? 0x5bd1e995;
    this.tables = {
      4: new FamilyTable(4, seed, this.sets, this.decision),
      6: new FamilyTable(6, seed, this.sets, this.decision),
    };
    this.imports = new ImportStage(this.sets, this.nextHops, (id) => this.peers[id], options.localAs);
    this.views = new Views(this.tables, this.sets, this.nextHops, this.decision, this.imports, (id) => this.peers[id]);
    this.self = {
      id: localPeer,
      kind: 'local',
      weight: 0,
      routerId: options.routerId,
      device: undefined,
      localAs: options.localAs,
      allowAsIn: 0,
      honorGracefulShutdown: false,
    };
    this.groups = new UpdateGroups(options, this.clusterId, this.tables, this.sets, (id) => this.peers[id]);
    options.resolver.watch((changed) => this.nextHopsChanged(changed));
  }

  private peer(id: PeerId): Peer {
    const peer = this.peers[id];
    if (!peer) throw new Error(`no peer ${id}`);
    return peer;
  }

  private comparePeers(a: number, b: number): number {
    const x = this.peers[a];
    const y = this.peers[b];
    return (x && y && compareAddresses(x.config.address, y.config.address)) || a - b;
  }

  // --------------------------------------------------------------------------------------------------- neighbours

  addPeer(config: PeerConfig): PeerId {
    if (this.leaving.size > 0 && !this.pending) {
      this.collect(); // sets of the last owner of the number would be taken for the new one's
      this.freeNumbers();
    }
    let id = 1;
    while (this.peers[id]) id++;
    if (id > 0xffff) throw new Error('more than 65535 neighbours');
    this.peers[id] = makePeer(id as PeerId, config);
    for (const family of families) this.tables[family].ensurePeer(id);
    return id as PeerId;
  }

  updatePeer(id: PeerId, config: PeerConfig): void {
    const peer = this.peer(id);
    const before = peer.config;
    configure(peer, config, peer.session);
    const attributesDiffer =
      before.localAs !== config.localAs ||
      before.remoteAs !== config.remoteAs ||
      before.allowAsIn !== config.allowAsIn ||
      before.weight !== config.weight ||
      before.honorGracefulShutdown !== config.honorGracefulShutdown ||
      before.enforceFirstAs !== config.enforceFirstAs ||
      before.localAsNoPrepend !== config.localAsNoPrepend ||
      before.requirePolicy !== config.requirePolicy;
    for (const family of families) {
      const old = before.families[family];
      const now = config.families[family];
      if (attributesDiffer || old?.importPolicy !== now?.importPolicy) this.refreshIn(id, family);
      this.regroup(peer, family);
      this.checkLimits(peer, family);
    }
    // whether its routes are reflected to others depends on this
    if (before.reflectorClient !== config.reflectorClient) this.groups.again();
    this.tellWork();
  }

  removePeer(id: PeerId): void {
    const peer = this.peer(id);
    for (const family of families) {
      this.groups.leave(peer, family);
      this.passes.set(`${id} ${family}`, dropping(this.tables[family], id));
    }
    peer.session = undefined;
    this.leaving.add(id);
    this.tellWork();
  }

  /** Numbers of neighbours that are gone may be used again when nothing refers to them any more. */
  private freeNumbers(): void {
    for (const id of this.leaving) {
      let told = 0;
      for (const group of this.groups.all()) told += group.out.learnedFrom(id);
      if (told > 0) continue;
      this.leaving.delete(id);
      this.peers[id] = undefined;
    }
  }

  sessionUp(id: PeerId, session: PeerSession): void {
    const peer = this.peer(id);
    if (peer.session) this.sessionDown(id, families);
    const before = peer.origin;
    configure(peer, peer.config, session);
    // routes kept from the last session, and sets that are found again, were described with what it was then
    const { routerId, device } = peer.origin;
    if (before.routerId !== 0 && (before.routerId !== routerId || before.device !== device)) {
      for (const family of families) this.refreshIn(id, family);
      this.groups.again(); // ORIGINATOR_ID
    }
    peer.limits.clear();
    for (const family of families) this.regroup(peer, family);
  }

  private regroup(peer: Peer, family: Family): void {
    if (!this.groups.place(peer, family)) return;
    this.checkOut(peer, family); // a group that is there already may have nothing to export any more
    this.tellWork();
    this.tellOutput(peer, family);
  }

  sessionDown(id: PeerId, retain: readonly Family[] = []): void {
    if (this.leaving.has(id)) return; // they go already
    const peer = this.peer(id);
    for (const family of families) {
      this.groups.leave(peer, family);
      const table = this.tables[family];
      if (retain.includes(family)) table.markStale(id);
      else table.dropAll(id, false);
    }
    peer.session = undefined;
    this.tellWork();
  }

  // -------------------------------------------------------------------------------------------------------- input

  receive(id: PeerId, bytes: Uint8Array, start: number, end: number): ReceiveResult {
    const peer = this.peer(id);
    const { session } = peer;
    if (!session) throw new Error(`UPDATE from ${peer.config.name}, which has no session`);
    const { view } = this;
    const fault = view.decode(bytes, start, end, session.context);
    if (fault) return { kind: 'reset', error: fault };
    let result = okResult;
    if (view.withdrawn.count > 0) this.tables[4].withdraw(id, view.withdrawn);
    if (view.mpWithdrawn.count > 0) this.tableOf(view.mpWithdrawn).withdraw(id, view.mpWithdrawn);
    if (view.nlri.count > 0) result = this.announced(peer, RouteSource.Nlri, view.nlri);
    if (view.mpNlri.count > 0) result = worse(result, this.announced(peer, RouteSource.MpReach, view.mpNlri));
    if (view.attributesWithoutRoutes) {
      view.block(RouteSource.None);
      const { blockBytes, blockStart, blockEnd } = view;
      const outcome = decodeAttributes(blockBytes, blockStart, blockEnd, RouteSource.None, session.context);
      if (outcome.treatment === 'session-reset') result = { kind: 'reset', error: outcome.error };
    }
    if (view.endOfRib !== undefined) {
      const family = familyOfAfi(view.endOfRib);
      if (family) this.options.events.endOfRib(id, family);
    } else this.tellWork();
    return result;
  }

  private tableOf(buffer: PrefixBuffer): FamilyTable {
    return this.tables[buffer.stride === 1 ? 4 : 6];
  }

  private announced(peer: Peer, source: RouteSource, buffer: PrefixBuffer): ReceiveResult {
    const { view, sets, imports } = this;
    const table = this.tableOf(buffer);
    const { family } = table;
    view.block(source);
    const { blockBytes, blockStart, blockEnd } = view;
    const set = sets.intern(peer.origin, peer.context, source, family, blockBytes, blockStart, blockEnd);
    if (set === 0) {
      const bad = sets.bad!;
      if (bad.error) return { kind: 'reset', error: bad.error };
      table.withdraw(peer.id, buffer);
      return { kind: 'withdrawn', reason: bad.faults.map((f) => f.reason).join('; ') };
    }
    if (imports.perPrefix(peer, family)) {
      table.announceEach(peer.id, set, buffer, (index) => imports.evaluate(set, family, table.prefixes.text(index)));
    } else table.announce(peer.id, set, imports.outcome(set, family), buffer);
    sets.offer(set);
    this.checkLimits(peer, family);
    const { discarded } = sets;
    if (discarded.length === 0) return okResult;
    return { kind: 'discarded', reason: discarded.map((f) => f.reason).join('; ') };
  }

  private checkLimits(peer: Peer, family: Family): void {
    const limit = peer.config.families[family]?.maxPrefixIn;
    if (!limit) return;
    // what is kept of the last session may not come again, and counts when it does
    const { received, stale } = this.tables[family];
    checkLimit(peer, family, 'in', received[peer.id]! - stale[peer.id]!, limit, this.options.events);
  }

  markStale(id: PeerId, family: Family): void {
    this.tables[family].markStale(id);
  }

  sweepStale(id: PeerId, family: Family): number {
    if (this.leaving.has(id)) return 0;
    const count = this.tables[family].dropAll(id, true);
    this.tellWork();
    return count;
  }

  announce(route: LocalRoute): void {
    const family = familyOf(route.prefix);
    const attributes = { ...ownAttributes(family), ...route.attributes };
    const table = this.tables[family];
    const set = this.sets.internAttributes(this.self, family, attributes);
    table.setPath(
      table.insertIndex((p) => p.insertText(route.prefix)),
      localPeer,
      set,
      set,
    );
    this.sets.offer(set);
    this.tellWork();
  }

  withdraw(prefix: Prefix): boolean {
    const table = this.tables[familyOf(prefix)];
    const index = table.prefixes.findText(prefix);
    const had = index !== 0 && table.dropPath(index, localPeer);
    if (had) this.tellWork();
    return had;
  }

  refreshIn(id: PeerId, family: Family): void {
    // one that runs began with other settings
    this.passes.set(`${id} ${family}`, this.imports.again(this.peer(id), family, this.tables[family]));
    this.tellWork();
  }

  private nextHopsChanged(changed: readonly IpAddress[] | 'all'): void {
    const ids = this.nextHops.changed(changed);
    if (ids.size === 0) return;
    for (const family of families) {
      const table = this.tables[family];
      table.markWhere((path) => {
        const set = table.paths.accepted[path]!;
        return set !== 0 && ids.has(this.sets.nextHop[set]!);
      });
    }
    // a best path may stay the best and yet lead elsewhere
    for (const feed of this.feeds) feed.resolutionsChanged(ids);
    this.tellWork();
  }

  deferExport(on: boolean): void {
    this.deferred = on;
    if (on) return;
    this.tellWork();
    for (const peer of this.peers) for (const family of families) if (peer) this.tellOutput(peer, family);
  }

  // --------------------------------------------------------------------------------------------------------- work

  get pending(): boolean {
    if (this.passes.size > 0) return true;
    for (const family of families) if (this.tables[family].dirty.size > 0) return true;
    if (this.deferred) return false;
    for (const group of this.groups.all()) if (group.dirty.size > 0 && !group.blocked) return true;
    return false;
  }

  private tellWork(): void {
    if (this.announcedWork || !this.pending) return;
    this.announcedWork = true;
    this.options.events.workReady();
  }

  private tellOutput(peer: Peer, family: Family): void {
    const out = peer.out[family];
    if (!out || out.member.signalled || !out.group.hasOutput(out.member, this.quiet(family))) return;
    out.member.signalled = true;
    this.options.events.outputReady(peer.id);
  }

  private quiet(family: Family): boolean {
    return !this.deferred && this.passes.size === 0 && this.tables[family].dirty.size === 0;
  }

  work(): boolean {
    // deciding waits: routes that share attributes are to be sent together, and not as they happen to stand in the table
    for (const [key, pass] of this.passes) {
      if (pass.next().done === true) this.passes.delete(key);
      return true;
    }
    let busy = false;
    for (const family of families) {
      const table = this.tables[family];
      if (table.dirty.size === 0) continue;
      table.decide();
      busy = true;
    }
    if (!this.deferred) {
      let share = exportShare;
      for (const group of this.groups.all()) {
        if (group.dirty.size === 0 || group.blocked) continue;
        share -= group.dirty.size;
        group.export();
        busy = true;
        for (const id of group.members.keys()) {
          this.checkOut(this.peers[id]!, group.table.family);
          this.tellOutput(this.peers[id]!, group.table.family);
        }
        if (share > 0) continue;
        this.groups.toEnd(group);
        break;
      }
    }
    for (const feed of this.feeds) feed.tell();
    // cleaning up can wait until what was written is on its way
    if (busy) return true;
    this.announcedWork = false;
    this.collect();
    for (const family of families) this.tables[family].reclaim();
    if (this.leaving.size > 0) this.freeNumbers();
    return false;
  }

  /** Frees attribute sets, if every best path has been decided since the last input. */
  private collect(): void {
    if (this.tables[4].dirty.size > 0 || this.tables[6].dirty.size > 0) return;
    this.sets.collect((set) => {
      for (const group of this.groups.all()) group.out.setGone(set);
    });
  }

  private checkOut(peer: Peer, family: Family): void {
    const limit = peer.config.families[family]?.maxPrefixOut;
    if (limit) checkLimit(peer, family, 'out', this.advertisedTo(peer.id, family), limit, this.options.events);
  }

  private advertisedTo(id: PeerId, family: Family): number {
    const out = this.peers[id]?.out[family]?.group.out;
    return out ? out.size - out.learnedFrom(id) : 0;
  }

  // ------------------------------------------------------------------------------------------------------- output

  pull(id: PeerId, maxBytes: number): Uint8Array | undefined {
    const peer = this.peer(id);
    for (const family of families) {
      const out = peer.out[family];
      if (!out) continue;
      const wasBlocked = out.group.dirty.size > 0 && out.group.blocked;
      const bytes = out.group.pull(out.member, this.quiet(family), maxBytes);
      if (wasBlocked && !out.group.blocked) this.tellWork();
      if (bytes) return bytes;
      out.member.signalled = false;
    }
    return undefined;
  }

  refreshOut(id: PeerId, family: Family, enhanced: boolean): void {
    const peer = this.peer(id);
    const out = peer.out[family];
    if (!out) return;
    out.group.resend(out.member);
    // RFC 7313 §4: no Beginning-of-RR before the End-of-RIB
    if (enhanced && !out.member.endOfRib) {
      const afiSafi = afiSafiOf(family);
      out.member.before = encodeRouteRefresh({ family: afiSafi, subtype: RefreshSubtype.BeginOfRefresh });
      out.member.after = encodeRouteRefresh({ family: afiSafi, subtype: RefreshSubtype.EndOfRefresh });
    }
    this.tellOutput(peer, family);
  }

  // -------------------------------------------------------------------------------------------------------- views

  counters(id: PeerId, family: Family): PeerCounters {
    const table = this.tables[family];
    const out = this.peers[id]?.out[family];
    return {
      received: table.received[id]!,
      accepted: table.accepted[id]!,
      stale: table.stale[id]!,
      advertised: this.advertisedTo(id, family),
      behind: out?.member.lag?.dirty.size ?? out?.member.reader?.behind ?? 0,
    };
  }

  routes(query: RouteQuery): Generator<RouteView> {
    return this.views.routes(query);
  }

  advertised(id: PeerId, family: Family, query: Parameters<Rib['advertised']>[2] = {}): Generator<AdvertisedView> {
    return this.views.advertised(this.peer(id), family, query);
  }

  bestFeed(pending: () => void): BestFeed {
    const feed = new BestPathFeed(this.tables, this.sets, this.nextHops, this.decision, pending, () =>
      this.feeds.delete(feed),
    );
    this.feeds.add(feed);
    return feed;
  }

  stats(): RibStats {
    let bytes = this.sets.bytes;
    for (const family of families) bytes += this.tables[family].bytes;
    for (const group of this.groups.all()) bytes += group.out.bytes;
    return {
      prefixes: { 4: this.tables[4].prefixes.size, 6: this.tables[6].prefixes.size },
      paths: { 4: this.tables[4].paths.size, 6: this.tables[6].paths.size },
      attributeSets: this.sets.size,
      nextHops: this.nextHops.size,
      updateGroups: this.groups.size,
      bytes,
    };
  }
}

/** Prefixes looked at in one go when a neighbour's routes are dropped. */
const dropShare = 32768;

/** Drops all routes of a neighbour that never comes back, a share between two yields. */
function* dropping(table: FamilyTable, peer: PeerId): Generator<void> {
  for (let from = 1; table.received[peer]! > 0; from += dropShare) {
    table.dropBetween(peer, false, from, Math.min(from + dropShare, table.prefixes.top));
    yield;
  }
}

/** Prefixes exported in one go, to all groups together: what is written for one group is sent while the next one's is made. */
const exportShare = 16384;

function worse(a: ReceiveResult, b: ReceiveResult): ReceiveResult {
  const rank = { ok: 0, discarded: 1, withdrawn: 2, reset: 3 };
  return rank[b.kind] > rank[a.kind] ? b : a;
}
