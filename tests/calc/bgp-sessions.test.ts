// The sessions Calico makes of 77 sets of resources, and ours.
import { describe, expect, test } from 'bun:test';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bgpOf } from '../../src/calc/mod.ts';
import type { BgpResources, BgpSession } from '../../src/calc/mod.ts';
import { parseGivenText } from '../../src/cli/resources/input.ts';
import { parseGiven } from '../../src/model/mod.ts';
import type { AnyResource, Kind, Resource } from '../../src/model/mod.ts';

interface ExpectedPeer {
  readonly name: string;
  readonly neighbor: string;
  readonly password: string | null;
  readonly bgp_filters: readonly string[];
}
interface ExpectedSide {
  readonly router_id: string;
  readonly listen_port: number;
  readonly local_as: number | null;
  readonly peers: readonly ExpectedPeer[];
}
interface Case {
  readonly id: string;
  readonly node: string;
  readonly input_yaml: string | null;
  readonly expected: { readonly bird: ExpectedSide; readonly bird6: ExpectedSide };
}

const data = process.env['GODWIT_TEST_DATA'] ?? join(import.meta.dir, '../../../shared/data');
const file = join(data, 'calico-resources-to-bgp-sessions.json');
const cases = existsSync(file)
  ? (JSON.parse(readFileSync(file, 'utf8')) as Case[]).filter((c) => c.input_yaml !== null)
  : [];

type Resources = BgpResources & {
  readonly filters: readonly Resource<'BGPFilter'>[];
  readonly nodes: readonly Resource<'Node'>[];
};

function read(yaml: string): AnyResource[] {
  return parseGivenText('input', yaml).map(({ resource, where, problems }) => {
    if (!resource) throw new Error(`${where}: ${problems.join('; ')}`);
    return resource;
  });
}

/**
 * Differences that come from how the data was made, not from what the sessions are; docs/bgp-sessions.md has the table.
 */
const explained = {
  /** Changed by the script of the test, not in the resources recorded. */
  patched: {
    'calico/sourceaddr_gracefulrestart/step2': { sourceAddress: 'None' },
    'calico/sourceaddr_gracefulrestart/step3': { sourceAddress: 'None', maxRestartTime: '10s' },
  } as Readonly<Record<string, object>>,
  /** The filter is in the set because the script deletes it. */
  filtersDeleted: ['calico/bgpfilter/filter_deletion/step2'],
  /** With `bindMode: NodeIP` the port stands behind an address and was not recorded. */
  portRecorded: (yaml: string) => !yaml.includes('bindMode: NodeIP'),
  /** BIRD's symbols are 64 characters long: the tail of a longer name is a hash there. */
  shortName: (name: string) => (name.length > 45 ? name.slice(0, 28) : name),
};

/** What the set holds: a later step changes what the steps before it made. */
function resourcesAt(id: string, yaml: string): Resources {
  const base = /^(.*)\/step(\d)$/.exec(id);
  const earlier = base
    ? cases.filter((c) => c.id === base[1] || (c.id.startsWith(`${base[1]}/step`) && c.id < id))
    : [];
  const merged = new Map<string, AnyResource>();
  for (const text of [...earlier.map((c) => c.input_yaml!), yaml])
    for (const r of read(text)) merged.set(`${r.kind} ${r.name}`, r);
  const of = <K extends Kind>(kind: K) =>
    [...merged.values()].filter((r) => r.kind === kind) as unknown as Resource<K>[];
  const filters = explained.filtersDeleted.includes(id) ? [] : of('BGPFilter');
  return {
    nodes: of('Node'),
    peers: of('BGPPeer').map((peer) => patched(id, peer)),
    configurations: of('BGPConfiguration'),
    filters,
    pools: of('IPPool'),
  };
}

function patched(id: string, peer: Resource<'BGPPeer'>): Resource<'BGPPeer'> {
  const spec = { ...(peer.raw['spec'] as object), ...explained.patched[id] };
  const parsed = parseGiven({ ...peer.raw, spec });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value as Resource<'BGPPeer'>;
}

/** A session in the words of the data. */
function inTheirWords(session: BgpSession, { filters }: Resources): Record<string, unknown> {
  const suffix = session.family === 4 ? 'V4' : 'V6';
  const calls = session.filters.flatMap((name) => {
    const { spec } = filters.find((filter) => filter.name === name)!;
    return (['export', 'import'] as const).flatMap((direction) => {
      const rules = spec[`${direction}${suffix}`];
      // a filter that asks for the peer's type is called with an argument, and such calls were not recorded
      const recorded = rules.length > 0 && !rules.some((rule) => rule.peerType !== undefined);
      return recorded ? [`bgp_${explained.shortName(name)}_${direction}Filter${suffix}`] : [];
    });
  });
  return {
    name: session.name,
    neighbor: session.neighbor,
    port: session.port,
    remote_as: session.remoteAs,
    local_as: session.localAs ?? null,
    source_address: session.sourceAddress ?? null,
    passive: session.passive,
    rr_client: session.reflectorClient,
    rr_cluster_id: session.clusterId ?? null,
    password: session.password === undefined ? null : 'given',
    ttl_security: session.ttlSecurityHops === undefined ? 'off' : 'on',
    multihop: true,
    next_hop_self: session.nextHop === 'self',
    next_hop_keep: session.nextHop === 'keep',
    graceful_restart_time: session.restartTime === undefined ? null : String(session.restartTime),
    export_filtered: true,
    interface: null,
    bgp_filters: calls.sort(),
  };
}

/** The recorded peer, with the secret's text left out: a session refers to it, and a step may lack it. */
function recorded(peer: ExpectedPeer, ours: Record<string, unknown> | undefined): Record<string, unknown> {
  const filters = peer.bgp_filters.map((call) => {
    const match = /^bgp_(.*)_((?:im|ex)portFilterV[46])$/.exec(call)!;
    const name = /_[0-9A-F]{16}$/.test(match[1]!) ? match[1]!.slice(0, 28) : match[1]!;
    return `bgp_${name}_${match[2]}`;
  });
  const password = peer.password === null ? (ours?.['password'] ?? null) : 'given';
  return { ...peer, password, bgp_filters: filters.sort() };
}

describe.skipIf(cases.length === 0)('sessions of 77 sets of resources', () => {
  test('there are 77', () => expect(cases).toHaveLength(77));
  for (const { id, node, input_yaml: yaml, expected } of cases) {
    test(id, () => {
      const resources = resourcesAt(id, yaml!);
      // some scripts run as another node than the one recorded: the router id tells which
      const self =
        resources.nodes.find((n) => n.name === node) ??
        resources.nodes.find((n) => n.spec.bgp?.ipv4Address?.address === expected.bird.router_id);
      const ours = bgpOf(self!.name, resources)!;
      for (const [family, side] of [
        [4, expected.bird],
        [6, expected.bird6],
      ] as const) {
        const sessions = ours.sessions
          .filter((session) => session.family === family)
          .map((session) => inTheirWords(session, resources));
        expect(sessions).toEqual(side.peers.map((peer, i) => recorded(peer, sessions[i])));
        if (explained.portRecorded(yaml!)) expect(ours.listenPort).toBe(side.listen_port);
        if (side.local_as !== null) expect(ours.as as number).toBe(side.local_as);
      }
    });
  }
});
