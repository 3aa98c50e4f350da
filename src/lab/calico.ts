/**
 * Calico's network in a lab: what an administrator puts into the datastore before the nodes start, who owns which block by
 * the datastore's word, and which routes that demands of each node.
 */
import { createHash } from 'node:crypto';
import { GodwitError } from '../base/mod.ts';
import { ROUTE_PROTOCOL } from '../dataplane/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import {
  affinitiesOf,
  affinityKey,
  blockKey,
  encodeAffinity,
  encodeBlock,
  hostOwner,
  newBlock,
  releaseAffinity,
} from '../ipam/blocks/mod.ts';
import { API_VERSION, describeProblem, parseGiven, ResourceClient } from '../model/mod.ts';
import { familyOf, parseAddress, prefixContains, prefixCovers } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { Facts } from './expect.ts';
import { addressOf, deviceTo, nextHop } from './machine.ts';
import { routeLine } from './route-line.ts';
import type { Machine, Topology } from './topology.ts';

/** Puts the scenario's resources into the datastore; throws what is wrong with the first that is refused. */
export async function applyResources(store: Datastore, { resources }: Topology): Promise<void> {
  const client = new ResourceClient(store);
  for (const resource of resources) {
    const parsed = parseGiven({ apiVersion: API_VERSION, ...resource });
    const what = `${String(resource['kind'])} ${String(Object(resource['metadata']).name)}`;
    if (!parsed.ok) throw new GodwitError('scenario', `${what}: ${parsed.error.map(describeProblem).join('; ')}`);
    const written = await client.apply(parsed.value);
    if (!written.ok) throw new GodwitError('scenario', written.error.message);
  }
}

/** Makes blocks the property of the hosts that are to have them. */
export async function claimBlocks(store: Datastore, hosts: readonly Machine[]): Promise<void> {
  for (const { name, blocks } of hosts) {
    const owner = hostOwner(name);
    for (const cidr of blocks) {
      const block = newBlock(cidr, owner, Date.now());
      await store.transaction({
        if: [{ key: blockKey(cidr), modRevision: 0 }],
        do: [
          { op: 'put', key: blockKey(cidr), value: encodeBlock(block) },
          { op: 'put', key: affinityKey(owner, cidr), value: encodeAffinity('confirmed') },
        ],
      });
    }
  }
}

/**
 * What an administrator does before a node goes for good: its blocks are given up while its agent still runs, so that it
 * takes back what it told its neighbours. One that just ends is waited for by them (graceful restart).
 */
export async function giveUpBlocks(store: Datastore, name: string): Promise<void> {
  const owner = hostOwner(name);
  for (const cidr of await affinitiesOf(store, owner)) {
    await releaseAffinity(store, owner, cidr, { requireEmpty: false, cooldownSeconds: 0, now: Date.now() });
  }
}

/** And after it is gone: its resource, and what it claimed meanwhile. */
export async function forgetNode(store: Datastore, name: string): Promise<void> {
  await giveUpBlocks(store, name);
  await new ResourceClient(store).delete({ kind: 'Node', name });
}

/** Who owns which block, and the address of each node's VXLAN tunnel. */
export async function readFacts(store: Datastore, agents: readonly Machine[], problems: string[]): Promise<Facts> {
  const owned = new Map<string, Prefix[]>();
  for (const { name, blocks } of agents) {
    const claimed = await affinitiesOf(store, hostOwner(name));
    owned.set(name, claimed);
    for (const block of blocks.filter((cidr) => !claimed.includes(cidr)))
      problems.push(`${name}: does not own ${block}`);
  }
  const { items } = await new ResourceClient(store).list('Node');
  const vteps = new Map<string, readonly IpAddress[]>();
  for (const { name, spec } of items) {
    const ends = [spec.ipv4VXLANTunnelAddr, spec.ipv6VXLANTunnelAddr];
    vteps.set(
      name,
      ends.flatMap((end) => parseAddress(String(end ?? '')) ?? []),
    );
  }
  return { owned, vteps };
}

/** The host's end of a pod's veth pair, as Calico names it. */
export const hostInterface = (pod: string): string =>
  `cali${createHash('sha1').update(`lab.${pod}`).digest('hex').slice(0, 11)}`;

const OURS = `proto ${ROUTE_PROTOCOL}`;

/** What a node's table holds of the pod network, beside its own wires. */
export function calicoRoutes(
  topology: Topology,
  facts: Facts,
  machine: Machine,
  addresses: Readonly<Record<string, readonly string[]>>,
): string[] {
  const lines: string[] = [];
  for (const { name, host } of topology.pods) {
    if (host !== machine.name) continue;
    for (const address of addresses[name] ?? []) {
      const family = familyOf(address as IpAddress);
      lines.push(routeLine(address, `dev ${hostInterface(name)} ${OURS}${family === 4 ? ' scope link' : ''}`, family));
    }
  }
  for (const block of facts.owned.get(machine.name) ?? [])
    lines.push(routeLine(`blackhole ${block}`, OURS, familyOf(block)));
  if (!hearsOfOthers(topology)) return lines;
  for (const owner of topology.machines) {
    if (owner === machine) continue;
    for (const block of facts.owned.get(owner.name) ?? [])
      lines.push(...blockRoute(topology, facts, machine, owner, block));
  }
  return lines;
}

/** Without the mesh and without a BGPPeer no node hears of another's blocks. */
function hearsOfOthers({ resources }: Topology): boolean {
  const mesh = resources.every(
    (r) => r['kind'] !== 'BGPConfiguration' || Object(r['spec']).nodeToNodeMeshEnabled !== false,
  );
  return mesh || resources.some((r) => r['kind'] === 'BGPPeer');
}

/** The pool's mode decides, and for CrossSubnet whether the other node is on this one's own subnet. */
function blockRoute({ resources }: Topology, facts: Facts, machine: Machine, owner: Machine, block: Prefix): string[] {
  const pool = resources.find((r) => r['kind'] === 'IPPool' && prefixCovers(Object(r['spec']).cidr as Prefix, block));
  const { ipipMode = 'Never', vxlanMode = 'Never' } = Object(pool?.['spec']) as Record<string, string>;
  const family = familyOf(block);
  const via = addressOf(owner, family);
  if (via === undefined) return [];
  const near = machine.interfaces[0]!.segment.prefixes.some((own) => prefixContains(own, via));
  const tunnels = (mode: string) => mode === 'Always' || (mode === 'CrossSubnet' && !near);
  if (tunnels(ipipMode)) return [routeLine(block, `via ${via} dev tunl0 ${OURS}`, family, ' onlink')];
  if (tunnels(vxlanMode)) {
    const end = facts.vteps.get(owner.name)?.find((address) => familyOf(address) === family) ?? '?';
    const device = family === 4 ? 'vxlan.calico' : 'vxlan-v6.calico';
    return [routeLine(block, `via ${end} dev ${device} ${OURS}`, family, ' onlink')];
  }
  // of a pool with VXLAN the datastore alone says where packets go, whatever the tables look like just now
  const onlink = vxlanMode === 'Never' ? '' : ' onlink';
  const hop = nextHop(machine, via);
  if (hop === undefined) return [];
  return [routeLine(block, `via ${hop} dev ${deviceTo(machine, hop)} ${OURS}`, family, onlink)];
}
