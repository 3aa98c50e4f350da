/**
 * Into the tables: what neighbours send, UPDATE by UPDATE, and what this speaker announces itself. Input is recorded and
 * marks prefixes; nothing is decided here.
 */
import { GodwitError } from '../../base/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import { IPV4_UNICAST, IPV6_UNICAST, RouteSource, UpdateView, decodeAttributes } from '../wire/mod.ts';
import type { AfiSafi, PrefixBuffer } from '../wire/mod.ts';
import type { ImportStage } from './importstage.ts';
import { ownAttributes } from './outbound.ts';
import { checkLimit } from './peers.ts';
import type { Peer } from './peers.ts';
import type { SetOrigin } from './set-columns.ts';
import type { AttributeSets } from './sets.ts';
import type { FamilyTable } from './table.ts';
import { localPeer } from './types.ts';
import type { LocalRoute, ReceiveResult, RibEvents } from './types.ts';

const okResult: ReceiveResult = { kind: 'ok' };
const familyOfAfi = (family: AfiSafi): Family | undefined =>
  family === IPV4_UNICAST ? 4 : family === IPV6_UNICAST ? 6 : undefined;

export class Intake {
  private readonly tables: { readonly [F in Family]: FamilyTable };
  private readonly sets: AttributeSets;
  private readonly imports: ImportStage;
  private readonly events: RibEvents;
  private readonly view = new UpdateView();
  /** This speaker as the source of routes. */
  private readonly self: SetOrigin;

  constructor(
    tables: { readonly [F in Family]: FamilyTable },
    sets: AttributeSets,
    imports: ImportStage,
    self: SetOrigin,
    events: RibEvents,
  ) {
    this.tables = tables;
    this.sets = sets;
    this.imports = imports;
    this.self = self;
    this.events = events;
  }

  /** One whole UPDATE at `bytes[start, end)`. */
  receive(peer: Peer, bytes: Uint8Array, start: number, end: number): ReceiveResult {
    const { id, session } = peer;
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
      if (family) this.events.endOfRib(id, family);
    }
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

  /** Whether the neighbour has sent more than it may. */
  checkLimits(peer: Peer, family: Family): void {
    const limit = peer.config.families[family]?.maxPrefixIn;
    if (!limit) return;
    const { received, stale } = this.tables[family];
    // what is kept of the last session may not come again, and counts when it does. What a refresh marks counts: else each
    // that is begun and not ended would make room for as many routes again
    const kept = peer.kept.has(family) ? stale[peer.id]! : 0;
    checkLimit(peer, family, 'in', received[peer.id]! - kept, limit, this.events);
  }

  /** A route of this speaker. */
  announce(route: LocalRoute): void {
    const family = familyOf(route.prefix);
    const attributes = { ...ownAttributes(family), ...route.attributes };
    const table = this.tables[family];
    const set = this.sets.internAttributes(this.self, family, attributes);
    if (set === 0) throw new GodwitError('route', `the attributes of ${route.prefix} do not fit a message`);
    table.setPath(
      table.insertIndex((p) => p.insertText(route.prefix)),
      localPeer,
      set,
      set,
    );
    this.sets.offer(set);
  }

  withdraw(prefix: Prefix): boolean {
    const table = this.tables[familyOf(prefix)];
    const index = table.prefixes.findText(prefix);
    return index !== 0 && table.dropPath(index, localPeer);
  }
}

function worse(a: ReceiveResult, b: ReceiveResult): ReceiveResult {
  const rank = { ok: 0, discarded: 1, withdrawn: 2, reset: 3 };
  return rank[b.kind] > rank[a.kind] ? b : a;
}
