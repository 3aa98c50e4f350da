/**
 * An established session: UPDATEs to the RIB, UPDATEs from the RIB, route refresh both ways (RFC 2918, 7313), and the
 * routes kept when it ends (RFC 4724).
 */
import { printable } from '../../base/mod.ts';
import type { Family } from '../../net/mod.ts';
import { decodeRouteRefresh, encodeRouteRefresh, MessageType, RefreshSubtype } from '../wire/mod.ts';
import type { Negotiated } from '../wire/mod.ts';
import type { Connection } from './connection.ts';
import { familyOfWire, wireFamily } from './open.ts';
import type { Peer } from './peer.ts';
import { StaleRoutes } from './stale.ts';

/** A Beginning-of-RR costs a walk over the table: of those that follow one another faster than this only the first counts. */
const REFRESH_EVERY_MS = 1000;

export class Established {
  readonly id: number;
  readonly connection: Connection;
  readonly negotiated: Negotiated;
  readonly families: readonly Family[];
  readonly stale: StaleRoutes;
  readonly since: number;
  /** Families whose End-of-RIB has come in this session. */
  readonly finished = new Set<Family>();
  active = true;
  /** Families of which the peer asked for everything in what is being read: however often, it is sent once. */
  private readonly wanted = new Set<Family>();
  /** Families between the peer's Beginning-of-RR and End-of-RR. */
  private readonly refreshing = new Set<Family>();
  /** When its routes were last marked for a refresh. */
  private readonly markedAt = new Map<Family, number>();
  private readonly peer: Peer;
  private heardUpdates = false;

  constructor(peer: Peer, id: number, connection: Connection, negotiated: Negotiated, stale?: StaleRoutes) {
    this.peer = peer;
    this.id = id;
    this.connection = connection;
    this.negotiated = negotiated;
    this.since = peer.context.clock.wallNow();
    this.families = ([4, 6] as const).filter((f) => negotiated.context.families.has(wireFamily[f]));
    this.stale =
      stale ??
      new StaleRoutes(peer.context.clock, (family) => {
        const routes = peer.context.rib.sweepStale(peer.id, family);
        peer.context.emit({ type: 'stale-swept', neighbor: peer.key, family, routes });
        peer.context.ready(peer);
        peer.context.ended(peer);
      });
  }

  begin(): void {
    this.stale.back(this.negotiated);
  }

  /** The session is over; `retain` keeps the routes of the families that the peer goes on forwarding. */
  end(retain: boolean): void {
    this.active = false;
    const kept = retain ? this.stale.lost(this.negotiated) : [];
    if (kept.length === 0) this.stale.forget();
    this.peer.context.rib.sessionDown(this.peer.id, kept);
  }

  /** Routes that were kept are not any more. */
  drop(): void {
    this.stale.giveUp();
  }

  pull(maxBytes: number): Uint8Array | undefined {
    return this.active ? this.peer.context.rib.pull(this.peer.id, maxBytes) : undefined;
  }

  /** One UPDATE or ROUTE-REFRESH. False: the session ended over it. */
  receive(type: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (type === MessageType.RouteRefresh) return this.refresh(bytes, start, end);
    this.heardUpdates = true;
    const { peer } = this;
    peer.counts.updatesIn++;
    const result = peer.context.rib.receive(peer.id, bytes, start, end);
    if (result.kind === 'ok') return this.active;
    const reason = result.kind === 'reset' ? result.error.reason : result.reason;
    this.reportBad(result.kind, reason);
    if (result.kind !== 'reset') return this.active;
    peer.notify(this.id, { type: 'UpdateMsgErr', notification: result.error.notification });
    return false;
  }

  /** Every bad UPDATE is an event; the log gets one in a while, whatever the peer sends. */
  private reportBad(treatment: string, reason: string): void {
    const { peer } = this;
    peer.counts.updatesBad++;
    peer.lastBadUpdate = { treatment, reason: printable(reason), at: peer.context.clock.wallNow() };
    peer.context.emit({ type: 'bad-update', neighbor: peer.key, treatment, reason });
    const fields = { neighbor: peer.config.name, treatment, reason: printable(reason), total: peer.counts.updatesBad };
    peer.context.sparseLog.warn(peer.subject, fields, 'bad UPDATE (RFC 7606)');
  }

  /** What was read is worked through: it counts as one event for the hold timer. */
  batchEnd(): void {
    if (!this.heardUpdates || !this.active) return;
    this.heardUpdates = false;
    for (const family of this.wanted) this.sendAgain(family);
    this.wanted.clear();
    this.peer.context.received();
    this.peer.notify(this.id, { type: 'UpdateMsg' });
  }

  private refresh(bytes: Uint8Array, start: number, end: number): boolean {
    const { peer } = this;
    const decoded = decodeRouteRefresh(bytes, start, end);
    if (!decoded.ok) {
      peer.notify(this.id, { type: 'UpdateMsgErr', notification: decoded.error.notification });
      return false;
    }
    this.heardUpdates = true;
    const family = decoded.value && familyOfWire(decoded.value.family);
    if (!decoded.value || family === undefined || !this.families.includes(family)) return true; // RFC 2918 §4: ignored
    const { subtype } = decoded.value;
    if (subtype === RefreshSubtype.Request) this.wanted.add(family);
    else if (subtype === RefreshSubtype.BeginOfRefresh) this.beginRefresh(family);
    else if (this.refreshing.delete(family)) peer.context.rib.sweepStale(peer.id, family);
    return true;
  }

  /** RFC 7313 §4: means nothing from a peer that restarts gracefully and is not through with its table. */
  private beginRefresh(family: Family): void {
    const { enhancedRouteRefresh, gracefulRestart } = this.negotiated;
    if (!enhancedRouteRefresh || (gracefulRestart && !this.finished.has(family))) return;
    // what a mark finds out, routes the peer has forgotten to withdraw, does not change from one moment to the next
    const now = this.peer.context.clock.now();
    if (now - (this.markedAt.get(family) ?? -Infinity) < REFRESH_EVERY_MS) return;
    this.markedAt.set(family, now);
    this.refreshing.add(family);
    this.peer.context.rib.markStale(this.peer.id, family);
  }

  /** The whole Adj-RIB-Out once more. */
  sendAgain(family: Family): void {
    const { peer } = this;
    peer.context.rib.refreshOut(peer.id, family, this.negotiated.enhancedRouteRefresh);
    peer.context.ready(peer);
  }

  /** Asks the peer for its table again; false when it cannot. */
  askAgain(family: Family): boolean {
    if (!this.negotiated.routeRefresh || !this.families.includes(family)) return false;
    this.connection.send(encodeRouteRefresh({ family: wireFamily[family], subtype: RefreshSubtype.Request }));
    return true;
  }

  endOfRib(family: Family): void {
    this.finished.add(family);
    this.stale.endOfRib(family);
  }
}
