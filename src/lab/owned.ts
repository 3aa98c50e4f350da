/** Who owns which part of the pod network: by the datastore, or by the scenario when that does not answer. */
import { messageOf } from '../base/mod.ts';
import { openDatastore } from '../datastore/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { DEFAULT_NETWORK_PREFIX, parseLease, subnetsPrefix } from '../ipam/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { readFacts } from './calico.ts';
import type { Facts } from './expect.ts';
import type { Lab } from './lab.ts';
import { ipv4Of } from './machine.ts';
import { datastoreUrl } from './programs.ts';
import type { Machine } from './topology.ts';

const REQUEST_TIMEOUT_MS = 2_000;

export async function readOwned({ topology, layout }: Lab, problems: string[]): Promise<Facts> {
  const agents = topology.machines.filter((machine) => machine.agent);
  const own = topology.machines.flatMap(({ name, role, bgp }) => {
    return bgp && role === 'host' ? [[name, bgp.networks] as const] : [];
  });
  if (agents.length === 0) return { owned: new Map(own), vteps: new Map() };
  try {
    const url = datastoreUrl(layout, topology.datastore);
    await using store = await openDatastore(url, { requestTimeoutMs: REQUEST_TIMEOUT_MS });
    const facts = await (topology.mode === 'calico' ? readFacts : ownedByLease)(store, agents, problems);
    return { ...facts, owned: new Map([...own, ...facts.owned]) };
  } catch (error) {
    problems.push(`datastore: ${messageOf(error)}`);
    const planned = agents.map(({ name, subnet, blocks }) => [name, subnet === undefined ? blocks : [subnet]] as const);
    return { owned: new Map([...own, ...planned]), vteps: new Map() };
  }
}

async function ownedByLease(store: Datastore, agents: readonly Machine[], problems: string[]): Promise<Facts> {
  const owned = new Map<string, Prefix[]>();
  const hosts = new Map(agents.map((agent) => [ipv4Of(agent), agent.name]));
  const { kvs } = await store.list(subnetsPrefix(DEFAULT_NETWORK_PREFIX));
  for (const kv of kvs) {
    const lease = parseLease(DEFAULT_NETWORK_PREFIX, kv);
    if (!lease.ok) {
      problems.push(`datastore: ${kv.key}: ${lease.error}`);
      continue;
    }
    const { publicIp } = lease.value.attributes;
    const host = publicIp === undefined ? undefined : hosts.get(publicIp);
    if (host !== undefined && lease.value.subnets.ipv4 !== undefined) owned.set(host, [lease.value.subnets.ipv4]);
  }
  return { owned, vteps: new Map() };
}
