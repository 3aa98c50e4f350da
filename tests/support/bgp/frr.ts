/** FRR as a peer: bgpd, and zebra beside it, without which bgpd knows no interfaces. Its best routes reach the kernel. */
import { Daemon, DaemonRouter } from './daemon.ts';
import type { Lan } from './lan.ts';
import { familiesOf, type FamilyName, familyOfAddress, type HeldRoute, type RouterSpec } from './spec.ts';

export const frrPrograms = ['/usr/lib/frr/bgpd', '/usr/lib/frr/zebra', '/usr/bin/vtysh'];

function neighborLines(spec: RouterSpec): string[] {
  const lines: string[] = [];
  for (const n of spec.neighbors) {
    const head = ` neighbor ${n.address}`;
    lines.push(`${head} remote-as ${n.asn}`, `${head} timers connect 1`, `${head} capability extended-nexthop`);
    const hold = n.holdTime ?? 90;
    lines.push(`${head} timers ${Math.max(1, Math.floor(hold / 3))} ${hold}`);
    if (n.password) lines.push(`${head} password ${n.password}`);
    if (n.ttlSecurity) lines.push(`${head} ttl-security hops 1`);
    if (n.passive) lines.push(`${head} passive`);
  }
  return lines;
}

function familyLines(spec: RouterSpec, family: FamilyName): string[] {
  const lines = [` address-family ${family} unicast`];
  const own = (spec.announce ?? []).filter((a) => familyOfAddress(a.prefix) === family);
  for (const a of own) lines.push(`  network ${a.prefix} route-map A${(spec.announce ?? []).indexOf(a)}`);
  for (const n of spec.neighbors) {
    if (!familiesOf(n).includes(family)) {
      lines.push(`  no neighbor ${n.address} activate`);
      continue;
    }
    lines.push(`  neighbor ${n.address} activate`);
    if (n.client) lines.push(`  neighbor ${n.address} route-reflector-client`);
    if (n.maxPrefix !== undefined) lines.push(`  neighbor ${n.address} maximum-prefix ${n.maxPrefix}`);
  }
  const { dynamic } = spec;
  if (dynamic && familyOfAddress(dynamic.range) === family) lines.push('  neighbor DYNAMIC activate');
  lines.push(' exit-address-family');
  return lines;
}

export function frrConfig(spec: RouterSpec): string {
  const maps = (spec.announce ?? []).flatMap((a, i) => [
    `route-map A${i} permit 10`,
    ...(a.communities?.length ? [` set community ${a.communities.join(' ')}`] : []),
    ...(a.large?.length ? [` set large-community ${a.large.join(' ')}`] : []),
    'exit',
  ]);
  const { dynamic } = spec;
  return [
    'log stdout',
    'debug bgp neighbor-events',
    // before they are used: a map that changes later is looked at after five seconds
    ...maps,
    `router bgp ${spec.asn}`,
    ` bgp router-id ${spec.id}`,
    ' no bgp ebgp-requires-policy',
    ' no bgp default ipv4-unicast',
    ' no bgp network import-check',
    ' no bgp enforce-first-as',
    ' coalesce-time 100',
    ...(spec.gracefulRestart
      ? [' bgp graceful-restart', ' bgp graceful-restart preserve-fw-state', ' bgp graceful-restart restart-time 30']
      : []),
    ...(dynamic
      ? [
          ' neighbor DYNAMIC peer-group',
          ` neighbor DYNAMIC remote-as ${dynamic.asn}`,
          ...(dynamic.password ? [` neighbor DYNAMIC password ${dynamic.password}`] : []),
          ` bgp listen range ${dynamic.range} peer-group DYNAMIC`,
        ]
      : []),
    ...neighborLines(spec),
    ...familyLines(spec, 'ipv4'),
    ...familyLines(spec, 'ipv6'),
    'exit',
    '',
  ].join('\n');
}

interface FrrPath {
  readonly bestpath?: { readonly overall?: boolean };
  readonly aspath?: { readonly string: string };
  readonly nexthops?: readonly { readonly ip?: string; readonly scope?: string }[];
  readonly community?: { readonly list?: readonly string[] };
  readonly largeCommunity?: { readonly list?: readonly string[] };
  readonly locPrf?: number;
  readonly originatorId?: string;
  readonly clusterList?: { readonly list?: readonly string[] };
}

export class Frr extends DaemonRouter {
  readonly kind = 'FRR';

  static async start(lan: Lan, name: string, spec: RouterSpec): Promise<Frr> {
    const frr = new Frr(spec, new Daemon(name, lan.namespaces.name(name)));
    frr.daemon.write('bgpd.conf', frrConfig(spec), 0o644);
    frr.daemon.write('zebra.conf', 'log stdout\n', 0o644);
    frr.daemon.write('vtysh.conf', 'no service integrated-vtysh-config\n', 0o644);
    await frr.start();
    return frr;
  }

  async start(): Promise<void> {
    const { daemon, spec } = this;
    const common = ['--vty_socket', daemon.directory, '-z', daemon.file('zserv')];
    const keep = spec.gracefulRestart ? ['-r', '-K', '60'] : [];
    daemon.spawn([
      '/usr/lib/frr/zebra',
      '-f',
      daemon.file('zebra.conf'),
      '-i',
      daemon.file('zebra.pid'),
      ...keep,
      ...common,
    ]);
    await daemon.ready('zebra', () => this.vtysh('zebra', 'show version') !== undefined);
    await this.startBgpd();
  }

  /** Starts bgpd alone, as after a crash that zebra survived. */
  async startBgpd(): Promise<void> {
    const { daemon } = this;
    const common = ['--vty_socket', daemon.directory, '-z', daemon.file('zserv')];
    daemon.spawn(['/usr/lib/frr/bgpd', '-f', daemon.file('bgpd.conf'), '-i', daemon.file('bgpd.pid'), ...common]);
    await daemon.ready('bgpd', () => this.vtysh('bgpd', 'show bgp summary json') !== undefined);
  }

  vtysh(program: 'bgpd' | 'zebra', ...commands: string[]): string | undefined {
    const args = commands.flatMap((c) => ['-c', c]);
    return this.daemon.ask(
      'vtysh',
      '--vty_socket',
      this.daemon.directory,
      '--config_dir',
      this.daemon.directory,
      '-d',
      program,
      ...args,
    );
  }

  private json(command: string): unknown {
    try {
      return JSON.parse(this.vtysh('bgpd', command) ?? '');
    } catch {
      return undefined;
    }
  }

  established(address: string): boolean {
    const all = this.json('show bgp neighbors json') as Record<string, { bgpState?: string }> | undefined;
    return all?.[address]?.bgpState === 'Established';
  }

  route(prefix: string): HeldRoute | undefined {
    const family = familyOfAddress(prefix);
    const found = this.json(`show bgp ${family} unicast ${prefix} json`) as { paths?: readonly FrrPath[] } | undefined;
    const best = found?.paths?.find((p) => p.bestpath?.overall);
    if (!best) return undefined;
    const hop = best.nexthops?.find((h) => h.scope !== 'link-local') ?? best.nexthops?.[0];
    return {
      prefix,
      nextHop: hop?.ip ?? '',
      asPath: (best.aspath?.string ?? '')
        .split(' ')
        .filter((s) => /^\d+$/.test(s))
        .map(Number),
      communities: best.community?.list ?? [],
      large: best.largeCommunity?.list ?? [],
      ...(best.locPrf !== undefined && { localPref: best.locPrf }),
      ...(best.originatorId !== undefined && { originatorId: best.originatorId }),
      clusterList: best.clusterList?.list ?? [],
    };
  }
}
