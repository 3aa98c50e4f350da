/** BIRD 2 as a peer. */
import type { Lan } from './lan.ts';
import { Daemon, DaemonRouter } from './daemon.ts';
import {
  type Announcement,
  familiesOf,
  familyOfAddress,
  type HeldRoute,
  type NeighborSpec,
  type RouterSpec,
} from './spec.ts';

export const birdPrograms = ['/usr/sbin/bird', '/usr/sbin/birdc'];

const tuple = (community: string): string => `(${community.split(':').join(',')})`;

function staticRoute(a: Announcement): string {
  const sets = [
    ...(a.communities ?? []).map((c) => `bgp_community.add(${tuple(c)});`),
    ...(a.large ?? []).map((c) => `bgp_large_community.add(${tuple(c)});`),
  ];
  return `  route ${a.prefix} blackhole${sets.length > 0 ? ` { ${sets.join(' ')} }` : ''};`;
}

function channels(spec: RouterSpec, n: Partial<NeighborSpec>, families: readonly string[]): string[] {
  return families.map((family) => {
    const limit = n.maxPrefix === undefined ? '' : ` import limit ${n.maxPrefix} action restart;`;
    const hop = family === 'ipv4' && n.extendedNextHop ? ' extended next hop on;' : '';
    return `  ${family} { import all; export all;${limit}${hop} };`;
  });
}

function bgp(spec: RouterSpec, n: NeighborSpec, index: number): string {
  const ipv6 = familyOfAddress(n.address) === 'ipv6';
  return [
    `protocol bgp n${index} {`,
    `  local ${ipv6 ? spec.address6 : spec.address4} as ${spec.asn};`,
    `  neighbor ${n.address} as ${n.asn};`,
    '  connect delay time 1; connect retry time 1; error wait time 1, 2;',
    `  hold time ${n.holdTime ?? 90};`,
    n.password ? `  password "${n.password}";` : '',
    n.ttlSecurity ? '  ttl security on;' : '',
    n.passive ? '  passive on;' : '',
    n.client ? '  rr client;' : '',
    `  graceful restart ${spec.gracefulRestart ? 'on' : 'aware'};`,
    ...channels(spec, n, familiesOf(n)),
    '}',
  ].join('\n');
}

function dynamicBgp(spec: RouterSpec): string {
  const { range, asn, password } = spec.dynamic!;
  return [
    'protocol bgp ranged {',
    `  local ${familyOfAddress(range) === 'ipv6' ? spec.address6 : spec.address4} as ${spec.asn};`,
    `  neighbor range ${range} as ${asn};`,
    password ? `  password "${password}";` : '',
    ...channels(spec, {}, [familyOfAddress(range)]),
    '}',
  ].join('\n');
}

export function birdConfig(spec: RouterSpec): string {
  const families = ['ipv4', 'ipv6'] as const;
  const statics = families.map((family) => {
    const routes = (spec.announce ?? []).filter((a) => familyOfAddress(a.prefix) === family);
    return `protocol static static_${family} {\n  ${family};\n${routes.map(staticRoute).join('\n')}\n}`;
  });
  const wait = spec.gracefulRestart ? ' graceful restart on;' : '';
  const kernels = families.map(
    (f) => `protocol kernel kernel_${f} { ${f} { export where source = RTS_BGP; }; persist;${wait} }`,
  );
  return [
    'log stderr all;',
    `router id ${spec.id};`,
    spec.gracefulRestart ? 'graceful restart wait 30;' : '',
    'protocol device {}',
    ...statics,
    ...(spec.kernel ? kernels : []),
    ...spec.neighbors.map((n, i) => bgp(spec, n, i)),
    spec.dynamic ? dynamicBgp(spec) : '',
    '',
  ].join('\n');
}

export class Bird extends DaemonRouter {
  readonly kind = 'BIRD';
  private lives = 0;

  static async start(lan: Lan, name: string, spec: RouterSpec): Promise<Bird> {
    const bird = new Bird(spec, new Daemon(name, lan.namespaces.name(name)));
    bird.daemon.write('bird.conf', birdConfig(spec));
    await bird.start();
    return bird;
  }

  async start(): Promise<void> {
    const { daemon } = this;
    // -R: it is back from a crash and says so in its OPENs
    const restart = this.spec.gracefulRestart && this.lives++ > 0 ? ['-R'] : [];
    daemon.spawn([
      'bird',
      '-f',
      '-c',
      daemon.file('bird.conf'),
      '-s',
      daemon.file('ctl'),
      '-P',
      daemon.file('pid'),
      ...restart,
    ]);
    await daemon.ready('bird', () => this.birdc('show', 'status') !== undefined);
  }

  birdc(...command: string[]): string | undefined {
    return this.daemon.ask('birdc', '-s', this.daemon.file('ctl'), ...command);
  }

  established(address: string): boolean {
    const index = this.spec.neighbors.findIndex((n) => n.address === address);
    if (index >= 0) return /\sEstablished/.test(this.birdc('show', 'protocols', `n${index}`) ?? '');
    // a dynamic neighbour has a protocol of its own, named by BIRD
    const all = (this.birdc('show', 'protocols', 'all') ?? '').split(/\n(?=\S)/);
    return all.some((one) => one.includes(`Neighbor address: ${address}\n`) && /\sEstablished/.test(one));
  }

  route(prefix: string): HeldRoute | undefined {
    const text = this.birdc('show', 'route', 'for', prefix, 'primary', 'all');
    if (!text?.includes(`${prefix} `)) return undefined;
    const field = (name: string) => new RegExp(`BGP\\.${name}: (.*)`).exec(text)?.[1]?.trim();
    const tuples = (name: string) =>
      [...(field(name) ?? '').matchAll(/\(([^)]*)\)/g)].map((m) => m[1]!.replaceAll(/\s*,\s*/g, ':'));
    const localPref = field('local_pref');
    const originatorId = field('originator_id');
    return {
      prefix,
      nextHop: field('next_hop')?.split(' ')[0] ?? '',
      asPath: (field('as_path') ?? '').split(' ').filter(Boolean).map(Number),
      communities: tuples('community'),
      large: tuples('large_community'),
      ...(localPref !== undefined && { localPref: Number(localPref) }),
      ...(originatorId !== undefined && { originatorId }),
      clusterList: (field('cluster_list') ?? '').split(' ').filter(Boolean),
    };
  }
}
