/** GoBGP as a peer. */
import { until } from '../until.ts';
import { Daemon, DaemonRouter } from './daemon.ts';
import type { Lan } from './lan.ts';
import { familiesOf, familyOfAddress, type HeldRoute, type NeighborSpec, type RouterSpec } from './spec.ts';

export const gobgpPrograms = ['/usr/bin/gobgpd', '/usr/bin/gobgp'];

function neighbor(spec: RouterSpec, n: NeighborSpec): unknown {
  const families = familiesOf(n).map((family) => ({
    config: { 'afi-safi-name': `${family}-unicast` },
    ...(spec.gracefulRestart && { 'mp-graceful-restart': { config: { enabled: true } } }),
    ...(n.maxPrefix !== undefined && { 'prefix-limit': { config: { 'max-prefixes': n.maxPrefix } } }),
  }));
  const hold = n.holdTime ?? 90;
  return {
    config: { 'neighbor-address': n.address, 'peer-as': n.asn, ...(n.password && { 'auth-password': n.password }) },
    timers: {
      config: {
        'connect-retry': 1,
        'hold-time': hold,
        'keepalive-interval': Math.max(1, Math.floor(hold / 3)),
        'idle-hold-time-after-reset': 1,
      },
    },
    transport: {
      config: {
        'local-address': n.local ?? (familyOfAddress(n.address) === 'ipv6' ? spec.address6 : spec.address4),
        'passive-mode': n.passive ?? false,
      },
    },
    ...(n.ttlSecurity && { 'ttl-security': { config: { enabled: true, 'ttl-min': 255 } } }),
    ...(n.client && {
      'route-reflector': { config: { 'route-reflector-client': true, 'route-reflector-cluster-id': spec.id } },
    }),
    ...(spec.gracefulRestart && { 'graceful-restart': { config: { enabled: true, 'restart-time': 30 } } }),
    'afi-safis': families,
  };
}

interface GoAttribute {
  readonly type: number;
  readonly value?: number | readonly { ASN: number; LocalData1: number; LocalData2: number }[];
  readonly as_paths?: readonly { readonly asns: readonly number[] }[];
  readonly nexthop?: string;
  readonly communities?: readonly number[];
}

export class GoBgp extends DaemonRouter {
  readonly kind = 'GoBGP';

  static async start(lan: Lan, name: string, spec: RouterSpec): Promise<GoBgp> {
    const gobgp = new GoBgp(spec, new Daemon(name, lan.namespaces.name(name)));
    const config = {
      global: { config: { as: spec.asn, 'router-id': spec.id } },
      neighbors: spec.neighbors.map((n) => neighbor(spec, n)),
    };
    gobgp.daemon.write('gobgpd.json', JSON.stringify(config));
    await gobgp.start();
    return gobgp;
  }

  async start(): Promise<void> {
    const { daemon } = this;
    daemon.spawn([
      'gobgpd',
      '-f',
      daemon.file('gobgpd.json'),
      '-t',
      'json',
      '--api-hosts',
      '127.0.0.1:50051',
      '--pprof-disable',
    ]);
    await daemon.ready('gobgpd', () => this.gobgp('global') !== undefined);
    for (const a of this.spec.announce ?? []) {
      const family = familyOfAddress(a.prefix);
      const attributes = [
        ...(a.communities?.length ? ['community', a.communities.join(',')] : []),
        ...(a.large?.length ? ['large-community', a.large.join(',')] : []),
      ];
      const add = () => this.gobgp('global', 'rib', 'add', '-a', family, a.prefix, ...attributes) !== undefined;
      // it answers before it has read its configuration, and refuses routes until then
      await until(`gobgp adds ${a.prefix}`, add);
    }
  }

  gobgp(...command: string[]): string | undefined {
    return this.daemon.ask('gobgp', ...command);
  }

  established(address: string): boolean {
    const all = this.daemon.askJson('gobgp', '-j', 'neighbor') as
      | readonly { state?: { neighbor_address?: string; session_state?: number } }[]
      | undefined;
    return all?.some((n) => n.state?.neighbor_address === address && n.state.session_state === 6) ?? false;
  }

  route(prefix: string): HeldRoute | undefined {
    const family = familyOfAddress(prefix);
    const rib = this.daemon.askJson('gobgp', '-j', 'global', 'rib', '-a', family) as
      | Record<string, readonly { best?: boolean; attrs: readonly GoAttribute[] }[]>
      | undefined;
    const paths = rib?.[prefix];
    const best = paths?.find((p) => p.best) ?? paths?.[0];
    if (!best) return undefined;
    const attribute = (type: number) => best.attrs.find((a) => a.type === type);
    const large = attribute(32)?.value;
    const localPref = attribute(5)?.value;
    return {
      prefix,
      nextHop: attribute(3)?.nexthop ?? attribute(14)?.nexthop ?? '',
      asPath: attribute(2)?.as_paths?.flatMap((s) => s.asns) ?? [],
      communities: (attribute(8)?.communities ?? []).map((c) => `${c >>> 16}:${c & 0xffff}`),
      large: typeof large === 'object' ? large.map((c) => `${c.ASN}:${c.LocalData1}:${c.LocalData2}`) : [],
      ...(typeof localPref === 'number' && { localPref }),
    };
  }
}
