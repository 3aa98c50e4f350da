import { expect, test } from 'bun:test';
import { buildOpen } from '../../bgp/speaker/open.ts';
import { bgpOf } from '../../calc/mod.ts';
import { parseGiven } from '../../model/mod.ts';
import type { Json, Kind, Resource } from '../../model/mod.ts';
import { ip } from '../../net/mod.ts';
import { speakerPlan } from './bgp-config.ts';

function object<K extends Kind>(kind: K, name: string, spec: Json): Resource<K> {
  const parsed = parseGiven({ apiVersion: 'projectcalico.org/v3', kind, metadata: { name }, spec });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value as Resource<K>;
}

const nodes = [1, 2].map((n) => object('Node', `n${n}`, { bgp: { ipv4Address: `10.0.0.${n}/24` } }));

function planFor(configuration: Json, peers: Resource<'BGPPeer'>[], filters: Resource<'BGPFilter'>[] = []) {
  const configurations = [object('BGPConfiguration', 'default', configuration)];
  const node = bgpOf('n1', { nodes, configurations, peers, filters, pools: [] })!;
  return speakerPlan({ node, routerId: ip('10.0.0.1'), blocks: [], secret: () => undefined });
}

const peer = (name: string, spec: Record<string, Json>) =>
  object('BGPPeer', name, { peerIP: `172.16.0.${name}`, asNumber: 64999, ...spec });

test('each neighbour is told how long to keep routes as its own resource says', () => {
  const told = (...args: Parameters<typeof planFor>) => {
    const { config } = planFor(...args);
    const times = config.neighbors.map((neighbor) => {
      const open = buildOpen(config, neighbor, { restarting: false, forwardingPreserved: false });
      const capability = open.capabilities.find(({ type }) => type === 'graceful-restart');
      return [neighbor.address, capability?.type === 'graceful-restart' ? capability.restartTime : undefined];
    });
    return Object.fromEntries(times) as Record<string, number>;
  };
  expect(told({}, [peer('1', { maxRestartTime: '10s' }), peer('2', {})])).toEqual({
    ...{ '10.0.0.2': 120, '172.16.0.1': 10, '172.16.0.2': 120 },
  });
  expect(told({ nodeMeshMaxRestartTime: '30s' }, [peer('1', {})])).toEqual({ '10.0.0.2': 30, '172.16.0.1': 120 });
});

test('rules of a filter that name an interface are about the way to the next hop', () => {
  const rule = { interface: 'eth*', cidr: '10.9.0.0/16', matchOperator: 'In', action: 'Reject' };
  const filter = object('BGPFilter', 'f', {
    importV4: [rule],
    exportV4: [{ interface: '*.calico', action: 'Reject' }],
  });
  const { config, problems } = planFor({}, [peer('1', { filters: ['f'] })], [filter]);
  expect(problems).toEqual([]);
  const family = config.neighbors.find(({ address }) => address === '172.16.0.1')!.families[4]!;
  const first = (name: string | undefined) => {
    const [term] = config.policies.find((policy) => policy.name === name)!.terms;
    return [term?.match?.interface, term?.then];
  };
  expect(first(family.import)).toEqual(['eth*', 'reject']);
  expect(first(family.export)).toEqual(['*.calico', 'reject']);
});
