import { describe, expect, test } from 'bun:test';
import { ip, parseMac, prefix } from '../net/mod.ts';
import { leaseRoutes } from './leases.ts';
import type { LeaseFact, LeaseView, SubnetFact } from './leases.ts';

const lease = (subnet: string, publicIp: string | undefined, backendType = 'host-gw'): LeaseFact => ({
  name: subnet.replace('/', '-'),
  backendType,
  subnets: [{ subnet: prefix(subnet), publicIp: publicIp === undefined ? undefined : ip(publicIp) }],
});

const view: LeaseView = {
  networks: [prefix('10.244.0.0/16'), prefix('fc00::/48')],
  backendType: 'host-gw',
  ownLease: '10.244.0.0-24',
  ownSubnets: [prefix('10.244.0.0/24'), prefix('fc00::/64')],
  ownAddresses: [ip('10.168.0.2'), ip('fd00::2')],
  connected: [
    { prefix: prefix('10.168.0.0/24'), device: 'eth0' },
    { prefix: prefix('10.168.0.0/24'), device: 'aaa0' },
    { prefix: prefix('10.168.0.128/25'), device: 'eth1' },
    { prefix: prefix('fd00::/64'), device: 'eth0' },
  ],
  uplink: 'eth0',
};

const told = (leases: readonly LeaseFact[], change: Partial<LeaseView> = {}) => {
  const { routes, problems } = leaseRoutes(leases, { ...view, ...change });
  return {
    routes: routes.map((r) => `${r.destination} via ${r.nextHops[0]!.via} dev ${r.nextHops[0]!.device}`),
    problems: problems.map((p) => `${p.kind} ${p.subnet} ${p.routed}`),
  };
};

describe('leaseRoutes', () => {
  test('one route a lease, in table order, own lease excluded', () => {
    const leases = [
      lease('10.244.2.0/24', '10.168.0.4'),
      lease('10.244.0.0/24', '10.168.0.2'),
      lease('10.244.1.0/24', '10.168.0.3'),
    ];
    expect(told(leases)).toEqual({
      routes: ['10.244.1.0/24 via 10.168.0.3 dev eth0', '10.244.2.0/24 via 10.168.0.4 dev eth0'],
      problems: [],
    });
  });

  test('the longest connected prefix decides the device, then the uplink', () => {
    expect(told([lease('10.244.1.0/24', '10.168.0.200')]).routes).toEqual(['10.244.1.0/24 via 10.168.0.200 dev eth1']);
  });

  test('dual stack: a family each', () => {
    const both: LeaseFact = {
      name: '10.244.1.0-24&fc00:0:0:1::-64',
      backendType: 'host-gw',
      subnets: [
        { subnet: prefix('10.244.1.0/24'), publicIp: ip('10.168.0.3') },
        { subnet: prefix('fc00:0:0:1::/64'), publicIp: ip('fd00::3') },
      ],
    };
    expect(told([both]).routes).toEqual([
      '10.244.1.0/24 via 10.168.0.3 dev eth0',
      'fc00:0:0:1::/64 via fd00::3 dev eth0',
    ]);
  });

  const refused: [string, LeaseFact, string][] = [
    ['not on a connected subnet', lease('10.244.1.0/24', '192.168.9.13'), 'not-connected'],
    ['no address', lease('10.244.1.0/24', undefined), 'no-address'],
    ['address of the other family', lease('10.244.1.0/24', 'fd00::3'), 'no-address'],
    ['loopback', lease('10.244.1.0/24', '127.0.0.1'), 'no-address'],
    ['next hop among the pods', lease('10.244.1.0/24', '10.244.0.7'), 'no-address'],
    ['everything', lease('0.0.0.0/0', '10.168.0.3'), 'outside-network'],
    ['another network', lease('10.9.0.0/24', '10.168.0.3'), 'outside-network'],
    ['the whole network', lease('10.244.0.0/16', '10.168.0.3'), 'outside-network'],
    ['a part of our own subnet', lease('10.244.0.128/25', '10.168.0.3'), 'own-subnet'],
    ['our own address', lease('10.244.7.0/24', '10.168.0.2'), 'own-address'],
  ];
  test.each(refused)('refused: %s', (_name, fact, kind) => {
    const good = lease('10.244.2.0/24', '10.168.0.4');
    expect(told([fact, good])).toEqual({
      routes: ['10.244.2.0/24 via 10.168.0.4 dev eth0'],
      problems: [`${kind} ${fact.subnets[0]!.subnet} false`],
    });
  });

  test('nodes of other segments are the gateways’ business when they are told to be', () => {
    const far = lease('10.244.1.0/24', '192.168.9.13');
    const good = lease('10.244.2.0/24', '10.168.0.4');
    const routes = ['10.244.2.0/24 via 10.168.0.4 dev eth0'];
    expect(told([far, good], { otherSegments: 'gateway' })).toEqual({ routes, problems: [] });
  });

  test('our own subnet taken by another after our lease was lost', () => {
    const leases = [lease('10.244.0.0/24', '10.168.0.3')];
    expect(told(leases, { ownLease: undefined })).toEqual({
      routes: [],
      problems: ['own-subnet 10.244.0.0/24 false'],
    });
  });

  test('the same subnet twice: the first name wins, whatever the order of arrival', () => {
    const first = lease('10.244.1.0/24', '10.168.0.3');
    const second: LeaseFact = { ...lease('10.244.1.0/24', '10.168.0.4'), name: '10.244.1.0-24&fc00:0:0:1::-64' };
    const expected = {
      routes: ['10.244.1.0/24 via 10.168.0.3 dev eth0'],
      problems: ['duplicate 10.244.1.0/24 false'],
    };
    expect(told([first, second])).toEqual(expected);
    expect(told([second, first])).toEqual(expected);
  });

  test('overlap is routed by the longer prefix and told', () => {
    const leases = [lease('10.244.4.0/22', '10.168.0.3'), lease('10.244.5.0/24', '10.168.0.4')];
    expect(told(leases)).toEqual({
      routes: ['10.244.4.0/22 via 10.168.0.3 dev eth0', '10.244.5.0/24 via 10.168.0.4 dev eth0'],
      problems: ['overlap 10.244.5.0/24 true'],
    });
  });

  test('another backend is routed and told', () => {
    expect(told([lease('10.244.1.0/24', '10.168.0.3', 'vxlan')])).toEqual({
      routes: ['10.244.1.0/24 via 10.168.0.3 dev eth0'],
      problems: ['backend 10.244.1.0/24 true'],
    });
  });

  describe('VXLAN', () => {
    const vtep = { vni: 1, mac: parseMac('c6:d2:32:6f:8f:44')! };
    const end = (subnet: string, publicIp: string, own: SubnetFact['vtep'] = vtep): LeaseFact => ({
      ...{ name: subnet.replace('/', '-'), backendType: 'vxlan' },
      subnets: [{ subnet: prefix(subnet), publicIp: ip(publicIp), vtep: own }],
    });
    const network = (directRouting = false): Partial<LeaseView> => ({
      backendType: 'vxlan',
      vxlan: { vni: 1, device: { 4: 'flannel.1', 6: 'flannel-v6.1' }, directRouting },
    });
    const near = end('10.244.1.0/24', '10.168.0.3');
    const far = end('10.244.2.0/24', '192.168.9.13');

    test('through the tunnel, with a peer each', () => {
      const { routes, peers, problems } = leaseRoutes([near, far], { ...view, ...network() });
      expect(routes.map((route) => route.nextHops)).toEqual([
        [{ via: ip('10.244.1.0'), device: 'flannel.1', onlink: true }],
        [{ via: ip('10.244.2.0'), device: 'flannel.1', onlink: true }],
      ]);
      expect(peers).toEqual([
        { node: ip('10.168.0.3'), gateway: ip('10.244.1.0'), mac: vtep.mac },
        { node: ip('192.168.9.13'), gateway: ip('10.244.2.0'), mac: vtep.mac },
      ]);
      expect(problems).toEqual([]);
    });

    test('DirectRouting: nodes on a connected subnet without it', () => {
      expect(told([near, far], network(true)).routes).toEqual([
        '10.244.1.0/24 via 10.168.0.3 dev eth0',
        '10.244.2.0/24 via 10.244.2.0 dev flannel.1',
      ]);
      expect(leaseRoutes([near, far], { ...view, ...network(true) }).peers.length).toBe(1);
    });

    test('nodes of host-gw, of another VXLAN, or without an end: directly, where that is possible', () => {
      const others = [lease('10.244.1.0/24', '10.168.0.3'), end('10.244.2.0/24', '10.168.0.4', { ...vtep, vni: 7 })];
      const without = { ...far, subnets: [{ subnet: prefix('10.244.3.0/24'), publicIp: ip('192.168.9.13') }] };
      expect(told([...others, without], network())).toEqual({
        routes: ['10.244.1.0/24 via 10.168.0.3 dev eth0', '10.244.2.0/24 via 10.168.0.4 dev eth0'],
        problems: ['backend 10.244.1.0/24 true', 'no-vtep 10.244.3.0/24 false'],
      });
    });
  });
});
