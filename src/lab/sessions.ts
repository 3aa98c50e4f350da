/** The BGP sessions of a lab's routing programs: those the scenario demands, and those the programs say they have. */
import { z } from 'zod';
import { NetworkNamespace, selfCommand } from '../sys/mod.ts';
import type { LabLayout } from './layout.ts';
import { cleanEnvironment } from './process.ts';
import { prefixContains } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import { addressOf, allAddresses } from './machine.ts';
import type { Machine, RoutingProgram, Topology } from './topology.ts';

export const VTYSH = '/usr/bin/vtysh';
export const BIRDC = '/usr/sbin/birdc';

/** Addresses with which a routing program is to have a session; undefined when its configuration is not the lab's. */
export function demandedSessions(
  topology: Topology,
  { name, bgp }: Machine,
  killed: readonly string[],
): IpAddress[] | undefined {
  if (bgp === undefined || bgp.config !== undefined) return undefined;
  const runs = (machine: Machine) => (machine.agent || machine.bgp !== undefined) && !killed.includes(machine.name);
  const announcers = topology.announcers.filter((a) => a.gateways.includes(name) && !killed.includes(a.name));
  const hosts = announcers.map(({ host }) => topology.machines.find((machine) => machine.name === host)!);
  const others = topology.machines.filter((machine) => machine.name !== name && runs(machine));
  const firsts = others.flatMap((machine) => addressOf(machine, 4) ?? []);
  const all = others.flatMap(allAddresses);
  return [
    ...hosts.flatMap((host) => addressOf(host, 4) ?? []),
    ...bgp.neighbors.map(({ address }) => address).filter((address) => all.includes(address)),
    ...bgp.ranges.flatMap(({ range }) => firsts.filter((address) => prefixContains(range, address))),
  ];
}

/** Addresses of the neighbours it is Established with; undefined when it does not answer. */
export async function establishedWith(layout: LabLayout, { name, bgp }: Machine): Promise<string[] | undefined> {
  const directory = layout.programDirectory(name);
  const control = `${directory}/control`;
  const { program } = bgp!;
  if (program === 'frr') {
    return establishedInFrr(await ask(layout, name, vtysh(directory, 'bgpd', 'show bgp ipv4 unicast summary json')));
  }
  if (program === 'bird') {
    return establishedInBird(await ask(layout, name, [BIRDC, '-s', control, 'show', 'protocols', 'all']));
  }
  const command = [...selfCommand(), 'bgp', 'show', 'neighbors', '--json', '--socket', control];
  return establishedInGodwit(await ask(layout, name, command));
}

export const vtysh = (directory: string, daemon: 'bgpd' | 'zebra', command: string): string[] => [
  ...[VTYSH, '--vty_socket', directory, '--config_dir', directory, '-d', daemon, '-c', command],
];

/** Runs a program's own tool beside it; gives what it prints, or undefined when it fails. */
export async function ask(layout: LabLayout, name: string, command: readonly string[]): Promise<string | undefined> {
  using namespace = NetworkNamespace.open(layout.namespace(name));
  const child = namespace.run(() =>
    Bun.spawn([...command], { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'ignore'], timeout: 10_000 }),
  );
  const [text, status] = await Promise.all([child.stdout.text(), child.exited]);
  return status === 0 ? text.trimEnd() : undefined;
}

const frrSummary = z.object({ peers: z.record(z.string(), z.object({ state: z.string() })).default({}) });
const godwitNeighbors = z.array(z.object({ address: z.string(), state: z.string() }));

export function establishedInFrr(text: string | undefined): string[] | undefined {
  const { data } = frrSummary.safeParse(parseJson(text));
  return data && Object.entries(data.peers).flatMap(([peer, { state }]) => (state === 'Established' ? [peer] : []));
}

export function establishedInGodwit(text: string | undefined): string[] | undefined {
  const { data } = godwitNeighbors.safeParse(parseJson(text));
  return data?.filter(({ state }) => state === 'Established').map(({ address }) => address);
}

/** A neighbour of a range has a protocol of its own, named by BIRD; so the address is looked for, not the name. */
export function establishedInBird(text: string | undefined): string[] | undefined {
  return text?.split(/\n(?=\S)/).flatMap((protocol) => {
    const address = /^ +Neighbor address: +(\S+)$/m.exec(protocol)?.[1];
    return address !== undefined && /^ +BGP state: +Established$/m.test(protocol) ? [address] : [];
  });
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}

const SHOWN: Readonly<Record<RoutingProgram['program'], string>> = {
  frr: 'show ip route',
  bird: 'birdc show route',
  godwit: 'godwit bgp show routes',
};

/** Its routing table as it prints it itself, and by which command; undefined when it does not answer. */
export async function ownTable(
  layout: LabLayout,
  { name, bgp }: Machine,
): Promise<{ readonly command: string; readonly text: string } | undefined> {
  const directory = layout.programDirectory(name);
  const control = `${directory}/control`;
  const commands: Readonly<Record<RoutingProgram['program'], readonly string[]>> = {
    frr: vtysh(directory, 'zebra', 'show ip route'),
    bird: [BIRDC, '-s', control, 'show', 'route'],
    godwit: [...selfCommand(), 'bgp', 'show', 'routes', '--socket', control],
  };
  const { program } = bgp!;
  const text = await ask(layout, name, commands[program]);
  if (text === undefined) return undefined;
  // FRR explains its letters each time
  return { command: SHOWN[program], text: text.replace(/^Codes:[\s\S]*?\n\s*\n/, '').replaceAll('\t', '    ') };
}
