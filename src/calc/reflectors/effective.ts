/**
 * A node's sessions under a plan: what its resources ask for, with the plan's sessions in place of the node-to-node mesh.
 * They are the mesh's own sessions in every respect (name, addresses, which side connects) and differ in which there are
 * and in who is whose client. So a session that both the mesh and the reflectors have is one and the same, and stays up
 * while its role changes.
 */
import { bgpOf, meshSessions } from '../bgp/sessions.ts';
import type { BgpSession, NodeBgp } from '../bgp/sessions.ts';
import { Cluster } from '../bgp/cluster.ts';
import type { BgpResources } from '../bgp/cluster.ts';
import { adjacent, inForce, isPlainMesh } from './topology.ts';
import type { ReflectorPlan, Topology } from './topology.ts';

/** As `bgpOf`; the same without a plan. */
export function effectiveBgp(
  node: string,
  resources: BgpResources,
  plan: ReflectorPlan | undefined,
): NodeBgp | undefined {
  const bgp = bgpOf(node, resources);
  if (!bgp || !plan || (isPlainMesh(plan.target) && !plan.keep)) return bgp;
  const others = bgp.sessions.filter(({ peer }) => peer !== undefined);
  const sessions = [...others, ...plannedSessions(node, new Cluster(resources), inForce(plan))];
  return { ...bgp, sessions: sessions.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

/** Sessions of one node in a topology. Nodes that are reflectors by their own resource are not part of it. */
function plannedSessions(node: string, cluster: Cluster, topology: Topology): BgpSession[] {
  const self = cluster.speakers.get(node);
  if (!self || self.clusterId !== undefined) return [];
  const out: BgpSession[] = [];
  for (const other of cluster.speakers.values()) {
    if (other.name === node || other.clusterId !== undefined || !adjacent(topology, node, other.name)) continue;
    const client = topology.reflectors.includes(node) && other.as === self.as;
    for (const session of meshSessions(self, other, cluster)) {
      // its own address: two reflectors of one cluster id would hide from each other what only one of them has
      out.push({ ...session, reflectorClient: client, clusterId: client ? self.addresses[4] : undefined });
    }
  }
  return out;
}
