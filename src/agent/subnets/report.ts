/** What subnet leases have to say of this node: why it is not ready, its lease, its bridge, the routes to the others. */
import { printable } from '../../base/mod.ts';
import { isReservation, subnetList } from '../../ipam/mod.ts';
import { parseInterfaceAddress, prefixContains, prefixLength } from '../../net/mod.ts';
import type { LeaseStatus, PodStatus, ProblemStatus } from '../../status/mod.ts';
import type { NetworkReport } from '../network.ts';
import { routeItems } from '../report.ts';
import type { SubnetNetwork } from './network.ts';
import { leaseName } from './ownership.ts';

export function reportOf(network: SubnetNetwork): NetworkReport {
  const { ownership, plan, table, context } = network;
  const { reasons, warnings } = judge(network, context.pods());
  const problems = [
    ...table.problems.map(({ kind, lease, reason }) => ({ object: `lease ${printable(lease)}`, kind, reason })),
    ...ownership.oddities().map(({ key, reason }): ProblemStatus => {
      return { object: `key ${printable(key)}`, kind: 'unusable', reason: printable(reason) };
    }),
  ];
  const { stale, complete, revision } = ownership;
  const datastore: NetworkReport['datastore'] = {
    state: stale === undefined ? 'in-sync' : complete ? 'stale' : 'connecting',
    ...(stale === undefined ? {} : { reason: stale }),
    ...(revision === undefined ? {} : { revision }),
  };
  if (network.retired) return retiredReport(network, datastore);
  return {
    ...{ reasons, warnings, problems, datastore },
    routes: () => routeItems(context.routes, table.ordered),
    sections: () => ({
      ...(ownership.config && plan
        ? { network: { networks: plan.networks, backend: plan.view.backendType, leases: ownership.leases.length } }
        : {}),
      lease: leaseStatus(network),
      ...(plan?.bridge
        ? {
            bridge: {
              name: plan.bridge.bridge,
              mtu: plan.bridge.mtu,
              addresses: plan.bridge.subnets.map(({ gateway, subnet }) => `${gateway}/${prefixLength(subnet)}`),
            },
          }
        : {}),
    }),
    metrics: () => [
      [
        'godwit_lease_held',
        'Whether this node holds its subnet lease.',
        [{ value: Number(network.leases?.state.type === 'held') }],
      ],
      ['godwit_leases', 'Leases in the network, this node’s own included.', [{ value: ownership.leases.length }]],
    ],
  };
}

/** Of a network that is given up: only what keeps it from being gone. */
function retiredReport(network: SubnetNetwork, datastore: NetworkReport['datastore']): NetworkReport {
  const left = network.leftovers();
  return {
    ...{ reasons: [], problems: [], datastore, routes: () => [], sections: () => ({}), metrics: () => [] },
    warnings: left.length === 0 ? [] : [`leases: given up, and still there: ${left.join('; ')}`],
  };
}

/**
 * Ready: this node has its lease, the picture of the network was complete once, and every other node that has a usable
 * lease can be routed to. Being cut off from the datastore later is a warning: routes and pods work on.
 */
function judge(network: SubnetNetwork, pods: readonly PodStatus[]) {
  const { ownership, plan, table, context } = network;
  const reasons: string[] = [];
  const warnings: string[] = [];
  if (!ownership.complete) reasons.push(`datastore: ${ownership.stale ?? 'the first list is not complete'}`);
  else if (ownership.stale !== undefined) warnings.push(`datastore: ${ownership.stale}; everything stays as it was`);
  if (ownership.complete && !ownership.config) reasons.push(`network: no usable ${context.config.etcdPrefix}/config`);
  const lease = network.leases?.state;
  if (lease?.type !== 'held') reasons.push(`lease: ${lease?.reason ?? 'not looked for yet'}`);
  else if (!plan?.bridge) reasons.push('bridge: not made yet');
  for (const problem of table.problems) {
    const text = `lease ${printable(problem.lease)}: ${problem.reason}`;
    // a node that is out of reach is missing; a claim that is no good is its maker's trouble
    (problem.kind === 'not-connected' || problem.kind === 'no-vtep' ? reasons : warnings).push(text);
  }
  for (const text of strayPods(network, pods)) warnings.push(text);
  for (const { key, reason } of ownership.oddities()) warnings.push(`key ${printable(key)}: ${printable(reason)}`);
  const asked = ownership.config?.backendType;
  // udp is also what a configuration that names none means to Flannel
  if (plan && asked !== undefined && asked !== 'udp' && asked !== plan.view.backendType)
    warnings.push(`network: its backend is ${printable(asked, 32)}, this node routes ${plan.view.backendType}`);
  return { reasons, warnings };
}

/** After a subnet was lost to another node, pods attached before carry addresses that are not this node's any more. */
function strayPods({ plan }: SubnetNetwork, pods: readonly PodStatus[]): string[] {
  if (!plan?.bridge) return [];
  const { subnets } = plan.bridge;
  return pods.flatMap(({ container, addresses }) => {
    const stray = addresses.filter((text) => {
      const address = parseInterfaceAddress(text)?.address;
      // an address of another network is none of ours to judge
      if (address === undefined || !plan.networks.some((network) => prefixContains(network, address))) return false;
      return !subnets.some(({ subnet }) => prefixContains(subnet, address));
    });
    if (stray.length === 0) return [];
    return [`pod ${printable(container, 16)}: ${stray.join(', ')} is not in this node’s subnet any more`];
  });
}

function leaseStatus({ leases, context }: SubnetNetwork): LeaseStatus {
  const state = leases?.state ?? { type: 'waiting', reason: 'not looked for yet' };
  if (state.type === 'waiting') return { state: 'waiting', subnets: [], reason: state.reason };
  const { lease } = state.held;
  return {
    state: state.type,
    subnets: subnetList(lease.subnets),
    name: leaseName(lease, context.config.etcdPrefix),
    reservation: isReservation(lease),
    ...(state.type === 'lost' ? { reason: state.reason } : {}),
  };
}
