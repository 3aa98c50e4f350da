/**
 * Whether a lab is as its scenario demands: every machine's routes line by line, every pod's address, and who reaches
 * whom. What is wrong is said in sentences that name the hop.
 */
import { messageOf, sleep } from '../base/mod.ts';
import { familyOf, parseAddress } from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';
import { compareRoutes, expectedRoutes } from './expect.ts';
import type { Facts } from './expect.ts';
import type { Lab } from './lab.ts';
import { allAddresses } from './machine.ts';
import { observe } from './observe.ts';
import type { ObservedNode } from './observe.ts';
import { explain } from './path.ts';
import { probeAll } from './probe.ts';
import type { Endpoint, Outcome, ProbedPair } from './probe.ts';
import { readOwned } from './owned.ts';
import { memoryOf, programsOf, stateOf } from './roster.ts';
import type { MemoryUse, Program, ProgramState } from './roster.ts';
import { demandedSessions, establishedWith, ownTable } from './sessions.ts';
import type { Machine, Pod } from './topology.ts';

export interface NodeReport {
  readonly name: string;
  readonly role: 'host' | 'router';
  readonly addresses: readonly string[];
  /** The parts of the pod network it owns. */
  readonly owns?: readonly Prefix[];
  /** Its routes as `ip route` shows them, and whether the scenario demands them. */
  readonly routes: readonly { readonly line: string; readonly expected: boolean }[];
  readonly missing: readonly string[];
  /** The table of the routing program that runs here, as that prints it. */
  readonly table?: { readonly command: string; readonly text: string };
}

export interface ProgramReport extends Program {
  readonly state: ProgramState;
  readonly memory?: MemoryUse;
}

export interface PodReport {
  readonly name: string;
  readonly host: string;
  readonly addresses: readonly IpAddress[];
}

export interface PairReport {
  readonly from: string;
  readonly to: string;
  readonly family: Family;
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
  readonly programs: readonly ProgramReport[];
  readonly reachability: { readonly pairs: readonly PairReport[]; readonly passed: number; readonly total: number };
  /** What is wrong, most telling first; empty when nothing is. */
  readonly problems: readonly string[];
}

const AGAIN_MS = 200;

/** Checks again until all is right, but no longer than this; gives the last report. */
export async function checkWithin(find: () => Lab, ms: number, signal?: AbortSignal): Promise<CheckReport> {
  for (const end = performance.now() + ms; ; await sleep(AGAIN_MS, signal)) {
    const isLast = performance.now() >= end || signal?.aborted === true;
    // who reaches whom is worth asking when the routes are there, or when there is no time left
    const routes = isLast ? undefined : await checkLab(find(), false);
    if (routes?.ok === false) continue;
    const report = await checkLab(find(), true);
    if (report.ok || isLast) return report;
  }
}

async function checkLab(lab: Lab, probes: boolean): Promise<CheckReport> {
  const { topology, layout, manifest } = lab;
  const problems = manifest.state === 'up' ? [] : [`the lab is ${manifest.state}: not all of it is there`];
  const programs = programsOf(topology).map((program): ProgramReport => {
    const memory = memoryOf(manifest, program);
    return { ...program, state: stateOf(manifest, program), ...(memory !== undefined && { memory }) };
  });
  for (const { who, kind, state } of programs)
    if (state === 'gone' || state === 'stopped') problems.push(badProgram(who, kind, state));
  const facts = await readOwned(lab, problems);
  const observed = new Map<string, ObservedNode>();
  for (const { name } of [...topology.machines, ...topology.pods]) {
    try {
      observed.set(name, observe(name, layout.namespace(name)));
    } catch (error) {
      problems.push(`${name}: ${messageOf(error)}`);
    }
  }
  const nodes = topology.machines.map((machine) => checkNode(lab, machine, facts, observed, problems));
  for (const machine of topology.machines) problems.push(...(await missingSessions(lab, machine)));
  const pods = topology.pods.map((pod) => checkPod(lab, pod, observed, problems));
  const endpoints = endpointsOf(lab, pods).filter(({ name }) => observed.has(name));
  const probed = probes ? await probeAll(endpoints) : [];
  const pairs = judge(probed, endpoints, new Set(topology.pods.map(({ name }) => name)));
  problems.push(
    ...explainAll(pairs, endpoints, [...observed.values()], new Map(pods.map(({ name, host }) => [name, host]))),
  );
  const passed = pairs.filter(({ ok }) => ok).length;
  return {
    lab: layout.name,
    scenario: manifest.source,
    ok: problems.length === 0,
    nodes: probes ? await Promise.all(nodes.map((node) => withTable(lab, node))) : nodes,
    pods,
    programs,
    reachability: { pairs, passed, total: pairs.length },
    problems,
  };
}

function badProgram(who: string, kind: Program['kind'], state: 'gone' | 'stopped'): string {
  const what = kind === 'agent' ? 'its agent' : who === 'datastore' ? 'the datastore' : `its ${kind}`;
  if (state === 'stopped') return `${who}: ${what} is stopped (SIGSTOP, or a debugger): it lives, and does nothing`;
  return `${who}: ${what} is gone: no process of it runs (its log: lab logs ${who}; again: lab start ${who})`;
}

async function missingSessions({ topology, layout, manifest }: Lab, machine: Machine): Promise<string[]> {
  const { name } = machine;
  const demanded = manifest.killed.includes(name) ? undefined : demandedSessions(topology, machine, manifest.killed);
  if (!demanded) return [];
  const established = await establishedWith(layout, machine);
  if (!established) return [`${name}: its ${machine.bgp!.program} does not answer`];
  return demanded
    .filter((address) => !established.includes(address))
    .map((address) => `${name}: has no BGP session with ${address}`);
}

async function withTable({ topology, layout }: Lab, node: NodeReport): Promise<NodeReport> {
  const machine = topology.machines.find(({ name }) => name === node.name);
  const table = machine?.bgp && (await ownTable(layout, machine));
  return table ? { ...node, table } : node;
}

type Observed = ReadonlyMap<string, ObservedNode>;

function checkNode(
  { topology, manifest }: Lab,
  machine: Machine,
  facts: Facts,
  observed: Observed,
  problems: string[],
): NodeReport {
  const { name, role, subnet: reserved } = machine;
  const node = observed.get(name);
  const expected = expectedRoutes(topology, facts, machine, manifest.pods);
  const faults = node ? compareRoutes(expected, node, machine) : [];
  for (const { problem, line } of faults) {
    problems.push(`${name}: ${problem === 'missing' ? 'lacks' : 'has a stale'} route ${line}`);
  }
  const owns = facts.owned.get(name);
  if (machine.agent && owns === undefined && topology.mode === 'host-gw') problems.push(`${name}: has no subnet lease`);
  else if (reserved !== undefined && owns?.[0] !== reserved) {
    problems.push(`${name}: has ${owns?.[0]}, not the reserved ${reserved}`);
  }
  return {
    name,
    role,
    addresses: allAddresses(machine),
    ...(owns !== undefined && { owns }),
    routes: (node?.routes ?? []).map(({ line }) => ({ line, expected: expected.includes(line) })),
    missing: faults.filter(({ problem }) => problem === 'missing').map(({ line }) => line),
  };
}

function checkPod({ manifest }: Lab, { name, host }: Pod, observed: Observed, problems: string[]): PodReport {
  const given = (manifest.pods[name] ?? []).flatMap((text) => parseAddress(text) ?? []);
  const own = observed.get(name)?.addresses.filter(({ device }) => device === 'eth0') ?? [];
  const addresses = own.map(({ address }) => address);
  for (const address of given.filter((wanted) => !addresses.includes(wanted)))
    problems.push(`${name}: lacks ${address} on eth0, which the CNI plugin said it has`);
  for (const address of addresses.filter((other) => !given.includes(other)))
    problems.push(`${name}: has ${address} on eth0, which the CNI plugin did not say`);
  return { name, host, addresses };
}

const keyOf = (name: string, family: Family): string => `${name} ${family}`;

/** Hosts by the addresses of their first interface, and pods. */
function endpointsOf({ topology, layout }: Lab, pods: readonly PodReport[]): Endpoint[] {
  const hosts = topology.machines.filter(({ role }) => role === 'host');
  const own = hosts.map(({ name, interfaces }) => {
    return { name, addresses: interfaces[0]!.addresses.map(({ address }) => address) };
  });
  return [...own, ...pods].flatMap(({ name, addresses }) =>
    addresses.map((address) => ({ name, address, namespace: layout.namespace(name) })),
  );
}

function judge(pairs: readonly ProbedPair[], endpoints: readonly Endpoint[], pods: ReadonlySet<string>): PairReport[] {
  const addressOf = new Map(
    endpoints.map((endpoint) => [keyOf(endpoint.name, familyOf(endpoint.address)), endpoint.address]),
  );
  return pairs.map((pair) => {
    const { from, to, family, icmp, tcp } = pair;
    const betweenPods = pods.has(from) && pods.has(to);
    const kept = ({ seenAs }: Outcome) =>
      !betweenPods || seenAs === undefined || seenAs === addressOf.get(keyOf(from, family));
    return { ...pair, ok: icmp.ok && tcp.ok && kept(icmp) && kept(tcp) };
  });
}

/** One sentence for each thing that is wrong, not for each pair that suffers from it. */
function explainAll(
  pairs: readonly PairReport[],
  endpoints: readonly Endpoint[],
  nodes: readonly ObservedNode[],
  hosts: ReadonlyMap<string, string>,
): string[] {
  const byName = new Map(endpoints.map((endpoint) => [keyOf(endpoint.name, familyOf(endpoint.address)), endpoint]));
  const sentences = new Map<string, string[]>();
  const both = new Set(pairs.map(({ family }) => family)).size > 1;
  for (const { from, to, family, icmp, tcp, ok } of pairs) {
    if (ok) continue;
    const words = [icmp, tcp]
      .map((o, i) => (o.ok ? '' : `${i === 0 ? 'ICMP' : 'TCP'}: ${o.error}`))
      .filter((w) => w !== '');
    const [sender, receiver] = [byName.get(keyOf(from, family))!, byName.get(keyOf(to, family))!];
    const reason =
      words.length === 0
        ? `the address of ${from} is translated on the way: ${to} sees ${tcp.seenAs ?? icmp.seenAs}`
        : `${words.join(', ')}; ${explain(nodes, hosts, sender, receiver)}`;
    const list = sentences.get(reason) ?? [];
    list.push(`${from} → ${to}${both && family === 6 ? ' (IPv6)' : ''}`);
    sentences.set(reason, list);
  }
  return [...sentences].map(([reason, list]) => {
    const more = list.length > 3 ? ` and ${list.length - 3} more` : '';
    return `${list.slice(0, 3).join(', ')}${more}: ${reason}`;
  });
}
