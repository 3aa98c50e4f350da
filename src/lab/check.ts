/**
 * Whether a lab is as its scenario demands: every machine's routes line by line, every pod's address, and who reaches
 * whom. What is wrong is said in sentences that name the hop.
 */
import { messageOf, sleep } from '../base/mod.ts';
import { openDatastore } from '../datastore/mod.ts';
import { DEFAULT_NETWORK_PREFIX, parseLease, subnetsPrefix } from '../ipam/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import { compareRoutes, expectedRoutes } from './expect.ts';
import type { Lab } from './lab.ts';
import { observe } from './observe.ts';
import type { ObservedNode } from './observe.ts';
import { explain } from './path.ts';
import { probeAll } from './probe.ts';
import type { Endpoint, Outcome, ProbedPair } from './probe.ts';
import { datastoreUrl } from './programs.ts';
import type { Machine, Pod } from './topology.ts';

export interface NodeReport {
  readonly name: string;
  readonly role: 'host' | 'router';
  readonly addresses: readonly string[];
  /** The pod subnet it owns. */
  readonly subnet?: Prefix;
  /** Its routes as `ip route` shows them, and whether the scenario demands them. */
  readonly routes: readonly { readonly line: string; readonly expected: boolean }[];
  readonly missing: readonly string[];
}

export interface PodReport {
  readonly name: string;
  readonly host: string;
  readonly address?: IpAddress;
}

export interface PairReport {
  readonly from: string;
  readonly to: string;
  readonly icmp: Outcome;
  readonly tcp: Outcome;
  /** Whether both got through, and between pods with the sender's own address. */
  readonly ok: boolean;
}

export interface CheckReport {
  readonly lab: string;
  readonly scenario: string;
  readonly ok: boolean;
  readonly nodes: readonly NodeReport[];
  readonly pods: readonly PodReport[];
  readonly reachability: { readonly pairs: readonly PairReport[]; readonly passed: number; readonly total: number };
  /** What is wrong, most telling first; empty when nothing is. */
  readonly problems: readonly string[];
}

const AGAIN_MS = 200;

/** Checks again until all is right, but no longer than this; gives the last report. */
export async function checkWithin(lab: Lab, ms: number, signal?: AbortSignal): Promise<CheckReport> {
  for (const end = performance.now() + ms; ; await sleep(AGAIN_MS, signal)) {
    const report = await checkLab(lab);
    if (report.ok || performance.now() >= end || signal?.aborted === true) return report;
  }
}

async function checkLab(lab: Lab): Promise<CheckReport> {
  const { topology, layout, manifest } = lab;
  const problems = manifest.state === 'up' ? [] : [`the lab is ${manifest.state}: not all of it is there`];
  const subnets = await readSubnets(lab, problems);
  const observed = new Map<string, ObservedNode>();
  for (const { name } of [...topology.machines, ...topology.pods]) {
    try {
      observed.set(name, observe(name, layout.namespace(name)));
    } catch (error) {
      problems.push(`${name}: ${messageOf(error)}`);
    }
  }
  const nodes = topology.machines.map((machine) => checkNode(lab, machine, subnets, observed, problems));
  const pods = topology.pods.map((pod) => checkPod(lab, pod, observed, problems));
  const endpoints = endpointsOf(lab, pods).filter(({ name }) => observed.has(name));
  const pairs = judge(await probeAll(endpoints), endpoints, new Set(topology.pods.map(({ name }) => name)));
  problems.push(...explainAll(pairs, endpoints, [...observed.values()]));
  const passed = pairs.filter(({ ok }) => ok).length;
  return {
    lab: layout.name,
    scenario: manifest.source,
    ok: problems.length === 0,
    nodes,
    pods,
    reachability: { pairs, passed, total: pairs.length },
    problems,
  };
}

type Observed = ReadonlyMap<string, ObservedNode>;

function checkNode(
  { topology }: Lab,
  machine: Machine,
  subnets: ReadonlyMap<string, Prefix>,
  observed: Observed,
  problems: string[],
): NodeReport {
  const { name, role, subnet: reserved } = machine;
  const node = observed.get(name);
  const expected = expectedRoutes(topology, subnets, machine);
  const faults = node ? compareRoutes(expected, node) : [];
  for (const { problem, line } of faults) {
    problems.push(`${name}: ${problem === 'missing' ? 'lacks' : 'has a stale'} route ${line}`);
  }
  const subnet = subnets.get(name);
  if (machine.agent && subnet === undefined) problems.push(`${name}: has no subnet lease`);
  else if (reserved !== undefined && subnet !== reserved) {
    problems.push(`${name}: has ${subnet}, not the reserved ${reserved}`);
  }
  return {
    name,
    role,
    addresses: machine.interfaces.map(({ address }) => address),
    ...(subnet !== undefined && { subnet }),
    routes: (node?.routes ?? []).map(({ line }) => ({ line, expected: expected.includes(line) })),
    missing: faults.filter(({ problem }) => problem === 'missing').map(({ line }) => line),
  };
}

function checkPod({ manifest }: Lab, { name, host }: Pod, observed: Observed, problems: string[]): PodReport {
  const given = manifest.pods[name];
  const address = observed.get(name)?.addresses.find(({ device }) => device === 'eth0')?.address;
  if (address === undefined) problems.push(`${name}: has no address on eth0`);
  else if (address !== given) problems.push(`${name}: has ${address}, and the CNI plugin said ${given}`);
  return { name, host, ...(address !== undefined && { address }) };
}

/** Hosts by their first address, and pods. */
function endpointsOf({ topology, layout }: Lab, pods: readonly PodReport[]): Endpoint[] {
  const hosts = topology.machines.filter(({ role }) => role === 'host');
  const all = [...hosts.map(({ name, interfaces }) => ({ name, address: interfaces[0]!.address })), ...pods];
  return all.flatMap(({ name, address }) => {
    return address === undefined ? [] : [{ name, address, namespace: layout.namespace(name) }];
  });
}

function judge(pairs: readonly ProbedPair[], endpoints: readonly Endpoint[], pods: ReadonlySet<string>): PairReport[] {
  const addressOf = new Map(endpoints.map(({ name, address }) => [name, address]));
  return pairs.map((pair) => {
    const { from, to, icmp, tcp } = pair;
    const betweenPods = pods.has(from) && pods.has(to);
    const kept = ({ seenAs }: Outcome) => !betweenPods || seenAs === undefined || seenAs === addressOf.get(from);
    return { ...pair, ok: icmp.ok && tcp.ok && kept(icmp) && kept(tcp) };
  });
}

/** One sentence for each thing that is wrong, not for each pair that suffers from it. */
function explainAll(
  pairs: readonly PairReport[],
  endpoints: readonly Endpoint[],
  nodes: readonly ObservedNode[],
): string[] {
  const byName = new Map(endpoints.map((endpoint) => [endpoint.name, endpoint]));
  const sentences = new Map<string, string[]>();
  for (const { from, to, icmp, tcp, ok } of pairs) {
    if (ok) continue;
    const words = [icmp, tcp]
      .map((o, i) => (o.ok ? '' : `${i === 0 ? 'ICMP' : 'TCP'}: ${o.error}`))
      .filter((w) => w !== '');
    const [sender, receiver] = [byName.get(from)!, byName.get(to)!];
    const reason =
      words.length === 0
        ? `the address of ${from} is translated on the way: ${to} sees ${tcp.seenAs ?? icmp.seenAs}`
        : `${words.join(', ')}; ${explain(nodes, sender, receiver)}`;
    const list = sentences.get(reason) ?? [];
    list.push(`${from} → ${to}`);
    sentences.set(reason, list);
  }
  return [...sentences].map(([reason, list]) => {
    const more = list.length > 3 ? ` and ${list.length - 3} more` : '';
    return `${list.slice(0, 3).join(', ')}${more}: ${reason}`;
  });
}

/** Who owns which pod subnet: by the datastore, or by the scenario when that does not answer. */
async function readSubnets({ topology, layout }: Lab, problems: string[]): Promise<Map<string, Prefix>> {
  const subnets = new Map<string, Prefix>();
  const agents = topology.machines.filter((machine) => machine.agent);
  if (agents.length === 0) return subnets;
  const hosts = new Map(agents.map(({ name, interfaces }) => [interfaces[0]!.address, name]));
  try {
    const url = datastoreUrl(layout, topology.datastore);
    await using store = await openDatastore(url, { requestTimeoutMs: 2_000 });
    const { kvs } = await store.list(subnetsPrefix(DEFAULT_NETWORK_PREFIX));
    for (const kv of kvs) {
      const lease = parseLease(DEFAULT_NETWORK_PREFIX, kv);
      if (!lease.ok) problems.push(`datastore: ${kv.key}: ${lease.error}`);
      else {
        const { publicIp } = lease.value.attributes;
        const host = publicIp === undefined ? undefined : hosts.get(publicIp);
        if (host !== undefined && lease.value.subnets.ipv4 !== undefined) subnets.set(host, lease.value.subnets.ipv4);
      }
    }
  } catch (error) {
    problems.push(`datastore: ${messageOf(error)}`);
    return new Map(agents.flatMap(({ name, subnet }) => (subnet === undefined ? [] : [[name, subnet] as const])));
  }
  return subnets;
}
