/** Godwit and one other daemon on a segment, with a session over IPv4 and one over IPv6 between them. */
import { until } from '../netns.ts';
import { Bird, birdPrograms } from './bird.ts';
import { ExaBgp, exabgpPrograms } from './exabgp.ts';
import { Frr, frrPrograms } from './frr.ts';
import { GoBgp, gobgpPrograms } from './gobgp.ts';
import { Godwit, type GodwitSettings } from './godwit.ts';
import { Lan } from './lan.ts';
import { OpenBgpd, openbgpdPrograms } from './openbgpd.ts';
import type { HeldRoute, NeighborSpec, Router, RouterSpec } from './spec.ts';

export interface DaemonKind {
  readonly name: string;
  readonly programs: readonly string[];
  start(lan: Lan, name: string, spec: RouterSpec): Promise<Router>;
}

export const daemonKinds: readonly DaemonKind[] = [
  { name: 'BIRD', programs: birdPrograms, start: (lan, name, spec) => Bird.start(lan, name, spec) },
  { name: 'FRR', programs: frrPrograms, start: (lan, name, spec) => Frr.start(lan, name, spec) },
  { name: 'GoBGP', programs: gobgpPrograms, start: (lan, name, spec) => GoBgp.start(lan, name, spec) },
  { name: 'OpenBGPD', programs: openbgpdPrograms, start: (lan, name, spec) => OpenBgpd.start(lan, name, spec) },
  { name: 'ExaBGP', programs: exabgpPrograms, start: (lan, name, spec) => ExaBgp.start(lan, name, spec) },
];

/** Address and identifier of the `n`-th router of a segment. */
export function addresses(n: number): { readonly id: string; readonly address4: string; readonly address6: string } {
  return { id: `10.99.0.${n}`, address4: `10.99.0.${n}`, address6: `fd99::${n}` };
}

export interface PairOptions {
  readonly godwitAs: number;
  readonly peerAs: number;
  /** Settings of the neighbour, as Godwit has it. */
  readonly godwitSide?: Partial<NeighborSpec>;
  /** Settings of the neighbour, as the other daemon has it. */
  readonly peerSide?: Partial<NeighborSpec>;
  /** Only the session over IPv4. */
  readonly onlyIPv4?: boolean;
  /** Only the session over IPv6; neither router has an IPv4 address. */
  readonly onlyIPv6?: boolean;
  readonly godwit?: Partial<RouterSpec>;
  readonly peer?: Partial<RouterSpec>;
  readonly settings?: GodwitSettings;
  /** What belongs to the start; when it fails, nothing of the pair is left. */
  readonly prepare?: (pair: Pair) => Promise<void>;
}

export class Pair implements AsyncDisposable {
  readonly lan: Lan;
  readonly godwit: Godwit;
  readonly peer: Router;

  private constructor(lan: Lan, godwit: Godwit, peer: Router) {
    this.lan = lan;
    this.godwit = godwit;
    this.peer = peer;
  }

  static async start(kind: DaemonKind, options: PairOptions): Promise<Pair> {
    const lan = new Lan();
    const [g, p] = [addresses(1), addresses(2)];
    lan.join('godwit', g.address4, g.address6);
    lan.join('peer', p.address4, p.address6);
    if (options.onlyIPv6) {
      for (const name of ['godwit', 'peer']) lan.namespaces.run(name, 'ip', '-4', 'addr', 'flush', 'dev', 'eth0');
    }
    const neighbors = (to: typeof g, asn: number, side: Partial<NeighborSpec> = {}): NeighborSpec[] =>
      (options.onlyIPv4 ? [to.address4] : options.onlyIPv6 ? [to.address6] : [to.address4, to.address6]).map(
        (address) => ({ address, asn, ...side }),
      );
    try {
      const godwit = await Godwit.start(
        lan,
        'godwit',
        {
          ...g,
          asn: options.godwitAs,
          neighbors: neighbors(p, options.peerAs, options.godwitSide),
          announce: godwitRoutes,
          ...options.godwit,
        },
        options.onlyIPv6 ? { ...options.settings, global: { listen: [g.address6] } } : options.settings,
      );
      const peer = await kind.start(lan, 'peer', {
        ...p,
        asn: options.peerAs,
        neighbors: neighbors(g, options.godwitAs, options.peerSide),
        announce: peerRoutes,
        ...options.peer,
      });
      const pair = new Pair(lan, godwit, peer);
      try {
        await options.prepare?.(pair);
      } catch (error) {
        await pair[Symbol.asyncDispose]();
        throw error;
      }
      return pair;
    } catch (error) {
      lan[Symbol.dispose]();
      throw error;
    }
  }

  /** Waits until both sides call all sessions Established. */
  async established(): Promise<void> {
    for (const { address } of this.godwit.spec.neighbors) {
      await this.until(`godwit: ${address} Established`, () => this.godwit.established(address));
    }
    for (const { address } of this.peer.spec.neighbors) {
      await this.until(`${this.peer.kind}: ${address} Established`, () => this.peer.established(address));
    }
  }

  /** Waits until `router` has a best route for the prefix. */
  route(router: Router, prefix: string): Promise<HeldRoute> {
    return this.until(`${router.kind} has ${prefix}`, () => router.route(prefix));
  }

  /** Polls; failing, says what both daemons logged. */
  async until<T>(
    what: string,
    condition: () => T | Promise<T>,
    timeoutMs?: number,
  ): Promise<Exclude<NonNullable<T>, false>> {
    try {
      return await until(what, condition, timeoutMs);
    } catch (error) {
      const logs = [this.godwit, this.peer].map((r) => `--- ${r.kind}\n${r.log().slice(-4000)}`);
      throw new Error([String(error), ...logs].join('\n'), { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.godwit[Symbol.asyncDispose]();
    await this.peer[Symbol.asyncDispose]();
    this.lan[Symbol.dispose]();
  }
}

export const godwitRoutes = [
  { prefix: '10.1.0.0/24', communities: ['65001:100', '65001:200'], large: ['4200000001:1:2'] },
  { prefix: 'fd01::/64', communities: ['65001:6'], large: ['4200000001:6:6'] },
];
export const peerRoutes = [
  { prefix: '10.2.0.0/24', communities: ['65002:100', '65002:200'], large: ['65002:1:2'] },
  { prefix: 'fd02::/64', communities: ['65002:6'], large: ['65002:6:6'] },
];
