/** What the agent would change now, as the commands a person would type: lines of text, writes nothing. */
import { messageOf } from '../base/mod.ts';
import type { RouteWrite } from '../dataplane/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { RTNH_F } from '../netlink/mod.ts';
import type { KernelRoute } from '../netlink/mod.ts';
import type { Agent } from './agent.ts';
import type { HostSnapshot } from './detect.ts';
import type { NodeView } from './network.ts';

function routeCommand({ op, route }: RouteWrite, host: HostSnapshot): string {
  const verb = { create: 'add', replace: 'replace', delete: 'del' }[op];
  return `ip route ${verb} ${routeText(route, host)}`;
}

function routeText(route: KernelRoute, host: HostSnapshot): string {
  const name = (index: number) => host.links.find((link) => link.index === index)?.name ?? `if${index}`;
  const hops = route.nextHops.map(({ gateway, index, flags }) => {
    const onlink = (flags & RTNH_F.ONLINK) === 0 ? '' : ' onlink';
    return `${gateway === undefined ? '' : ` via ${gateway}`} dev ${name(index)}${onlink}`;
  });
  const through = hops.length > 1 ? hops.map((hop) => ` nexthop${hop}`) : hops;
  return `${hops.length === 0 ? 'blackhole ' : ''}${route.destination}${through.join('')} proto ${route.protocol}`;
}

/** Throws GodwitError when the datastore does not answer. */
export async function describeChanges(
  agent: Agent,
  store: Datastore,
  view: NodeView,
  signal: AbortSignal,
): Promise<string[]> {
  const lines: string[] = [];
  const section = (title: string, changes: readonly string[]) => {
    lines.push(`# ${title}: ${changes.length === 0 ? 'nothing to change' : ''}`.trimEnd(), ...changes);
  };
  for (const network of agent.networks) {
    const told = await network.preview(store, view, signal);
    for (const family of network.families()) {
      const state = view.addresses.get(family);
      if (state) lines.push(`# address: ${state.detection.reason}`);
    }
    lines.push(...told);
  }
  const parts = agent.caretaker.plan();
  for (const { part, text } of parts) lines.push(`# ${part}`, text);
  const names = agent.caretaker.status().map(({ name }) => name);
  if (parts.length === 0) lines.push(`# ${names.join(', ')}: nothing to change`);
  try {
    section(
      'routes',
      agent.routes.plan().map((write) => routeCommand(write, view.host)),
    );
  } catch (error) {
    lines.push(`# routes: cannot tell: ${messageOf(error)}`);
  }
  return [...new Set(lines)];
}
