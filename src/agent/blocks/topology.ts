/** What the embedded speaker knows, in the words in which this node answers whether a plan of reflectors carries all. */
import { localPeer } from '../../bgp/rib/mod.ts';
import type { Speaker } from '../../bgp/speaker/mod.ts';
import type { Destination } from '../../calc/mod.ts';
import { addressFromBytes } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import type { TopologyView } from '../../reflectors/mod.ts';
import type { NodeBgpRunner } from './bgp.ts';

/** undefined while there is no speaker. */
export function topologyView({
  speaker: keeper,
  plan,
  fib,
  context,
  generation,
}: NodeBgpRunner): TopologyView | undefined {
  const { speaker } = keeper;
  if (!speaker || !plan) return undefined;
  const synced = (neighbor: IpAddress): boolean => {
    const session = speaker.peers.get(neighbor)?.session;
    const family = plan.sessions.get(neighbor)?.family;
    return session?.active === true && family !== undefined && session.finished.has(family);
  };
  const neighbors = [...plan.sessions.keys()];
  const up = neighbors.filter((neighbor) => speaker.peers.get(neighbor)?.session?.active === true);
  return {
    ...{ generation, synced, destinations: destinations(speaker) },
    kernelPending: [...fib.routes].some((route) => !context.routes.isInstalled(route)),
    // a node that most others are out of reach of would be no good as a reflector
    ready: up.length * 2 >= neighbors.length,
  };
}

/** Every prefix of others, and who told of it. */
function* destinations({ rib, peers }: Speaker): Generator<Destination> {
  const addresses = new Map([...peers.values()].map((peer) => [peer.id, peer.address]));
  for (const { prefix, paths } of rib.routes({})) {
    const usable = paths.filter(({ state, stale }) => state !== 'loop' && state !== 'rejected' && !stale);
    const [best] = usable.length > 0 ? usable : paths;
    if (!best || best.peer === localPeer) continue;
    const { nextHop } = best.attributes;
    if (!nextHop) continue;
    yield {
      ...{ prefix, nextHop: addressFromBytes(nextHop.address) },
      from: usable.flatMap(({ peer }) => addresses.get(peer) ?? []),
    };
  }
}
