/** ExaBGP as a peer: it announces what it is told and writes down, as JSON lines, what it hears. */
import { existsSync, readFileSync } from 'node:fs';
import { Daemon, DaemonRouter } from './daemon.ts';
import type { Lan } from './lan.ts';
import { familiesOf, familyOfAddress, type HeldRoute, type NeighborSpec, type RouterSpec } from './spec.ts';

export const exabgpPrograms = ['/usr/sbin/exabgp'];

function neighbor(spec: RouterSpec, n: NeighborSpec): string {
  const families = familiesOf(n);
  const routes = (spec.announce ?? [])
    .filter((a) => families.includes(familyOfAddress(a.prefix)))
    .map((a) => {
      const hop = familyOfAddress(a.prefix) === 'ipv6' ? spec.address6 : spec.address4;
      const communities = a.communities?.length ? ` community [ ${a.communities.join(' ')} ]` : '';
      const large = a.large?.length ? ` large-community [ ${a.large.join(' ')} ]` : '';
      return `    route ${a.prefix} next-hop ${hop}${communities}${large};`;
    });
  return [
    `neighbor ${n.address} {`,
    `  router-id ${spec.id};`,
    `  local-address ${familyOfAddress(n.address) === 'ipv6' ? spec.address6 : spec.address4};`,
    `  local-as ${spec.asn};`,
    `  peer-as ${n.asn};`,
    `  hold-time ${n.holdTime ?? 90};`,
    n.password ? `  md5-password "${n.password}";` : '',
    n.ttlSecurity ? '  outgoing-ttl 255; incoming-ttl 255;' : '',
    n.passive ? '  passive true;' : '',
    `  family { ${families.map((f) => `${f} unicast;`).join(' ')} }`,
    `  capability { route-refresh enable;${spec.gracefulRestart ? ' graceful-restart 30;' : ''} }`,
    '  api { processes [ listener ]; neighbor-changes; receive { parsed; update; } }',
    `  static {\n${routes.join('\n')}\n  }`,
    '}',
  ].join('\n');
}

interface ExaEvent {
  readonly type?: string;
  readonly neighbor?: {
    readonly address?: { readonly peer?: string };
    readonly state?: string;
    readonly message?: {
      readonly update?: {
        readonly attribute?: {
          readonly 'as-path'?: readonly number[];
          readonly community?: readonly (readonly [number, number])[];
          readonly 'large-community'?: readonly (readonly [number, number, number])[];
          readonly 'local-preference'?: number;
        };
        readonly announce?: Readonly<Record<string, Readonly<Record<string, readonly { readonly nlri: string }[]>>>>;
        readonly withdraw?: Readonly<Record<string, readonly { readonly nlri: string }[]>>;
      };
    };
  };
}

export class ExaBgp extends DaemonRouter {
  readonly kind = 'ExaBGP';

  static async start(lan: Lan, name: string, spec: RouterSpec): Promise<ExaBgp> {
    const exabgp = new ExaBgp(spec, new Daemon(name, lan.namespaces.name(name)));
    const { daemon } = exabgp;
    const listener = daemon.write(
      'listener',
      `#!/bin/sh\n# not exec: standard output must stay open\ncat >> ${daemon.file('events')}\n`,
      0o755,
    );
    const process = `process listener { run ${listener}; encoder json; }`;
    daemon.write('exabgp.conf', [process, ...spec.neighbors.map((n) => neighbor(spec, n)), ''].join('\n'));
    await exabgp.start();
    return exabgp;
  }

  async start(): Promise<void> {
    const { daemon } = this;
    daemon.spawn(['exabgp', daemon.file('exabgp.conf')], {
      'exabgp.daemon.user': 'root',
      'exabgp.tcp.bind': `${this.spec.address4} ${this.spec.address6}`,
      'exabgp.tcp.port': '179',
      'exabgp.log.destination': 'stdout',
      'exabgp.log.level': 'INFO',
      'exabgp.api.cli': 'false',
      'exabgp.api.ack': 'false',
    });
    await daemon.ready('ExaBGP', () => existsSync(daemon.file('events')));
  }

  /** Everything it heard, oldest first. */
  events(): ExaEvent[] {
    if (!existsSync(this.daemon.file('events'))) return [];
    const lines = readFileSync(this.daemon.file('events'), 'utf8').split('\n');
    return lines.flatMap((line) => {
      try {
        return [JSON.parse(line) as ExaEvent];
      } catch {
        return []; // the last line may be half written
      }
    });
  }

  established(address: string): boolean {
    const states = this.events().filter((e) => e.type === 'state' && e.neighbor?.address?.peer === address);
    return states.at(-1)?.neighbor?.state === 'up';
  }

  route(prefix: string): HeldRoute | undefined {
    let held: HeldRoute | undefined;
    for (const event of this.events()) {
      if (event.type === 'state' && event.neighbor?.state === 'down') held = undefined;
      const update = event.neighbor?.message?.update;
      if (Object.values(update?.withdraw ?? {}).some((list) => list.some((p) => p.nlri === prefix))) held = undefined;
      for (const byHop of Object.values(update?.announce ?? {})) {
        for (const [nextHop, list] of Object.entries(byHop)) {
          if (!list.some((p) => p.nlri === prefix)) continue;
          // the link-local half of a next hop comes as a next hop of its own
          if (nextHop.startsWith('fe80:') && Object.keys(byHop).length > 1) continue;
          const a = update?.attribute ?? {};
          held = {
            prefix,
            nextHop,
            asPath: a['as-path'] ?? [],
            communities: (a.community ?? []).map((c) => c.join(':')),
            large: (a['large-community'] ?? []).map((c) => c.join(':')),
            ...(a['local-preference'] !== undefined && { localPref: a['local-preference'] }),
          };
        }
      }
    }
    return held;
  }
}
