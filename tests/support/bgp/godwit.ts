/** Godwit itself, as `godwit bgp --config FILE` in a namespace; its control socket answers questions. */
import { resolve } from 'node:path';
import { ControlClient, type NeighborStatus, type PathJson, type RouteJson } from '../../../src/bgp/mod.ts';
import { Daemon, DaemonRouter } from './daemon.ts';
import type { Lan } from './lan.ts';
import { familiesOf, familyOfAddress, type HeldRoute, type NeighborSpec, type RouterSpec } from './spec.ts';

const root = resolve(import.meta.dir, '../../..');

function neighbor(spec: RouterSpec, n: NeighborSpec, more: object): object {
  return {
    address: n.address,
    as: n.asn,
    source: n.local ?? (familyOfAddress(n.address) === 'ipv6' ? spec.address6 : spec.address4),
    families: familiesOf(n),
    import: 'accept',
    export: 'accept',
    timers: { hold: n.holdTime ?? 90, connectRetry: 1, idleHold: 0.2, idleHoldMax: 1 },
    ...(n.password && { password: n.password }),
    ...(n.ttlSecurity && { ttlSecurity: 1 }),
    ...(n.passive && { passive: true }),
    ...(n.client && { routeReflectorClient: true }),
    ...(n.extendedNextHop && { extendedNextHop: true }),
    ...(n.maxPrefix !== undefined && { maxPrefix: { limit: n.maxPrefix, action: 'restart', restartAfter: 1 } }),
    ...more,
  };
}

/** Settings beyond what every daemon has, merged over those made of the spec. */
export interface GodwitSettings {
  readonly global?: object;
  /** For every neighbour and dynamic range. */
  readonly neighbor?: object;
}

export function godwitConfig(spec: RouterSpec, control: string, settings: GodwitSettings = {}): string {
  const { dynamic } = spec;
  const more = settings.neighbor ?? {};
  return JSON.stringify({
    routerId: spec.id,
    as: spec.asn,
    control,
    listen: spec.neighbors.some((n) => n.local !== undefined) ? ['0.0.0.0', '::'] : [spec.address4, spec.address6],
    gracefulRestart: spec.gracefulRestart ? { mode: 'on', restartTime: 30, deferral: 30 } : 'helper',
    fib: spec.kernel ? 'kernel' : 'none',
    networks: (spec.announce ?? []).map((a) => ({
      prefix: a.prefix,
      communities: [...(a.communities ?? []), ...(a.large ?? [])],
    })),
    neighbors: spec.neighbors.map((n) => neighbor(spec, n, more)),
    dynamic: dynamic
      ? [
          {
            range: dynamic.range,
            as: dynamic.asn,
            import: 'accept',
            export: 'accept',
            ...(dynamic.password && { password: dynamic.password }),
            ...more,
          },
        ]
      : [],
    ...settings.global,
  });
}

export class Godwit extends DaemonRouter {
  readonly kind = 'Godwit';
  readonly control: ControlClient;

  private constructor(spec: RouterSpec, daemon: Daemon) {
    super(spec, daemon);
    this.control = new ControlClient(daemon.file('ctl'));
  }

  static async start(lan: Lan, name: string, spec: RouterSpec, settings?: GodwitSettings): Promise<Godwit> {
    const godwit = new Godwit(spec, new Daemon(name, lan.namespaces.name(name)));
    const { daemon } = godwit;
    daemon.write('bgp.yaml', godwitConfig(spec, daemon.file('ctl'), settings));
    await godwit.start();
    return godwit;
  }

  async start(): Promise<void> {
    const { daemon } = this;
    daemon.spawn([process.execPath, `${root}/src/main.ts`, 'bgp', '--config', daemon.file('bgp.yaml')]);
    await daemon.ready('godwit bgp', () => this.control.alive());
  }

  async neighbor(address: string): Promise<NeighborStatus | undefined> {
    const all = await this.control.get<NeighborStatus[]>('/neighbors');
    return all.find((n) => n.address === address);
  }

  async established(address: string): Promise<boolean> {
    return (await this.neighbor(address))?.state === 'Established';
  }

  /** All paths it has for the prefix. */
  async paths(prefix: string): Promise<readonly PathJson[]> {
    for await (const route of this.control.stream<RouteJson>('/routes', { prefix })) return route.paths;
    return [];
  }

  async route(prefix: string): Promise<HeldRoute | undefined> {
    const best = (await this.paths(prefix)).find((p) => p.state === 'best');
    if (!best) return undefined;
    return {
      prefix,
      nextHop: best.nextHop ?? '',
      asPath: best.asPath.split(' ').filter(Boolean).map(Number),
      communities: best.communities ?? [],
      large: best.largeCommunities ?? [],
      ...(best.localPref !== undefined && { localPref: best.localPref }),
      ...(best.originatorId !== undefined && { originatorId: best.originatorId }),
      clusterList: best.clusterList ?? [],
    };
  }
}
