/** The agent's state as others see it: whether it is ready and why not, and the whole status. */
import { printable } from '../base/mod.ts';
import { isReservation, subnetList } from '../ipam/mod.ts';
import { formatInterfaceAddress, parseInterfaceAddress, prefixContains, prefixLength } from '../net/mod.ts';
import type {
  AddressStatus,
  DatastoreStatus,
  LeaseStatus,
  NodeStatus,
  ProblemStatus,
  Readiness,
  RoutesStatus,
} from '../status/mod.ts';
import type { Agent } from './agent.ts';
import { leaseName } from './ownership.ts';
import { BACKEND } from './plan.ts';

/**
 * Ready: this node has its address and its lease, every part of its kernel state is in place, the picture of the network
 * was complete once, and the route to every other node that has a usable lease is in the kernel. Being cut off from the
 * datastore later is a warning: routes and pods work on.
 */
export function readinessOf(agent: Agent): Readiness {
  const { ownership, routes, plan } = agent;
  const reasons: string[] = [];
  const warnings: string[] = [];
  for (const state of neededAddresses(agent)) {
    if (!state.current) reasons.push(`address: ${state.detection.reason}`);
    else if (state.missingSince !== undefined) reasons.push(`address: ${state.current.address} is on no interface`);
  }
  if (!ownership.complete) reasons.push(`datastore: ${ownership.stale ?? 'the first list is not complete'}`);
  else if (ownership.stale !== undefined) warnings.push(`datastore: ${ownership.stale}; everything stays as it was`);
  if (ownership.complete && !ownership.config) reasons.push(`network: no usable ${agent.config.etcdPrefix}/config`);
  const lease = agent.leases?.state;
  if (lease?.type !== 'held') reasons.push(`lease: ${lease?.reason ?? 'not looked for yet'}`);
  else if (!plan?.bridge) reasons.push('bridge: not made yet');
  for (const part of agent.caretaker.status()) {
    if (!part.inSync) reasons.push(`${part.name}: ${printable(part.problem, 500)}`);
  }
  const status = routes.status();
  if (status.waitingFor.length > 0) reasons.push('routes: the picture of the network is not complete');
  else if (status.installed < status.wanted) {
    reasons.push(`routes: ${status.wanted - status.installed} of ${status.wanted} are not in the kernel`);
  }
  for (const { route, reason } of status.problems) reasons.push(`route ${route.destination}: ${reason}`);
  for (const problem of plan?.routes.problems ?? []) {
    const text = `lease ${printable(problem.lease)}: ${problem.reason}`;
    // a node that is out of reach is missing; a claim that is no good is its maker's trouble
    (problem.kind === 'not-connected' ? reasons : warnings).push(text);
  }
  for (const text of strayPods(agent)) warnings.push(text);
  if (!agent.pods.ready) reasons.push('cni: it is not recovered yet');
  for (const { key, reason } of ownership.oddities()) warnings.push(`key ${printable(key)}: ${printable(reason)}`);
  const backend = ownership.config?.backend['type'];
  if (typeof backend === 'string' && backend !== BACKEND) {
    warnings.push(`network: its backend is ${printable(backend, 32)}, this node routes ${BACKEND}`);
  }
  for (const { chain } of agent.masquerade.forwardDrops()) {
    warnings.push(`chain ${printable(chain)} drops what it does not know: pods’ packets may be among it`);
  }
  return { ready: reasons.length === 0, reasons, warnings };
}

/** After a subnet was lost to another node, pods attached before carry addresses that are not this node's any more. */
function strayPods({ plan, pods }: Agent): string[] {
  const subnets = plan?.bridge?.subnets.map(({ subnet }) => subnet);
  if (!subnets) return [];
  return pods.pods().flatMap(({ container, addresses }) => {
    const own = (text: string) => {
      const parsed = parseInterfaceAddress(text);
      return parsed !== undefined && subnets.some((subnet) => prefixContains(subnet, parsed.address));
    };
    const stray = addresses.filter((address) => !own(address));
    if (stray.length === 0) return [];
    return [`pod ${printable(container, 16)}: ${stray.join(', ')} is not in this node’s subnet any more`];
  });
}

/** Of the families that the network has; of IPv4 while that is not known. */
function neededAddresses({ addresses, ownership }: Agent) {
  const { config } = ownership;
  const needed = ([4, 6] as const).filter((family) =>
    family === 4 ? !config || config.ipv4 !== undefined : config?.ipv6 !== undefined,
  );
  return needed.flatMap((family) => addresses.get(family) ?? []);
}

function leaseStatus({ leases, config }: Agent): LeaseStatus {
  const state = leases?.state ?? { type: 'waiting', reason: 'not looked for yet' };
  if (state.type === 'waiting') return { state: 'waiting', subnets: [], reason: state.reason };
  const { lease } = state.held;
  return {
    state: state.type,
    subnets: subnetList(lease.subnets),
    name: leaseName(lease, config.etcdPrefix),
    reservation: isReservation(lease),
    ...(state.type === 'lost' ? { reason: state.reason } : {}),
  };
}

function datastoreStatus({ ownership, config }: Agent): DatastoreStatus {
  const name = config.datastore.replace(/\/\/[^@/]*@/, '//');
  const revision = ownership.revision === undefined ? {} : { revision: ownership.revision };
  if (ownership.stale === undefined) return { name, state: 'in-sync', ...revision };
  return { name, state: ownership.complete ? 'stale' : 'connecting', reason: ownership.stale, ...revision };
}

function routesStatus({ routes, plan, config }: Agent): RoutesStatus {
  const { wanted, installed, problems, counters } = routes.status();
  const reasons = new Map(problems.map((p) => [p.route.destination, `${p.kind}: ${p.reason}`]));
  const items = (plan?.routes.routes ?? []).map((route) => {
    const [hop] = route.nextHops;
    const problem = reasons.get(route.destination);
    return {
      destination: route.destination,
      ...(hop?.via === undefined ? {} : { via: hop.via }),
      ...(hop === undefined ? {} : { device: hop.device }),
      installed: routes.isInstalled(route),
      ...(problem === undefined ? {} : { problem }),
    };
  });
  return { protocol: config.routeProtocol, wanted, installed, items, counters };
}

function problemsOf(agent: Agent): ProblemStatus[] {
  const { routes, plan, ownership } = agent;
  return [
    ...(plan?.routes.problems ?? []).map(({ kind, lease, reason }) => {
      return { object: `lease ${printable(lease)}`, kind, reason };
    }),
    ...routes.status().problems.map(({ kind, route, reason }) => {
      return { object: `route ${route.destination}`, kind, reason };
    }),
    ...ownership.oddities().map(({ key, reason }) => {
      return { object: `key ${printable(key)}`, kind: 'unusable', reason: printable(reason) };
    }),
  ];
}

export function statusOf(agent: Agent): NodeStatus {
  const { config, ownership, plan } = agent;
  const refusal = agent.pods.refusal();
  const addresses = neededAddresses(agent).map(({ detection, current }): AddressStatus => {
    const { family, method, reason } = detection;
    if (!current) return { family, method, reason };
    return { family, method, reason, address: formatInterfaceAddress(current), device: current.device };
  });
  return {
    node: config.node,
    pid: process.pid,
    uptime: Math.round((agent.clock.now() - agent.startedAt) / 1000),
    ...readinessOf(agent),
    addresses,
    datastore: datastoreStatus(agent),
    ...(ownership.config && plan
      ? { network: { networks: plan.networks, backend: BACKEND, leases: ownership.leases.length } }
      : {}),
    lease: leaseStatus(agent),
    ...(plan?.bridge
      ? {
          bridge: {
            name: plan.bridge.bridge,
            mtu: plan.bridge.mtu,
            addresses: plan.bridge.subnets.map(({ gateway, subnet }) => `${gateway}/${prefixLength(subnet)}`),
          },
        }
      : {}),
    routes: routesStatus(agent),
    problems: problemsOf(agent),
    parts: agent.caretaker.status(),
    cni: {
      socket: config.cniSocket,
      ready: refusal === undefined,
      ...(refusal === undefined ? {} : { reason: refusal }),
      pods: agent.pods.pods(),
    },
  };
}
