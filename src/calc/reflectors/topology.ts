/**
 * Which nodes of a cluster have BGP sessions with which, when that is not simply everyone with everyone. A topology is a
 * mesh, or a few reflectors that all others are clients of; beside either, some nodes may have a session with every other
 * (`direct`). A plan is the topology that is wanted and, on the way to it, the one that is kept until the new one carries
 * all there is: make before break. Plans are values in the datastore; every node derives its own sessions from the same.
 */

export interface Topology {
  readonly mesh: boolean;
  /** Names of nodes, sorted; every other is their client. */
  readonly reflectors: readonly string[];
  /** Names of nodes, sorted, that have a session with every other whatever the rest is. */
  readonly direct: readonly string[];
}

export interface ReflectorPlan {
  /** Grows with every change of sessions; nodes report against it. */
  readonly generation: number;
  readonly target: Topology;
  /** What served before: its sessions stay until every node has said that those of `target` carry everything. */
  readonly keep: Topology | undefined;
  /** Nodes that were heard of once; sorted. Those that never were may know nothing of plans. */
  readonly members: readonly string[];
}

export const meshTopology: Topology = { mesh: true, reflectors: [], direct: [] };

/** What a node with a session wants of it. */
export type SyncState =
  /** All there is comes by sessions of the target, and is in the kernel. */
  | 'synced'
  /** A session with a reflector of the target is not up, or its first exchange is not finished. */
  | 'sessions'
  /** Sessions are there, but something known otherwise does not come by them, or is not in the kernel. */
  | 'routes';

/** What a node says of itself. It says so under a lease: a node without a report is not there. */
export interface TopologyReport {
  /** Of the plan it is about; 0 without a plan. */
  readonly generation: number;
  readonly state: SyncState;
  /** For `routes`: the nodes whose prefixes are missing, the first few. */
  readonly missing: readonly string[];
  /** Whether the node is ready altogether; only such nodes become reflectors. */
  readonly ready: boolean;
}

const sorted = (names: Iterable<string>): string[] => [...new Set(names)].sort();

export const topology = (reflectors: Iterable<string>, direct: Iterable<string>): Topology => ({
  mesh: false,
  reflectors: sorted(reflectors),
  direct: sorted(direct),
});

/** All sessions of both. */
export function union(a: Topology, b: Topology | undefined): Topology {
  if (!b) return a;
  const merged = topology([...a.reflectors, ...b.reflectors], [...a.direct, ...b.direct]);
  return { ...merged, mesh: a.mesh || b.mesh };
}

/** What sessions are made from: the target, and what is kept beside it. */
export const inForce = (plan: ReflectorPlan): Topology => union(plan.target, plan.keep);

/** Whether two nodes have a session with each other. */
export const adjacent = ({ mesh, reflectors, direct }: Topology, a: string, b: string): boolean =>
  mesh || reflectors.includes(a) || reflectors.includes(b) || direct.includes(a) || direct.includes(b);

export const isPlainMesh = ({ mesh, reflectors }: Topology): boolean => mesh && reflectors.length === 0;

export const sameTopology = (a: Topology, b: Topology): boolean =>
  a.mesh === b.mesh && sameNames(a.reflectors, b.reflectors) && sameNames(a.direct, b.direct);

export const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((name, i) => name === b[i]);
