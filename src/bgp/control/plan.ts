/**
 * What new import policies would make of the routes that are there: the part of a reload's report that looks at the tables.
 * A million routes take seconds, in which sessions go on.
 */
import { neighborKey } from '../config/mod.ts';
import type { BgpConfig, ConfigDiff } from '../config/mod.ts';
import { PolicyBook } from '../speaker/mod.ts';
import type { Speaker } from '../speaker/mod.ts';
import type { ReloadReport } from './server.ts';

/** Routes looked at before everything else has its turn. */
const SHARE = 2000;

export async function planRoutes(speaker: Speaker, next: BgpConfig, diff: ConfigDiff): Promise<ReloadReport['routes']> {
  const book = new PolicyBook(next);
  const plan: ReloadReport['routes'][number][] = [];
  for (const [key, change] of diff.neighbors) {
    if (change.what !== 'soft') continue;
    const neighbor = next.neighbors.find((n) => neighborKey(n.address, n.device) === key)!;
    const peer = speaker.peers.get(key);
    if (!peer?.session?.active) continue;
    const asn = peer.session.negotiated.peerAsn;
    const settings = book.peerConfig(neighbor, { asn });
    const external = asn !== neighbor.localAs;
    let [accepted, wouldAccept, looked] = [0, 0, 0];
    for (const family of peer.session.families) {
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
    plan.push({ neighbor: key, accepted, wouldAccept });
  }
  return plan;
}
