/**
 * The RIB as the speaker sees it: ties the parts together and says in which order they work. See `types.ts` for what each
 * method promises.
 *
 *     UPDATE ─► intake ─► importstage ─► table ─► decide ─► group ─► stream ─► UPDATE
 *               (sets: the attributes)    └► passes         └► outtable: Adj-RIB-Out
 */
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { RefreshSubtype, encodeRouteRefresh } from '../wire/mod.ts';
import { Decision, defaultDecision } from './decide.ts';
import { BestPathFeed } from './feed.ts';
import { UpdateGroups } from './groups.ts';
import { ImportStage } from './importstage.ts';
import { Intake } from './intake.ts';
import { NextHops } from './nexthops.ts';
import { afiSafiOf } from './outbound.ts';
import { Passes, dropping } from './passes.ts';
import { checkLimit, configure } from './peers.ts';
import type { Peer } from './peers.ts';
import { Roster } from './roster.ts';
import { AttributeSets } from './sets.ts';
import type { SetOrigin } from './set-columns.ts';
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
  private readonly roster = new Roster();
  private readonly intake: Intake;
  private readonly groups: UpdateGroups;
  private readonly feeds = new Set<BestPathFeed>();
  private readonly passes = new Passes();
  private deferred = false;
  private announcedWork = false;

  constructor(options: RibOptions) {
    this.options = options;
    this.clusterId = options.clusterId ?? options.routerId;
    this.nextHops = new NextHops(options.resolver);
    this.sets = new AttributeSets(this.nextHops, options.localAs, options.routerId, this.clusterId);
    const decision = { ...defaultDecision, ...options.decision };
    this.decision = new Decision(decision, this.sets, this.nextHops, this.roster.compare);
    const seed = options.seed ?? 0x5bd1e995;
    this.tables = {
      4: new FamilyTable(4, seed, this.sets, this.decision),
      6: new FamilyTable(6, seed, this.sets, this.decision),
    };
    this.imports = new ImportStage(this.sets, this.nextHops, this.roster.find, options.localAs);
    const self: SetOrigin = {
      id: localPeer,
      kind: 'local',
      weight: 0,
      routerId: options.routerId,
      device: undefined,
      localAs: options.localAs,
      allowAsIn: 0,
      honorGracefulShutdown: false,
    };
    this.intake = new Intake(this.tables, this.sets, this.imports, self, options.events);
    this.views = new Views(this.tables, this.sets, this.nextHops, this.decision, this.imports, this.roster.find);
    this.groups = new UpdateGroups(options, this.clusterId, this.tables, this.sets, this.roster.find);
    options.resolver.watch((changed) => this.nextHopsChanged(changed));
  }

  private peer(id: PeerId): Peer {
    return this.roster.get(id);
  }

  // --------------------------------------------------------------------------------------------------- neighbours

  addPeer(config: PeerConfig): PeerId {
    if (this.roster.leaving && !this.pending) {
      this.collect(); // sets of the last owner of the number would be taken for the new one's
      this.roster.freeNumbers(this.groups.all());
    }
    const { id } = this.roster.add(config);
    for (const family of families) this.tables[family].ensurePeer(id);
    return id;
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
      this.intake.checkLimits(peer, family);
    }
    // whether its routes are reflected to others depends on this
    if (before.reflectorClient !== config.reflectorClient) this.groups.again();
    this.tellWork();
  }

  removePeer(id: PeerId): void {
    const peer = this.peer(id);
    for (const family of families) {
      this.groups.leave(peer, family);
      this.passes.begin(id, family, dropping(this.tables[family], id));
    }
    this.roster.leave(peer);
    this.tellWork();
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
    if (this.roster.isLeaving(id)) return; // they go already
    const peer = this.peer(id);
    for (const family of families) {
      this.groups.leave(peer, family);
      const table = this.tables[family];
      if (retain.includes(family)) {
        table.markStale(id);
        peer.kept.add(family);
      } else {
        table.dropAll(id, false);
        peer.kept.delete(family);
      }
    }
    peer.session = undefined;
    this.tellWork();
  }

  // -------------------------------------------------------------------------------------------------------- input

  receive(id: PeerId, bytes: Uint8Array, start: number, end: number): ReceiveResult {
    const result = this.intake.receive(this.peer(id), bytes, start, end);
    this.tellWork();
    return result;
  }

  announce(route: LocalRoute): void {
    this.intake.announce(route);
    this.tellWork();
  }

  withdraw(prefix: Prefix): boolean {
    const had = this.intake.withdraw(prefix);
    if (had) this.tellWork();
    return had;
  }

  markStale(id: PeerId, family: Family): void {
    this.tables[family].markStale(id);
  }

  sweepStale(id: PeerId, family: Family): number {
    if (this.roster.isLeaving(id)) return 0;
    const count = this.tables[family].dropAll(id, true);
    this.peer(id).kept.delete(family);
    this.tellWork();
    return count;
  }

  refreshIn(id: PeerId, family: Family): void {
    this.passes.begin(id, family, this.imports.again(this.peer(id), family, this.tables[family]));
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
    for (const peer of this.roster.all()) for (const family of families) this.tellOutput(peer, family);
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
    if (this.passes.step()) return true;
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
          this.checkOut(this.roster.get(id), group.table.family);
          this.tellOutput(this.roster.get(id), group.table.family);
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
    if (this.roster.leaving) this.roster.freeNumbers(this.groups.all());
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
    const out = this.roster.find(id)?.out[family]?.group.out;
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
    const out = this.roster.find(id)?.out[family];
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

/** Prefixes exported in one go, to all groups together: what is written for one group is sent while the next one's is made. */
const exportShare = 16384;
