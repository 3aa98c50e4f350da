/** The agent's state as others see it: whether it is ready and why not, and the whole status. */
import { printable } from '../base/mod.ts';
import type { RouteReconciler } from '../dataplane/mod.ts';
import type { Route } from '../desired/mod.ts';
import { formatInterfaceAddress, parseInterfaceAddress } from '../net/mod.ts';
import type {
  AddressStatus,
  DatastoreStatus,
  NetworkSections,
  NodeStatus,
  ProblemStatus,
  PublishedStatus,
  Readiness,
  RouteStatusItem,
  RoutesStatus,
} from '../status/mod.ts';
import type { Agent } from './agent.ts';
import type { NetworkReport } from './network.ts';

/** Everything that is told, from one look. */
export interface AgentReport extends Readiness {
  readonly networks: readonly NetworkReport[];
  readonly datastore: DatastoreStatus;
}

/**
 * Ready: this node has its addresses, every part of its kernel state is in place, every wanted route is in the kernel,
 * and each of its networks has what it needs.
 */
export function reportOf(agent: Agent): AgentReport {
  const { routes } = agent;
  const reasons: string[] = [];
  const warnings: string[] = [];
  const networks = agent.networks.map((network) => network.report());
  for (const state of neededAddresses(agent)) {
    if (!state.current) reasons.push(`address: ${state.detection.reason}`);
    else if (state.missingSince !== undefined) reasons.push(`address: ${state.current.address} is on no interface`);
  }
  if (networks.length === 0) reasons.push('network: the agent is starting');
  for (const network of networks) {
    reasons.push(...network.reasons);
    warnings.push(...network.warnings);
  }
  for (const { chain } of agent.masquerade.forwardDrops()) {
    warnings.push(`chain ${printable(chain)} drops what it does not know: pods’ packets may be among it`);
  }
  for (const part of agent.caretaker.status()) {
    if (!part.inSync) reasons.push(`${part.name}: ${printable(part.problem, 500)}`);
  }
  const status = routes.status();
  const answered = new Set(networks.flatMap(({ answersFor = [] }) => answersFor));
  if (status.waitingFor.some((producer) => !answered.has(producer)))
    reasons.push('routes: the picture of the network is not complete');
  else if (status.installed < status.wanted) {
    reasons.push(`routes: ${status.wanted - status.installed} of ${status.wanted} are not in the kernel`);
  }
  for (const { route, reason } of status.problems) reasons.push(`route ${route.destination}: ${reason}`);
  if (!agent.pods.ready) reasons.push('cni: it is not recovered yet');
  const datastore = datastoreStatus(agent, networks);
  return {
    ready: reasons.length === 0,
    reasons: [...new Set(reasons)],
    warnings: [...new Set(warnings)],
    networks,
    datastore,
  };
}

function neededAddresses({ addresses, networks }: Agent) {
  const families = new Set(networks.flatMap((network) => network.families()));
  return [...families].sort().flatMap((family) => addresses.get(family) ?? []);
}

/** Two networks read one datastore: the one that knows less speaks for both. */
function datastoreStatus({ config }: Agent, networks: readonly NetworkReport[]): DatastoreStatus {
  const name = config.datastore.replace(/\/\/[^@/]*@/, '//');
  const order = ['connecting', 'copy', 'stale', 'in-sync'] as const;
  const [worst] = networks
    .map(({ datastore }) => datastore)
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  return { name, ...(worst ?? { state: 'connecting' }) };
}

/** Routes for people, with what the kernel made of them. */
export function routeItems(routes: RouteReconciler, wanted: Iterable<Route>): RouteStatusItem[] {
  const problems = new Map(routes.status().problems.map((p) => [p.route, `${p.kind}: ${p.reason}`]));
  return [...wanted].map((route) => {
    const [hop] = route.nextHops;
    const problem = problems.get(route);
    return {
      destination: route.destination,
      ...(hop?.via === undefined ? {} : { via: hop.via }),
      ...(hop === undefined ? {} : { device: hop.device }),
      installed: routes.isInstalled(route),
      ...(problem === undefined ? {} : { problem }),
    };
  });
}

function routesStatus({ routes, config }: Agent, networks: readonly NetworkReport[]): RoutesStatus {
  const { wanted, installed, counters } = routes.status();
  return {
    ...{ protocol: config.routeProtocol, wanted, installed, counters },
    items: networks.flatMap((network) => network.routes()),
  };
}

const problemsOf = ({ routes }: Agent, networks: readonly NetworkReport[]): ProblemStatus[] => [
  ...networks.flatMap((network) => network.problems),
  ...routes.status().problems.map(({ kind, route, reason }) => {
    return { object: `route ${route.destination}`, kind, reason };
  }),
];

export function statusOf(agent: Agent): NodeStatus {
  const { config } = agent;
  const { networks, datastore, ...readiness } = reportOf(agent);
  const refusal = agent.pods.refusal();
  const addresses = neededAddresses(agent).map(({ detection, current }): AddressStatus => {
    const { family, method, reason } = detection;
    if (!current) return { family, method, reason };
    return { family, method, reason, address: formatInterfaceAddress(current), device: current.device };
  });
  return {
    node: config.node,
    networks: [...config.network].sort(
      (a, b) => Number(b === agent.podNetworkKind()) - Number(a === agent.podNetworkKind()),
    ),
    pid: process.pid,
    uptime: Math.round((agent.clock.now() - agent.startedAt) / 1000),
    ...readiness,
    ...{ addresses, datastore },
    ...networks.reduce<NetworkSections>((all, network) => ({ ...all, ...network.sections() }), {}),
    routes: routesStatus(agent, networks),
    problems: problemsOf(agent, networks),
    parts: agent.caretaker.status(),
    cni: {
      socket: config.cniSocket,
      ready: refusal === undefined,
      ...(refusal === undefined ? {} : { reason: refusal }),
      pods: agent.pods.pods(),
    },
  };
}

/** What is put into the datastore. */
export function publishedOf(agent: Agent): PublishedStatus {
  const { ready, reasons, warnings, networks } = reportOf(agent);
  const { wanted, installed } = agent.routes.status();
  const parts = networks.flatMap((network) => network.published?.() ?? []);
  const pods = agent.pods.pods().flatMap(({ addresses }) => {
    return addresses.flatMap((text) => parseInterfaceAddress(text)?.address ?? []);
  });
  const blocks = parts.find((part) => part.blocks)?.blocks;
  return {
    ...{ node: agent.config.node, networks: agent.config.network, ready, reasons, warnings },
    addresses: neededAddresses(agent).flatMap(({ detection: { family }, current }) => {
      return current ? [{ family, address: current.address }] : [];
    }),
    inUse: [...new Set([...pods, ...parts.flatMap(({ inUse }) => inUse)])].sort(),
    routes: { wanted, installed },
    ...(blocks && { blocks }),
  };
}
