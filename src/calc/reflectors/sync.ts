/**
 * Whether the target of a plan, by itself, carries all this node knows: the question every node answers before what was
 * kept beside it goes. Each prefix must come by the very sessions that will be left, from every reflector of the target,
 * so that one of them may fail the moment after.
 */
import type { IpAddress, Prefix } from '../../net/mod.ts';
import type { Speaker } from '../bgp/cluster.ts';
import { adjacent } from './topology.ts';
import type { ReflectorPlan, SyncState } from './topology.ts';

/** What a speaker knows of one prefix of another node. */
export interface Destination {
  readonly prefix: Prefix;
  /** The originator's address: reflectors leave it as it is. */
  readonly nextHop: IpAddress;
  /** Addresses of the neighbours it was received from. */
  readonly from: readonly IpAddress[];
}

export interface SpeakerView {
  /** Established, and the neighbour has told all it had: End-of-RIB of every family of the session. */
  readonly synced: (neighbor: IpAddress) => boolean;
  readonly destinations: Iterable<Destination>;
  /** Whether routes that should be in the kernel are not there yet. */
  readonly kernelPending: boolean;
}

export interface SyncResult {
  readonly state: SyncState;
  readonly missing: readonly string[];
}

/** Names told of at most. */
const MAX_MISSING = 16;

export function syncOf(
  node: string,
  speakers: ReadonlyMap<string, Speaker>,
  plan: ReflectorPlan | undefined,
  view: SpeakerView,
): SyncResult {
  if (!plan) return { state: 'synced', missing: [] };
  const self = speakers.get(node);
  if (!self) return { state: 'sessions', missing: [] };
  const { target } = plan;
  const isReflector = target.reflectors.includes(node);
  const reflectors = target.reflectors.filter((name) => name !== node).flatMap((name) => speakers.get(name) ?? []);
  for (const reflector of reflectors) {
    for (const address of shared(self, reflector)) if (!view.synced(address)) return { state: 'sessions', missing: [] };
  }
  const owners = new Map<IpAddress, Speaker>();
  for (const speaker of speakers.values()) {
    for (const address of Object.values(speaker.addresses)) owners.set(address, speaker);
  }
  const missing = new Set<string>();
  for (const { nextHop, from } of view.destinations) {
    const owner = owners.get(nextHop);
    // of routers that are no nodes, and of nodes whose sessions are no plan's business
    if (!owner || owner.name === node || owner.clusterId !== undefined) continue;
    const sources = new Set(from.flatMap((address) => owners.get(address)?.name ?? []));
    const itself = adjacent(target, node, owner.name) && sources.has(owner.name);
    const reflected = reflectors.length > 0 && reflectors.every(({ name }) => sources.has(name));
    // a reflector lives by its clients' own word; in a mesh there is no other
    const strict = isReflector || target.mesh;
    if (!itself && (strict || !reflected)) missing.add(owner.name);
  }
  if (missing.size > 0) return { state: 'routes', missing: [...missing].sort().slice(0, MAX_MISSING) };
  return { state: view.kernelPending ? 'routes' : 'synced', missing: [] };
}

/** Addresses of `other` in the families both have. */
const shared = (self: Speaker, other: Speaker): IpAddress[] =>
  ([4, 6] as const).flatMap((family) => (self.addresses[family] && other.addresses[family]) || []);
