/** Gateways that take every node of their segment: FRR, BIRD and Godwit, as a router of its own or as a reflector. */
import { existsSync } from 'node:fs';
import { birdPrograms, frrPrograms } from '../support/bgp/mod.ts';
import type { Daemon } from '../support/bgp/daemon.ts';
import { until } from '../support/netns.ts';
import { main, other, racks } from './racks.ts';
import type { Rack, Racks } from './racks.ts';

export type Kind = 'FRR' | 'BIRD' | 'Godwit';
export type Mode = 'eBGP for each rack' | 'iBGP with reflectors';
export const programs: Readonly<Record<Kind, readonly string[]>> = {
  ...{ FRR: frrPrograms, BIRD: birdPrograms, Godwit: [] },
};

interface Sides {
  readonly own: number;
  readonly nodes: number;
  readonly remote: number;
  readonly reflects: boolean;
  readonly subnet: string;
  readonly neighbor: string;
  readonly backbone: string;
  readonly announcers: readonly string[];
}

export interface GatewayOptions {
  /** Addresses of announcers, of AS 64999; with them no node is a neighbour. */
  readonly announcers?: readonly string[];
  /** What a Godwit gateway says on its own. */
  readonly networks?: readonly string[];
}

export async function startGateway(
  all: Racks,
  kind: Kind,
  rack: Rack,
  mode: Mode,
  { announcers = [], networks = [] }: GatewayOptions = {},
): Promise<Daemon> {
  const reflects = mode === 'iBGP with reflectors';
  const { gateway, subnet, backbone, gatewayAs, nodeAs } = racks[rack];
  const neighbor = racks[other(rack)];
  const sides: Sides = {
    ...{
      own: reflects ? 64_512 : gatewayAs,
      nodes: reflects ? 64_512 : nodeAs,
      reflects,
      subnet,
      backbone,
      announcers,
    },
    ...{ remote: reflects ? 64_512 : neighbor.gatewayAs, neighbor: neighbor.backbone },
  };
  const daemon = all.daemon(`${gateway}-${kind}`, gateway);
  if (kind === 'FRR') {
    daemon.write('zebra.conf', 'log stdout\n', 0o644);
    daemon.write('bgpd.conf', frr(sides), 0o644);
    daemon.write('vtysh.conf', 'no service integrated-vtysh-config\n', 0o644);
    const common = ['--vty_socket', daemon.directory, '-z', daemon.file('zserv')];
    daemon.spawn(['/usr/lib/frr/zebra', '-f', daemon.file('zebra.conf'), '-i', daemon.file('zebra.pid'), ...common]);
    await until('zebra listens', () => existsSync(daemon.file('zserv')));
    daemon.spawn(['/usr/lib/frr/bgpd', '-f', daemon.file('bgpd.conf'), '-i', daemon.file('bgpd.pid'), ...common]);
  } else if (kind === 'BIRD') {
    daemon.write('bird.conf', bird(sides), 0o644);
    daemon.spawn(['bird', '-f', '-c', daemon.file('bird.conf'), '-s', daemon.file('ctl'), '-P', daemon.file('pid')]);
  } else {
    daemon.write('bgp.yaml', JSON.stringify({ ...godwit(sides, daemon.file('ctl')), networks }));
    daemon.spawn([process.execPath, main, 'bgp', '--config', daemon.file('bgp.yaml')]);
  }
  return daemon;
}

const frr = (s: Sides): string => {
  const listening = [
    ' neighbor NODES peer-group',
    ` neighbor NODES remote-as ${s.nodes}`,
    ' neighbor NODES advertisement-interval 0',
    ` bgp listen range ${s.subnet}.0/24 peer-group NODES`,
  ];
  const backbone = [
    ` neighbor ${s.neighbor} remote-as ${s.remote}`,
    ` neighbor ${s.neighbor} timers connect 1`,
    ` neighbor ${s.neighbor} advertisement-interval 0`,
  ];
  const fixed = s.announcers.flatMap((address) => [
    ` neighbor ${address} remote-as 64999`,
    ` neighbor ${address} ebgp-multihop`,
  ]);
  return `log stdout
router bgp ${s.own}
 bgp router-id ${s.backbone}
 no bgp ebgp-requires-policy
 coalesce-time 0
${s.announcers.length > 0 ? '' : backbone.join('\n')}
${(s.announcers.length > 0 ? fixed : listening).join('\n')}
 address-family ipv4 unicast
${s.reflects ? '  neighbor NODES route-reflector-client\n' : ''} exit-address-family
exit
`;
};

const bird = (s: Sides): string => {
  const channel = 'ipv4 { import all; export where source = RTS_BGP; };';
  const nodes = `protocol bgp backbone {
  local ${s.backbone} as ${s.own};
  neighbor ${s.neighbor} as ${s.remote};
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ${channel}
}
protocol bgp nodes {
  local ${s.subnet}.1 as ${s.own};
  neighbor range ${s.subnet}.0/24 as ${s.nodes};
  dynamic name "node";
  ${s.reflects ? 'rr client;' : ''}
  ${channel}
}`;
  const fixed = s.announcers.map(
    (address, i) =>
      `protocol bgp announcer${i} { local as ${s.own}; neighbor ${address} as 64999; multihop; ${channel} }`,
  );
  return `log stderr all;
router id ${s.backbone};
protocol device {}
protocol direct { ipv4; }
protocol kernel { learn; ipv4 { export where source = RTS_BGP; }; }
${(s.announcers.length > 0 ? fixed : [nodes]).join('\n')}
`;
};

const godwit = (s: Sides, control: string): object => {
  const both = { import: 'accept', export: 'accept' };
  const timers = { connectRetry: 1, idleHold: 0.2, idleHoldMax: 1 };
  return {
    ...{ routerId: s.backbone, as: s.own, control, fib: 'kernel' },
    neighbors: [
      ...(s.announcers.length > 0 ? [] : [{ address: s.neighbor, as: s.remote, ...both, timers }]),
      ...s.announcers.map((address) => ({ address, as: 64_999, multihop: 5, ...both, timers })),
    ],
    dynamic:
      s.announcers.length > 0
        ? []
        : [{ range: `${s.subnet}.0/24`, as: s.nodes, ...both, ...(s.reflects && { routeReflectorClient: true }) }],
  };
};
