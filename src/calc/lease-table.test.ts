import { expect, test } from 'bun:test';
import { ip, parseMac, prefix } from '../net/mod.ts';
import type { VxlanPeer } from '../desired/mod.ts';
import { LeaseTable } from './lease-table.ts';
import { leaseRoutes } from './leases.ts';
import type { LeaseFact, LeaseView } from './leases.ts';

const view: LeaseView = {
  networks: [prefix('10.244.0.0/16'), prefix('fc00::/48')],
  backendType: 'host-gw',
  ownLease: '10.244.0.0-24',
  ownSubnets: [prefix('10.244.0.0/24')],
  ownAddresses: [ip('10.168.0.2')],
  connected: [{ prefix: prefix('10.168.0.0/24'), device: 'eth0' }],
  uplink: 'eth0',
};
const views: LeaseView[] = [
  view,
  { ...view, ownLease: undefined, ownSubnets: [] },
  { ...view, connected: [{ prefix: prefix('10.168.0.0/25'), device: 'eth1' }] },
  { ...view, networks: [prefix('10.244.0.0/17')] },
  {
    ...view,
    backendType: 'vxlan',
    vxlan: { vni: 1, device: { 4: 'flannel.1', 6: 'flannel-v6.1' }, directRouting: false },
  },
  {
    ...view,
    backendType: 'vxlan',
    vxlan: { vni: 1, device: { 4: 'flannel.1', 6: 'flannel-v6.1' }, directRouting: true },
  },
];
const vtep = { vni: 1, mac: parseMac('c6:d2:32:6f:8f:44')! };

const lease = (name: string, backendType: string, ...subnets: readonly [string, string | undefined][]): LeaseFact => ({
  ...{ name, backendType },
  subnets: subnets.map(([subnet, publicIp]) => {
    return {
      ...{ subnet: prefix(subnet), publicIp: publicIp === undefined ? undefined : ip(publicIp) },
      vtep: backendType === 'vxlan' ? vtep : undefined,
    };
  }),
});

const sorted = (routes: Iterable<{ destination: string }>) =>
  [...routes].sort((a, b) => (a.destination < b.destination ? -1 : 1));

test('a change tells the routes it made and unmade, and nothing for what is as it was', () => {
  const table = new LeaseTable();
  const first = lease('b', 'host-gw', ['10.244.1.0/24', '10.168.0.3']);
  const nothing = { wanted: [], unwanted: [], peers: false, nodes: false };
  expect(table.set(first)).toEqual({ ...nothing, nodes: true });
  expect(table.nodes).toEqual([ip('10.168.0.3')]);
  expect(table.problems).toEqual([]);
  table.setView(view);
  const [route] = table.routes;
  expect(route).toMatchObject({ destination: '10.244.1.0/24', nextHops: [{ via: '10.168.0.3', device: 'eth0' }] });
  expect(table.set({ ...first })).toEqual(nothing);
  // a claim that comes first takes the subnet over; when it goes, the other has it again
  const taken = table.set(lease('a', 'host-gw', ['10.244.1.0/24', '10.168.0.4']));
  expect(taken).toMatchObject({ wanted: [{ nextHops: [{ via: '10.168.0.4' }] }], unwanted: [] });
  expect(table.problems).toMatchObject([{ kind: 'duplicate', lease: 'b' }]);
  expect(table.delete('a')).toMatchObject({ wanted: [{ nextHops: [{ via: '10.168.0.3' }] }], unwanted: [] });
  expect(table.problems).toEqual([]);
  // another subnet under the same name
  const moved = table.set(lease('b', 'host-gw', ['10.244.2.0/24', '10.168.0.3']));
  expect(moved).toMatchObject({
    wanted: [{ destination: '10.244.2.0/24' }],
    unwanted: [{ destination: '10.244.1.0/24' }],
  });
  expect(table.delete('b')).toMatchObject({ wanted: [], unwanted: [{ destination: '10.244.2.0/24' }] });
  expect(table.delete('b')).toEqual(nothing);
  expect([...table.routes]).toEqual([]);
});

test('whatever comes in whatever order, it holds what a calculation from nothing gives', () => {
  let seed = 1;
  const below = (n: number) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % n;
  };
  const subnets = ['10.244.0.0/24', '10.244.1.0/24', '10.244.1.0/25', '10.244.200.0/24', '10.99.0.0/24', 'fc00::/64'];
  const addresses = ['10.168.0.2', '10.168.0.3', '10.168.0.200', '10.244.1.9', 'fd00::3', undefined];
  const table = new LeaseTable();
  const facts = new Map<string, LeaseFact>();
  const followed = new Map<string, unknown>();
  let current = views[0]!;
  const byGateway = (peers: readonly VxlanPeer[]) =>
    peers.toSorted((a, b) => (a.gateway + a.node < b.gateway + b.node ? -1 : 1));
  table.setView(current);
  for (let step = 0; step < 3_000; step++) {
    const name = ['10.244.0.0-24', 'a', 'b', 'c', 'd'][below(5)]!;
    const kind = below(20);
    if (kind === 0) {
      current = views[below(views.length)]!;
      table.setView(current);
      followed.clear();
      for (const route of table.routes) followed.set(route.destination, route);
    } else {
      const chosen = subnets.slice(below(3)).filter(() => below(2) === 0);
      const fact = lease(
        name,
        below(3) === 0 ? 'vxlan' : 'host-gw',
        ...chosen.map((s): [string, string | undefined] => [s, addresses[below(6)]]),
      );
      if (kind < 6) facts.delete(name);
      else facts.set(name, fact);
      const before = byGateway(table.peers);
      const { wanted, unwanted, peers } = kind < 6 ? table.delete(name) : table.set(fact);
      expect(peers).toBe(!Bun.deepEquals(byGateway(table.peers), before));
      for (const route of unwanted) expect(followed.delete(route.destination)).toBe(true);
      for (const route of wanted) followed.set(route.destination, route);
    }
    const expected = leaseRoutes([...facts.values()], current);
    expect(sorted(table.routes)).toEqual(sorted(expected.routes));
    expect(sorted(followed.values() as Iterable<{ destination: string }>)).toEqual(sorted(expected.routes));
    expect(byGateway(table.peers)).toEqual(byGateway(expected.peers));
    expect(table.problems).toEqual(expected.problems);
  }
});
