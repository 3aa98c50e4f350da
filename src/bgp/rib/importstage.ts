/**
 * Adj-RIB-In to what takes part in the decision: loops are left out (RFC 4271 §9.1.2, RFC 4456 §8), RFC 8212 is applied
 * and the import policy runs, once per attribute set unless it looks at prefixes. What was received is kept as it was.
 */
import type { Family, Prefix } from '../../net/mod.ts';
import type { NextHops } from './nexthops.ts';
import { prepend } from './outbound.ts';
import type { Peer } from './peers.ts';
import { importRejected, importUnknown, loopFlags } from './set-columns.ts';
import type { AttributeSets } from './sets.ts';
import type { FamilyTable } from './table.ts';

/** Prefixes done in one go: some milliseconds with a policy that looks at each, and without. */
const policyShare = 2048;
const plainShare = 32768;

export class ImportStage {
  private readonly sets: AttributeSets;
  private readonly peerOf: (id: number) => Peer | undefined;
  private readonly ownAs: number;
  private readonly nextHops: NextHops;

  constructor(sets: AttributeSets, nextHops: NextHops, peerOf: (id: number) => Peer | undefined, ownAs: number) {
    this.nextHops = nextHops;
    this.sets = sets;
    this.peerOf = peerOf;
    this.ownAs = ownAs;
  }

  perPrefix(peer: Peer, family: Family): boolean {
    return peer.config.families[family]?.importPolicy?.perPrefix ?? false;
  }

  /** The set that takes part in the decision in place of `set`; 0 for none. */
  outcome(set: number, family: Family): number {
    const { imported } = this.sets;
    const known = imported[set]!;
    if (known !== importUnknown) return known === importRejected ? 0 : known;
    const now = this.evaluate(set, family);
    this.sets.imported[set] = now === 0 ? importRejected : now;
    if (now !== 0 && now !== set) this.sets.retain(now);
    return now;
  }

  /** RFC 4271 §6.3: the next hop is our own address. */
  leadsHere(set: number, peer: Peer): boolean {
    const addresses = peer.session?.localAddress;
    if (!addresses) return false;
    const nextHop = this.nextHops.address(this.sets.nextHop[set]!);
    return nextHop === addresses[4] || nextHop === addresses[6];
  }

  /** RFC 4271 §6.3: an external neighbour's path that does not begin with its AS. An AS_SET at the front has no first. */
  foreignPath(set: number, peer: Peer): boolean {
    const { enforceFirstAs, remoteAs } = peer.config;
    if (enforceFirstAs !== true || peer.origin.kind !== 'ebgp' || remoteAs === 0) return false;
    return this.sets.neighborAs[set] !== remoteAs;
  }

  /** As `outcome`, for one prefix and without memory. */
  evaluate(set: number, family: Family, prefix?: Prefix): number {
    const { sets } = this;
    const peer = this.peerOf(sets.peer[set]!);
    const settings = peer?.config.families[family];
    if (!peer || !settings || (sets.flags[set]! & loopFlags) !== 0 || this.leadsHere(set, peer)) return 0;
    if (this.foreignPath(set, peer)) return 0;
    const external = peer.origin.kind === 'ebgp';
    if (!settings.importPolicy && external && peer.config.requirePolicy) return 0; // RFC 8212 §3
    const policy = settings.importPolicy?.acceptsAll ? undefined : settings.importPolicy;
    const { localAs, localAsNoPrepend } = peer.config;
    const migrating = external && localAs !== this.ownAs && !localAsNoPrepend;
    if (!policy && !migrating) return set;
    const received = sets.attributes(set);
    const before = migrating ? { ...received, asPath: prepend(received.asPath, [localAs]) } : received;
    let after = before;
    if (policy) {
      const verdict = policy.apply({
        attributes: before,
        family,
        source: peer.origin.kind,
        ...(prefix === undefined ? {} : { prefix }),
        ...(peer.source.from === undefined ? {} : { from: peer.source.from }),
      });
      if (!verdict.accept) return 0;
      after = verdict.attributes;
    }
    if (after === received) return set;
    const made = sets.internAttributes(peer.origin, family, after);
    if (made !== 0) sets.offer(made);
    return made;
  }

  /** Applies settings and policy to everything received from the peer, a share between two yields. */
  *again(peer: Peer, family: Family, table: FamilyTable): Generator<void> {
    yield* this.sets.redescribe(peer.origin, family);
    const each = this.perPrefix(peer, family);
    const share = each ? policyShare : plainShare;
    for (let from = 1; from < table.prefixes.top; from += share) {
      const to = Math.min(from + share, table.prefixes.top);
      table.reaccept(peer.id, from, to, (received, index) =>
        each ? this.evaluate(received, family, table.prefixes.text(index)) : this.outcome(received, family),
      );
      yield;
    }
  }
}
