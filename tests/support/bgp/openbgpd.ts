/** OpenBGPD as a peer. */
import { mkdirSync } from 'node:fs';
import { Daemon, DaemonRouter } from './daemon.ts';
import type { Lan } from './lan.ts';
import { familiesOf, familyOfAddress, type HeldRoute, type RouterSpec } from './spec.ts';

export const openbgpdPrograms = ['/usr/sbin/bgpd', '/usr/sbin/bgpctl'];

export function openbgpdConfig(spec: RouterSpec, socket: string): string {
  const neighbors = spec.neighbors.map((n) => {
    const families = familiesOf(n);
    return [
      `neighbor ${n.address} {`,
      `  remote-as ${n.asn}`,
      `  local-address ${familyOfAddress(n.address) === 'ipv6' ? spec.address6 : spec.address4}`,
      `  holdtime ${n.holdTime ?? 90}`,
      `  announce IPv4 ${families.includes('ipv4') ? 'unicast' : 'none'}`,
      `  announce IPv6 ${families.includes('ipv6') ? 'unicast' : 'none'}`,
      n.password ? `  tcp md5sig password "${n.password}"` : '',
      n.ttlSecurity ? '  ttl-security yes' : '',
      n.passive ? '  passive' : '',
      n.client ? '  route-reflector' : '',
      n.maxPrefix === undefined ? '' : `  max-prefix ${n.maxPrefix} restart 1`,
      '}',
    ]
      .filter(Boolean)
      .join('\n');
  });
  const networks = (spec.announce ?? []).map((a) => {
    const sets = [
      ...(a.communities ?? []).map((c) => `community ${c}`),
      ...(a.large ?? []).map((c) => `large-community ${c}`),
    ];
    return `network ${a.prefix}${sets.length > 0 ? ` set { ${sets.join(' ')} }` : ''}`;
  });
  return [
    `AS ${spec.asn}`,
    `router-id ${spec.id}`,
    'fib-update no',
    'nexthop qualify via default',
    `socket "${socket}"`,
    `listen on ${spec.address4}`,
    `listen on ${spec.address6}`,
    ...networks,
    ...neighbors,
    'allow from any',
    'allow to any',
    '',
  ].join('\n');
}

interface OpenRoute {
  readonly prefix: string;
  readonly aspath?: string;
  readonly true_nexthop?: string;
  readonly exit_nexthop?: string;
  readonly communities?: readonly string[];
  readonly large_communities?: readonly string[];
  readonly localpref?: number;
  readonly best?: boolean;
}

export class OpenBgpd extends DaemonRouter {
  readonly kind = 'OpenBGPD';

  static async start(lan: Lan, name: string, spec: RouterSpec): Promise<OpenBgpd> {
    const openbgpd = new OpenBgpd(spec, new Daemon(name, lan.namespaces.name(name)));
    openbgpd.daemon.write('bgpd.conf', openbgpdConfig(spec, openbgpd.daemon.file('ctl')));
    await openbgpd.start();
    return openbgpd;
  }

  async start(): Promise<void> {
    const { daemon } = this;
    // its parts lock themselves into it; the service file makes it where there are services
    mkdirSync('/run/openbgpd', { recursive: true, mode: 0o755 });
    daemon.spawn(['bgpd', '-d', '-v', '-f', daemon.file('bgpd.conf')]);
    await daemon.ready('OpenBGPD', () => this.bgpctl('show', 'neighbor') !== undefined);
  }

  bgpctl(...command: string[]): unknown {
    return this.daemon.askJson('bgpctl', '-j', '-s', this.daemon.file('ctl'), ...command);
  }

  established(address: string): boolean {
    // not the JSON: a shutdown text in it that is not ASCII makes it unreadable
    const summary = this.daemon.ask('bgpctl', '-s', this.daemon.file('ctl'), 'show', 'summary', 'terse') ?? '';
    return summary.split('\n').some((line) => line.startsWith(`${address} `) && line.endsWith(' Established'));
  }

  route(prefix: string): HeldRoute | undefined {
    const found = this.bgpctl('show', 'rib', 'detail', prefix) as { rib?: readonly OpenRoute[] } | undefined;
    const exact = found?.rib?.filter((r) => r.prefix === prefix) ?? [];
    const best = exact.find((r) => r.best) ?? exact[0];
    if (!best) return undefined;
    return {
      prefix,
      nextHop: best.exit_nexthop ?? best.true_nexthop ?? '',
      asPath: (best.aspath ?? '').split(' ').filter(Boolean).map(Number),
      communities: best.communities ?? [],
      large: best.large_communities ?? [],
      ...(best.localpref !== undefined && { localPref: best.localpref }),
    };
  }
}
