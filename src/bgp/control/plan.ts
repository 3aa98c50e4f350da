/**
 * What new import policies would make of the routes that are there: the part of a reload's report that looks at the tables.
 * A million routes take seconds, in which sessions go on.
 */
import { neighborKey } from '../config/mod.ts';
import type { BgpConfig, ConfigDiff, NeighborConfig } from '../config/mod.ts';
import { neighborFromRange, PolicyBook } from '../speaker/mod.ts';
import type { Peer, Speaker } from '../speaker/mod.ts';
import type { ReloadReport } from './server.ts';

/** Routes looked at before everything else has its turn. */
const SHARE = 2000;

export async function planRoutes(speaker: Speaker, next: BgpConfig, diff: ConfigDiff): Promise<ReloadReport['routes']> {
  const book = new PolicyBook(next);
  const plan: ReloadReport['routes'][number][] = [];
  for (const peer of [...speaker.peers.values()]) {
    const settings = changed(peer, next, diff);
    if (!settings || !peer.session?.active) continue;
    plan.push({ neighbor: peer.key, ...(await planFor(speaker, peer, settings, book, next)) });
  }
  return plan;
}

/** What the neighbour's settings will be, if they change and its session stays. */
function changed(peer: Peer, next: BgpConfig, diff: ConfigDiff): NeighborConfig | undefined {
  const listed = next.neighbors.find((n) => neighborKey(n.address, n.device) === peer.key);
  if (listed) return diff.neighbors.get(peer.key)?.what === 'soft' ? listed : undefined;
  const range = next.dynamic.find((d) => d.range === peer.range);
  if (!range || diff.dynamic.get(range.range)?.what !== 'soft') return undefined;
  return neighborFromRange(range, peer.address, peer.config.device);
}

async function planFor(speaker: Speaker, peer: Peer, neighbor: NeighborConfig, book: PolicyBook, next: BgpConfig) {
  const { families, negotiated } = peer.session!;
  const asn = negotiated.peerAsn;
  const settings = book.peerConfig(neighbor, { asn });
  const external = asn !== neighbor.localAs;
  let [accepted, wouldAccept, looked] = [0, 0, 0];
  for (const family of families) {
    accepted += speaker.rib.counters(peer.id, family).accepted;
    const policy = settings.families[family]?.importPolicy;
    for (const route of speaker.rib.routes({ family, receivedFrom: peer.id })) {
      if (++looked % SHARE === 0) await new Promise((resolve) => setImmediate(resolve));
      for (const path of route.paths) {
        if (path.peer !== peer.id || path.state === 'loop') continue;
        const verdict = policy?.apply({
          attributes: path.received,
          family,
          prefix: route.prefix,
          from: { name: neighbor.name, address: neighbor.address, asn },
          source: external ? 'ebgp' : 'ibgp',
        });
        if (verdict ? verdict.accept : !(external && next.ebgpRequiresPolicy)) wouldAccept++;
      }
    }
  }
  return { accepted, wouldAccept };
}
