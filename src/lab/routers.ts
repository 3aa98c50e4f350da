/**
 * The routing programs and announcers of a lab as processes: where Debian has them, how they are started with files of
 * their own, and when they answer.
 */
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { GodwitError, sleep } from '../base/mod.ts';
import { addLink, deleteLink, Rtnetlink } from '../netlink/mod.ts';
import { NetworkNamespace, selfCommand } from '../sys/mod.ts';
import type { LabLayout } from './layout.ts';
import { startDaemon } from './process.ts';
import type { Daemon } from './process.ts';
import { failure, waitFor } from './programs.ts';
import { announcerConfig, routingConfig } from './routing.ts';
import { isRealRoot } from './sandbox.ts';
import { BIRDC, VTYSH } from './sessions.ts';
import type { AnnouncerPlan, Machine, RoutingProgram, Topology } from './topology.ts';

/** Programs of others, where Debian puts them. */
const foreign = {
  frr: { package: 'frr', files: ['/usr/lib/frr/zebra', '/usr/lib/frr/bgpd', VTYSH] },
  bird: { package: 'bird2', files: ['/usr/sbin/bird', BIRDC] },
} as const;

type Kind = RoutingProgram['program'];

/** Throws GodwitError `program` that names the package when one that the scenario asks for is not installed. */
export function refuseMissing({ machines, resources }: Topology): void {
  const tunnels = resources.some((r) => r['kind'] === 'IPPool' && (Object(r['spec']).ipipMode ?? 'Never') !== 'Never');
  if (tunnels && !isRealRoot() && !hasIpip()) {
    const hint = 'run it as root, or a scenario without IPIP (calico-vxlan)';
    throw new GodwitError('program', 'this kernel has no ipip.ko, and what stands in for it only real root may load', {
      hint,
    });
  }
  for (const kind of new Set(machines.map(({ bgp }) => bgp?.program))) {
    if (kind !== 'frr' && kind !== 'bird') continue;
    if (kind === 'frr' && !isRealRoot()) {
      const hint =
        'run it as root, or let the routers run bird or godwit (gateway-announcer-bird, gateway-announcer-godwit)';
      throw new GodwitError('program', 'FRR gives up being root when it starts, which only real root can', { hint });
    }
    const missing = foreign[kind].files.find((file) => !existsSync(file));
    if (missing === undefined) continue;
    const hint = `Debian: apt-get install --no-install-recommends ${foreign[kind].package}; it need not run as a service`;
    throw new GodwitError('program', `the scenario has machines with ${kind}, and there is no ${missing} here`, {
      hint,
    });
  }
}

/** Asks the kernel for a tunnel, in the namespace this command has for itself. */
function hasIpip(): boolean {
  const name = 'godwit-ipip';
  using netlink = new Rtnetlink();
  const [refused] = netlink.changeEach([0], (batch) => void addLink(batch, { kind: 'ipip', name }));
  const link = netlink.link(name);
  if (link) netlink.change((batch) => deleteLink(batch, link.index, name));
  return refused === undefined;
}

/** FRR gives up being root, and makes its sockets after that. */
function ownerOf(user: string): { readonly uid: number; readonly gid: number } | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${user}:`));
  const fields = line?.split(':');
  return fields && { uid: Number(fields[2]), gid: Number(fields[3]) };
}

export async function startRouting(
  layout: LabLayout,
  topology: Topology,
  machine: Machine,
  started: (name: string, daemon: Daemon) => void,
): Promise<void> {
  const bgp = machine.bgp!;
  const directory = layout.programDirectory(machine.name);
  const file = (name: string) => `${directory}/${name}`;
  const again = existsSync(directory);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  writeFileSync(file('config'), routingConfig(topology, machine, bgp, file('control')));
  using namespace = NetworkNamespace.open(layout.namespace(machine.name));
  const start = (...command: string[]) => startDaemon(namespace, command, { log: file('log'), cwd: directory });
  const { name } = machine;
  if (bgp.program === 'godwit') return started(name, start(...selfCommand(), 'bgp', '--config', file('config')));
  if (bgp.program === 'bird') {
    // -R: neighbours and kernel still hold the routes of its last life
    const flags = ['-f', '-c', file('config'), '-s', file('control'), '-P', file('pid'), ...(again ? ['-R'] : [])];
    rmSync(file('control'), { force: true });
    return started(name, start(foreign.bird.files[0], ...flags));
  }
  const owner = ownerOf('frr');
  if (owner) chownSync(directory, owner.uid, owner.gid);
  // with next hop objects every route would show a number that means nothing here
  writeFileSync(file('zebra.conf'), 'log stdout\nno zebra nexthop kernel enable\n');
  writeFileSync(file('vtysh.conf'), 'no service integrated-vtysh-config\n');
  for (const socket of ['zserv', 'zebra.vty', 'bgpd.vty']) rmSync(file(socket), { force: true });
  const [zebra, bgpd] = foreign.frr.files;
  const common = ['--vty_socket', directory, '-P', '0', '-z', file('zserv')];
  // zebra keeps what bgpd's last life put into the kernel, until it is told anew
  const zebraFlags = ['-f', file('zebra.conf'), '-i', file('zebra.pid'), '-K', '60', ...common];
  started(`${name}.zebra`, start(zebra, ...zebraFlags));
  // bgpd that does not find zebra tries again ten seconds later
  for (const end = performance.now() + 5_000; performance.now() < end && !(await connects(file('zserv')));)
    await sleep(20);
  started(`${name}.bgpd`, start(bgpd, '-f', file('config'), '-i', file('bgpd.pid'), ...common));
}

export function startAnnouncer(layout: LabLayout, topology: Topology, plan: AnnouncerPlan, datastore: string): Daemon {
  const directory = layout.programDirectory(plan.name);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  writeFileSync(`${directory}/config`, announcerConfig(topology, plan, `${directory}/state`));
  rmSync(`${directory}/control`, { force: true });
  const flags = ['--config', `${directory}/config`, '--datastore', datastore, '--socket', `${directory}/control`];
  using namespace = NetworkNamespace.open(layout.namespace(plan.host));
  return startDaemon(namespace, [...selfCommand(), 'gateway', ...flags], { log: `${directory}/log`, cwd: directory });
}

/** Waits until its control socket takes connections. */
export async function answers(
  layout: LabLayout,
  who: string,
  kind: Kind | 'gateway',
  daemons: readonly Daemon[],
  signal: AbortSignal,
): Promise<void> {
  const directory = layout.programDirectory(who);
  const sockets = kind === 'frr' ? ['zebra.vty', 'bgpd.vty'] : ['control'];
  const log = `${directory}/log`;
  for (const daemon of daemons) {
    const ready = await waitFor(daemon, log, `${who} (${kind})`, signal, async () => {
      const taken = await Promise.all(sockets.map((socket) => connects(`${directory}/${socket}`)));
      return taken.every(Boolean);
    });
    if (!ready) throw failure(`${who} (${kind}) does not answer on its control socket`, log);
  }
}

async function connects(path: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => {}, error: () => {} } });
    socket.end();
    return true;
  } catch {
    return false;
  }
}
