/** Who owns which part of the pod network: by the datastore, or by the scenario when that does not answer. */
import { messageOf } from '../base/mod.ts';
import { openDatastore } from '../datastore/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { DEFAULT_NETWORK_PREFIX, parseLease, subnetsPrefix } from '../ipam/mod.ts';
import type { Prefix } from '../net/mod.ts';
import type { Owned } from './expect.ts';
import type { Lab } from './lab.ts';
import { datastoreUrl } from './programs.ts';
import type { Machine } from './topology.ts';

const REQUEST_TIMEOUT_MS = 2_000;

export async function readOwned({ topology, layout }: Lab, problems: string[]): Promise<Owned> {
  const agents = topology.machines.filter((machine) => machine.agent);
  if (agents.length === 0) return new Map();
  try {
    const url = datastoreUrl(layout, topology.datastore);
    await using store = await openDatastore(url, { requestTimeoutMs: REQUEST_TIMEOUT_MS });
    return await ownedByLease(store, agents, problems);
  } catch (error) {
    problems.push(`datastore: ${messageOf(error)}`);
    return new Map(agents.flatMap(({ name, subnet }) => (subnet === undefined ? [] : [[name, [subnet]]])));
  }
}

async function ownedByLease(store: Datastore, agents: readonly Machine[], problems: string[]): Promise<Owned> {
  const owned = new Map<string, Prefix[]>();
  const hosts = new Map(agents.map(({ name, interfaces }) => [interfaces[0]!.address, name]));
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
  return owned;
}
