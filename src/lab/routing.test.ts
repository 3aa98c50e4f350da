import { expect, test } from 'bun:test';
import { bundledScenarios } from './bundled.ts';
import { environmentIn } from './inside.ts';
import { LabLayout } from './layout.ts';
import { readScenario } from './read.ts';
import { announcerConfig, routingConfig } from './routing.ts';
import { demandedSessions, establishedInBird, establishedInFrr, establishedInGodwit } from './sessions.ts';
import type { Topology } from './topology.ts';

function scenario(name: string): Topology {
  const read = readScenario(name, bundledScenarios[name]!);
  if (!read.ok) throw read.error;
  return read.value;
}

const configOf = (topology: Topology, name: string): string => {
  const machine = topology.machines.find((candidate) => candidate.name === name)!;
  return routingConfig(topology, machine, machine.bgp!, '/control');
};

test('announcers are neighbours of the routers they name, from an address both know', () => {
  const topology = scenario('gateway-announcer');
  const frr = configOf(topology, 'gw1');
  // the second one is in the other rack: a session over a router, from the address the announcer knows
  for (const address of ['192.168.1.250', '192.168.2.250']) {
    expect(frr).toContain(` neighbor ${address} remote-as 64512\n neighbor ${address} ebgp-multihop\n`);
    expect(frr).toContain(` neighbor ${address} update-source 192.168.1.1\n`);
  }
  expect(frr).toContain('ip prefix-list IN0 permit 10.244.0.0/16 le 32\n');
  expect(frr).toContain('  neighbor 192.168.1.250 route-map NONE out\n');
  const announcer = JSON.parse(announcerConfig(topology, topology.announcers[1]!, '/state')) as {
    bgp: { neighbors: { name: string; address: string; multihop?: boolean }[] };
  };
  expect(announcer).toMatchObject({ source: 'flannel', announce: { within: ['10.244.0.0/16'] }, stateFile: '/state' });
  const gateways = announcer.bgp.neighbors.map(({ name, address }) => `${name} ${address}`);
  expect(gateways).toEqual(['gw1 192.168.1.1', 'gw2 192.168.2.1']);
});

test('a range of neighbours, in the words of each program', () => {
  expect(configOf(scenario('gateway-dynamic-neighbors'), 'gw2')).toContain(
    ' neighbor RANGE1 peer-group\n neighbor RANGE1 remote-as 64512\n neighbor RANGE1 timers connect 1\n' +
      ' bgp listen range 192.168.2.0/24 peer-group RANGE1\n',
  );
  // FRR is kept waiting for a range by a neighbour that never comes, and by nobody else
  const waiting = ' update-delay 10 3\n neighbor 192.0.2.254 remote-as external\n neighbor 192.0.2.254 passive\n';
  expect(configOf(scenario('gateway-dynamic-neighbors'), 'gw1')).toContain(waiting);
  expect(configOf(scenario('gateway-announcer'), 'gw1')).not.toContain('update-delay');
  const bird = configOf(scenario('gateway-dynamic-neighbors-bird'), 'gw1');
  expect(bird).toContain('  neighbor range 192.168.1.0/24 as 65101;\n  direct;\n');
  expect(bird).toContain('import where net ~ [ 10.233.0.0/16+ ];');
  const godwit = JSON.parse(configOf(scenario('gateway-dynamic-neighbors-godwit'), 'gw2')) as object;
  expect(godwit).toMatchObject({
    control: '/control',
    dynamic: [{ range: '192.168.2.0/24', as: 64512, export: 'accept', routeReflectorClient: true }],
    neighbors: [{ address: '172.31.0.1', source: '172.31.0.2', as: 65001 }],
  });
});

test('sessions are demanded with all that run and are to be heard', () => {
  const dynamic = scenario('gateway-dynamic-neighbors');
  const gw1 = dynamic.machines[0]!;
  expect(demandedSessions(dynamic, gw1, [])?.map(String)).toEqual([
    ...['172.31.0.2', '192.168.1.11', '192.168.1.12', '192.168.1.13'],
  ]);
  expect(demandedSessions(dynamic, gw1, ['gw2', 'node1'])?.map(String)).toEqual(['192.168.1.12', '192.168.1.13']);
  const announced = scenario('gateway-announcer');
  expect(demandedSessions(announced, announced.machines[0]!, ['announcer1'])?.map(String)).toEqual(['192.168.2.250']);
});

test('what the programs say of their sessions', () => {
  const bird = [
    'BIRD 2.0.12 ready.',
    'peer0      BGP        ---        up     19:55:09.624  Established   ',
    '  BGP state:          Established',
    '    Neighbor address: 192.168.1.2',
    '    Neighbor AS:      64512',
    '',
    'range1     BGP        ---        start  19:55:09.624  Passive       ',
    '  BGP state:          Passive',
    '    Neighbor range:   192.168.1.0/24',
    'peer2      BGP        ---        start  19:55:09.624  Active       ',
    '  BGP state:          Active',
    '    Neighbor address: 192.168.1.3',
  ].join('\n');
  expect(establishedInBird(bird)).toEqual(['192.168.1.2']);
  expect(establishedInFrr('{"peers":{"10.0.0.1":{"state":"Established"},"10.0.0.2":{"state":"Active"}}}')).toEqual([
    '10.0.0.1',
  ]);
  // without any neighbour FRR says nothing of peers
  expect(establishedInFrr('{}')).toEqual([]);
  expect(
    establishedInGodwit('[{"address":"10.0.0.1","state":"Established"},{"address":"10.0.0.2","state":"Idle"}]'),
  ).toEqual(['10.0.0.1']);
  for (const read of [establishedInBird, establishedInFrr, establishedInGodwit])
    expect(read(undefined)).toBeUndefined();
  expect(establishedInFrr('not JSON')).toBeUndefined();
});

test('a command in a node of the lab finds the datastore, and the speaker or announcer of that node', () => {
  const of = (name: string, node: string) =>
    environmentIn({ layout: new LabLayout('l'), topology: scenario(name) }, node);
  const store = { GODWIT_DATASTORE: 'unix:///run/godwit/lab/l/datastore/store.sock' };
  const programs = '/run/godwit/lab/l/programs';
  expect(of('gateway-announcer-godwit', 'watch1')).toEqual({
    ...{ ...store, GODWIT_GATEWAY_SOCKET: `${programs}/announcer1/control` },
  });
  expect(of('gateway-announcer-godwit', 'gw2')).toEqual({ ...store, GODWIT_BGP_SOCKET: `${programs}/gw2/control` });
  expect(of('gateway-announcer', 'gw2')).toEqual(store);
});
