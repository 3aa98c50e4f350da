/** What the agent would change now, as the commands a person would type: sections of text, writes nothing. */
import { messageOf } from '../base/mod.ts';
import type { RouteWrite } from '../dataplane/mod.ts';
import { isOwn, subnetList } from '../ipam/mod.ts';
import type { SubnetLease, Subnets } from '../ipam/mod.ts';
import type { KernelRoute } from '../netlink/mod.ts';
import type { Agent } from './agent.ts';
import type { HostSnapshot } from './detect.ts';

function routeCommand({ op, route }: RouteWrite, host: HostSnapshot): string {
  const verb = { create: 'add', replace: 'replace', delete: 'del' }[op];
  return `ip route ${verb} ${routeText(route, host)}`;
}

function routeText(route: KernelRoute, host: HostSnapshot): string {
  const name = (index: number) => host.links.find((link) => link.index === index)?.name ?? `if${index}`;
  const hops = route.nextHops.map(({ gateway, index }) => {
    return `${gateway === undefined ? '' : ` via ${gateway}`} dev ${name(index)}`;
  });
  const through = hops.length > 1 ? hops.map((hop) => ` nexthop${hop}`) : hops;
  return `${hops.length === 0 ? 'blackhole ' : ''}${route.destination}${through.join('')} proto ${route.protocol}`;
}

/** The lease this node has in the datastore, found by its address. */
export function findOwnLease(agent: Agent, previous: Subnets | undefined): SubnetLease | undefined {
  const node = {
    publicIp: agent.addresses.get(4)?.current?.address,
    publicIpv6: agent.addresses.get(6)?.current?.address,
  };
  const mine = agent.ownership.leases.filter((lease) => isOwn(lease, node));
  return mine.find((lease) => lease.subnets.ipv4 === previous?.ipv4) ?? mine[0];
}

export function describeChanges(agent: Agent, host: HostSnapshot, previous: Subnets | undefined): string[] {
  const { ownership, config } = agent;
  const lines: string[] = [];
  const section = (title: string, changes: readonly string[]) => {
    lines.push(`# ${title}: ${changes.length === 0 ? 'nothing to change' : ''}`.trimEnd(), ...changes);
  };
  for (const state of agent.addresses.values()) lines.push(`# address: ${state.detection.reason}`);
  if (!ownership.config)
    return [...lines, `# network: no usable ${config.etcdPrefix}/config: nothing would be changed`];
  const own = findOwnLease(agent, previous);
  if (own) lines.push(`# lease: ${subnetList(own.subnets).join(', ')} is this node’s`);
  else
    lines.push(
      '# lease: none carries this node’s address; a subnet would be taken, and bridge and pods follow from it',
    );
  const plan = agent.preview(own, host);
  if (!plan)
    return [...lines, '# routes: this node has no address of the network’s families: nothing would be changed'];
  const parts = agent.caretaker.plan();
  for (const { part, text } of parts) lines.push(`# ${part}`, text);
  if (parts.length === 0) lines.push('# sysctl, bridge, masquerade, subnet file: nothing to change');
  try {
    section(
      'routes',
      agent.routes.plan().map((write) => routeCommand(write, host)),
    );
  } catch (error) {
    lines.push(`# routes: cannot tell: ${messageOf(error)}`);
  }
  for (const problem of plan.routes.problems) lines.push(`# lease ${problem.lease}: ${problem.reason}`);
  return lines;
}
