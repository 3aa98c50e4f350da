import { describe, expect, test } from 'bun:test';
import { parseGiven } from '../../model/mod.ts';
import type { Json, Kind, Resource } from '../../model/mod.ts';
import { ip, prefix } from '../../net/mod.ts';
import { gatewaysOf, noGateways } from './gateways.ts';
import type { Gateways } from './gateways.ts';
import { bgpOf } from './sessions.ts';

const via = (address: string) => ({ via: ip(address) });
const v4 = (metric: number, ...hops: { via?: ReturnType<typeof ip> }[]) => ({
  destination: prefix('0.0.0.0/0'),
  metric,
  hops,
});

describe('default gateways', () => {
  test('the best default route of each family; all of its next hops; other routes do not count', () => {
    const routes = [
      { destination: prefix('10.0.0.0/8'), metric: 0, hops: [via('192.168.1.9')] },
      v4(200, via('192.168.1.3')),
      v4(100, via('192.168.1.2'), via('192.168.1.1')),
      { destination: prefix('::/0'), metric: 1024, hops: [via('fd00::1')] },
    ];
    expect(gatewaysOf(routes)).toEqual({ 4: [ip('192.168.1.1'), ip('192.168.1.2')], 6: [ip('fd00::1')] });
  });

  test('link-local gateways and routes without one are none; what was known stays until there is another', () => {
    const before = gatewaysOf([v4(0, via('192.168.1.1'))]);
    const routes = [v4(0, {}), { destination: prefix('::/0'), metric: 0, hops: [via('fe80::1')] }];
    expect(gatewaysOf(routes)).toEqual(noGateways);
    expect(gatewaysOf(routes, before)[4]).toEqual([ip('192.168.1.1')]);
    expect(gatewaysOf([v4(0, via('192.168.1.2'))], before)[4]).toEqual([ip('192.168.1.2')]);
  });
});

function object<K extends Kind>(kind: K, name: string, spec: Json, labels: Record<string, string> = {}): Resource<K> {
  const parsed = parseGiven({ apiVersion: 'projectcalico.org/v3', kind, metadata: { name, labels }, spec });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value as Resource<K>;
}

const racks: Record<string, string>[] = [
  { rack: 'a', 'godwit.io/as-number': '65101', 'godwit.io/gateway-as-number': '65001' },
  { rack: 'b', 'godwit.io/as-number': '65102' },
  { rack: 'c', 'godwit.io/as-number': 'none' },
];
const nodes = racks.map((labels, i) =>
  object('Node', `n${i}`, { bgp: { ipv4Address: `192.168.${i}.10/24`, ipv6Address: `fd00:${i}::10/64` } }, labels),
);

function sessions(node: string, peer: Json, gateways?: Gateways) {
  const configuration = object('BGPConfiguration', 'default', { nodeToNodeMeshEnabled: false, asNumber: 64600 });
  const peers = [object('BGPPeer', 'gateways', peer)];
  const resources = { nodes, peers, configurations: [configuration], filters: [], pools: [] };
  return bgpOf(node, { ...resources, ...(gateways && { gateways }) })!.sessions;
}

describe('BGPPeer with peerIP gateway', () => {
  const gateways: Gateways = { 4: [ip('192.168.0.1')], 6: [ip('fd00:0::1')] };

  test('a session with the gateway of each family, from the node’s address, and none while there is no gateway', () => {
    expect(sessions('n0', { peerIP: 'gateway' })).toEqual([]);
    expect(sessions('n0', { peerIP: 'gateway' }, gateways)).toMatchObject([
      { name: 'Global_192_168_0_1', neighbor: '192.168.0.1', sourceAddress: '192.168.0.10', port: 179 },
      { name: 'Global_fd00__1', neighbor: 'fd00::1', sourceAddress: 'fd00::10', family: 6 },
    ]);
    expect(sessions('n0', { peerIP: 'gateway:1179', nodeSelector: "rack == 'a'" }, gateways)[0]).toMatchObject({
      ...{ name: 'Node_192_168_0_1_port_1179', port: 1179 },
    });
    expect(sessions('n1', { peerIP: 'gateway', nodeSelector: "rack == 'a'" }, gateways)).toEqual([]);
  });

  test('two gateways, two sessions', () => {
    const two: Gateways = { 4: [ip('192.168.0.1'), ip('192.168.0.2')], 6: [] };
    expect(sessions('n0', { peerIP: 'gateway' }, two).map((s) => s.neighbor)).toEqual([...two[4]]);
  });

  test('AS numbers: the BGPPeer’s, the label’s, else iBGP in the node’s AS, which may be a label’s as well', () => {
    const as = (node: string, peer: Record<string, Json> = {}) => {
      const [session] = sessions(node, { peerIP: 'gateway', ...peer }, gateways);
      return session!.remoteAs as number;
    };
    expect(as('n0')).toBe(65001);
    expect(as('n0', { asNumber: 65009 })).toBe(65009);
    expect(as('n1')).toBe(65102);
    expect(as('n2')).toBe(64600);
  });
});
