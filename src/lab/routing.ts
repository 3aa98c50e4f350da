/**
 * Configurations of the routing programs of a lab, made of what a scenario says in a few words: the same sessions for FRR,
 * BIRD and `godwit bgp`, each as its own manual would have it. Pure.
 *
 * All of them keep routes over a restart (RFC 4724), resolve next hops that are further away through their other routes, and
 * put what they learn into the kernel's main table.
 */
import { prefixContains, prefixCovers } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import { deviceTo, ipv4Of } from './machine.ts';
import type { AnnouncerPlan, BgpSession, Machine, RoutingProgram, Topology } from './topology.ts';

/** One session as the program sees it, its policies resolved. */
interface Peer extends BgpSession {
  readonly to: { readonly address: IpAddress; readonly source: IpAddress } | { readonly range: string };
  /** It need not be on a connected subnet, and neither do the next hops it tells (an external one's have to, else). */
  readonly far: boolean;
}

interface Speaker {
  readonly id: IpAddress;
  readonly as: number;
  readonly networks: readonly string[];
  readonly peers: readonly Peer[];
}

/** What a program is told, as text. `control` is the path of its control socket, for those that ask for one. */
export function routingConfig(topology: Topology, machine: Machine, bgp: RoutingProgram, control: string): string {
  if (bgp.config !== undefined) return bgp.config;
  const announcers = topology.announcers.filter(({ gateways }) => gateways.includes(machine.name));
  const sessions = announcers.map(({ as, host }): RoutingProgram['neighbors'][number] => ({
    ...{ as, address: ipv4Of(topology.machines.find(({ name }) => name === host)!), accept: topology.podNetworks },
    ...{ export: 'none', client: false, nextHopSelf: false },
  }));
  const speaker: Speaker = {
    id: ipv4Of(machine),
    as: bgp.as,
    networks: bgp.networks,
    peers: [
      ...[...bgp.neighbors, ...sessions].map((session): Peer => {
        const { address, as } = session;
        const near = bgp.neighbors.includes(session) && deviceTo(machine, address) !== undefined;
        return { ...session, to: { address, source: addressTowards(machine, address) }, far: as !== bgp.as && !near };
      }),
      ...bgp.ranges.map((session): Peer => {
        const near = machine.interfaces.some(({ segment }) =>
          segment.prefixes.some((own) => prefixCovers(own, session.range)),
        );
        return { ...session, to: { range: session.range }, far: session.as !== bgp.as && !near };
      }),
    ],
  };
  return writers[bgp.program](speaker, control);
}

/** The address by which a machine is known to another: the one on a shared segment, or its first. */
const addressTowards = (machine: Machine, address: IpAddress): IpAddress => {
  const shared = machine.interfaces.find(({ segment }) => prefixContains(segment.prefixes[0]!, address));
  return shared?.addresses[0]?.address ?? ipv4Of(machine);
};

/** The announcer's configuration (docs/gateway.md) as JSON, which is YAML. */
export function announcerConfig(topology: Topology, announcer: AnnouncerPlan, stateFile: string): string {
  const own = ipv4Of(topology.machines.find(({ name }) => name === announcer.host)!);
  const gateways = topology.machines.filter(({ name }) => announcer.gateways.includes(name));
  return json({
    source: topology.mode === 'calico' ? 'calico' : 'flannel',
    announce: { within: topology.podNetworks },
    stateFile,
    bgp: {
      routerId: own,
      as: announcer.as,
      policies: { pods: [accept] },
      neighbors: gateways.map((gateway) => ({
        ...{ name: gateway.name, address: addressTowards(gateway, own), as: gateway.bgp!.as },
        ...{ import: 'reject', export: 'pods', families: { ipv4: { nextHop: 'unchanged' } }, timers },
        ...(gateway.bgp!.as !== announcer.as && { multihop: true }),
      })),
    },
  });
}

// oxlint-disable-next-line unicorn/no-thenable -- the word for a policy term's verdict
const accept = { then: 'accept' };
const timers = { connectRetry: 1, idleHold: 0.2, idleHoldMax: 1 };
const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

function godwit(speaker: Speaker, control: string): string {
  const sessions = speaker.peers.map((peer, i) => ({
    ...('range' in peer.to ? { range: peer.to.range } : { address: peer.to.address, source: peer.to.source }),
    ...{ as: peer.as, import: `in${i}`, export: peer.export === 'all' ? 'accept' : 'reject', timers },
    ...(peer.far && { multihop: true }),
    ...(peer.client && { routeReflectorClient: true }),
    ...(peer.nextHopSelf && { families: { ipv4: { nextHop: 'self' } } }),
  }));
  const entries = speaker.peers.map((peer, i) => [`in${i}`, peer.accept.map((prefix) => `${prefix} le 32`)] as const);
  return json({
    ...{ routerId: speaker.id, as: speaker.as, control, listen: ['0.0.0.0'], fib: 'kernel' },
    networks: speaker.networks,
    prefixLists: Object.fromEntries(entries),
    policies: Object.fromEntries(entries.map(([name]) => [name, [{ match: { prefixLists: [name] }, ...accept }]])),
    neighbors: sessions.filter((session) => 'address' in session),
    dynamic: sessions.filter((session) => 'range' in session),
  });
}

/**
 * FRR that starts again says that it has told all its routes (End-of-RIB) as soon as it has heard as much from those who are
 * back by then, and the others' helpers drop what it has not told yet. `update-delay` makes it wait, but only for neighbours
 * that are written down, which those of a range are not: one that never comes keeps it waiting for the second number of
 * seconds, and by then the range's are back. RFC 5737 says that nobody has the address.
 */
const waitForRanges = [
  ' update-delay 10 3',
  ' neighbor 192.0.2.254 remote-as external',
  ' neighbor 192.0.2.254 passive',
];

function frr(speaker: Speaker): string {
  const { id, as, networks, peers } = speaker;
  const inFamily: string[] = networks.map((network) => `  network ${network}`);
  const sessions = peers.flatMap((peer, i) => {
    const name = 'range' in peer.to ? `RANGE${i}` : peer.to.address;
    const policy = `route-map IN${i} in`;
    inFamily.push(`  neighbor ${name} activate`, `  neighbor ${name} ${policy}`);
    inFamily.push(`  neighbor ${name} route-map ${peer.export === 'all' ? 'ALL' : 'NONE'} out`);
    if (peer.client) inFamily.push(`  neighbor ${name} route-reflector-client`);
    if (peer.nextHopSelf) inFamily.push(`  neighbor ${name} next-hop-self`);
    const far = !peer.far ? [] : [` neighbor ${name} ebgp-multihop`, ` neighbor ${name} disable-connected-check`];
    const common = [` neighbor ${name} remote-as ${peer.as}`, ...far, ` neighbor ${name} timers connect 1`];
    return 'range' in peer.to
      ? [` neighbor ${name} peer-group`, ...common, ` bgp listen range ${peer.to.range} peer-group ${name}`]
      : [...common, ` neighbor ${name} update-source ${peer.to.source}`];
  });
  const maps = peers.flatMap((peer, i) => [
    ...peer.accept.map((prefix) => `ip prefix-list IN${i} permit ${prefix} le 32`),
    `route-map IN${i} ${peer.accept.length > 0 ? 'permit' : 'deny'} 10`,
    ...(peer.accept.length > 0 ? [` match ip address prefix-list IN${i}`] : []),
    'exit',
  ]);
  return [
    ...['log stdout', 'route-map ALL permit 10', 'exit', 'route-map NONE deny 10', 'exit', ...maps],
    ...[`router bgp ${as}`, ` bgp router-id ${id}`, ' no bgp default ipv4-unicast', ' no bgp network import-check'],
    ...[' coalesce-time 100', ' bgp graceful-restart', ' bgp graceful-restart preserve-fw-state'],
    ...(peers.some(({ to }) => 'range' in to) ? waitForRanges : []),
    ...sessions,
    ...[' address-family ipv4 unicast', ...inFamily, ' exit-address-family', 'exit', ''],
  ].join('\n');
}

function bird(speaker: Speaker): string {
  const { id, as, networks, peers } = speaker;
  const statics = networks.map((network) => `  route ${network} blackhole;`);
  const sessions = peers.map((peer, i) => {
    const local = 'range' in peer.to ? '' : peer.to.source;
    const neighbor = 'range' in peer.to ? `range ${peer.to.range}` : peer.to.address;
    const set = peer.accept.map((prefix) => `${prefix}+`).join(', ');
    return [
      `protocol bgp ${'range' in peer.to ? 'range' : 'peer'}${i} {`,
      `  local ${local} as ${as};`,
      `  neighbor ${neighbor} as ${peer.as};`,
      ...(peer.far || peer.as === as ? ['  multihop;'] : ['  direct;']),
      ...(peer.client ? ['  rr client;'] : []),
      '  connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on;',
      '  ipv4 {',
      `    import ${set === '' ? 'none' : `where net ~ [ ${set} ]`};`,
      `    export ${peer.export === 'all' ? 'where source = RTS_BGP || proto = "own"' : 'none'};`,
      ...(peer.nextHopSelf ? ['    next hop self ebgp;'] : []),
      '  };',
      '}',
    ].join('\n');
  });
  return [
    ...['log stderr all;', `router id ${id};`, 'graceful restart wait 30;', 'protocol device { scan time 2; }'],
    ...['protocol direct { ipv4; }', `protocol static own {\n  ipv4;\n${statics.join('\n')}\n}`],
    'protocol kernel {\n  learn; persist; graceful restart on; scan time 2;',
    '  ipv4 { import all; export where source = RTS_BGP; };\n}',
    ...sessions,
    '',
  ].join('\n');
}

const writers: Readonly<Record<RoutingProgram['program'], (speaker: Speaker, control: string) => string>> = {
  ...{ frr, bird, godwit },
};
