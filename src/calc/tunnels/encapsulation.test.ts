import { describe, expect, test } from 'bun:test';
import type { Route } from '../../desired/mod.ts';
import { parseStored } from '../../model/mod.ts';
import type { IpPoolSpec, Resource } from '../../model/mod.ts';
import { ip, prefix } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { natRules } from '../nat.ts';
import { Encapsulation } from './encapsulation.ts';
import type { EncapsulationView, Uplink } from './encapsulation.ts';
import { TAKES_ANNOTATION, vxlanMac } from './peers.ts';
import { tunnelSettings } from './settings.ts';

function stored<K extends 'IPPool' | 'Node' | 'FelixConfiguration'>(
  kind: K,
  name: string,
  spec: object,
  annotations: Record<string, string> = {},
): Resource<K> {
  const text = JSON.stringify({ kind, apiVersion: 'projectcalico.org/v3', metadata: { name, annotations }, spec });
  const parsed = parseStored(text, 1);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value as Resource<K>;
}
const pool = (spec: object, cidr = '10.233.0.0/16'): IpPoolSpec => stored('IPPool', 'pool', { cidr, ...spec }).spec;
const node = (name: string, address: string, more: object = {}, annotations: Record<string, string> = {}) =>
  stored('Node', name, { bgp: { ipv4Address: address }, ...more }, annotations);

const uplink: Uplink = { address: { address: ip('192.168.1.2'), prefixLength: 24 }, device: 'eth0', mtu: 1500 };
const view: EncapsulationView = {
  node: 'node1',
  pools: [],
  nodes: [
    node('node1', '192.168.1.2/24'),
    node('node2', '192.168.2.2/24', { ipv4VXLANTunnelAddr: '10.233.2.1' }),
    node('node3', '192.168.1.3/24', { ipv4VXLANTunnelAddr: '10.233.3.1', vxlanTunnelMACAddr: '66:00:00:00:00:03' }),
  ],
  settings: tunnelSettings('node1', []),
  uplinks: { 4: uplink },
  addresses: { ipip: ip('10.233.1.1'), vxlan: ip('10.233.1.1') },
  inPlace: new Set(),
};
const encapsulation = (spec: object, change: Partial<EncapsulationView> = {}) =>
  new Encapsulation({ ...view, pools: [pool(spec)], ...change });

const text = (route: Route | undefined): string =>
  route === undefined
    ? 'none'
    : `${route.destination} ${route.nextHops.map((hop) => `via ${hop.via} dev ${hop.device}${hop.onlink === true ? ' onlink' : ''}`).join(' ')}${route.mtu === undefined ? '' : ` mtu ${route.mtu}`}`;
/** The best path by a node: on the own subnet directly, else by the router. */
const path = (nextHop: string) => ({
  nextHop: ip(nextHop),
  hops: [{ via: ip(nextHop.startsWith('192.168.1.') ? nextHop : '192.168.1.1'), device: 'eth0' }],
});
const byBgp = (e: Encapsulation, nextHop: string, destination = '10.233.2.0/26') =>
  text(e.bgpRoute(prefix(destination), [path(nextHop)]));

describe('routes that come by BGP', () => {
  const plain = '10.233.2.0/26 via 192.168.1.1 dev eth0';
  const tunnelled = '10.233.2.0/26 via 192.168.2.2 dev tunl0 onlink';
  const cases: [string, object, string, string][] = [
    ['Never: by the router', {}, '192.168.2.2', plain],
    ['Always', { ipipMode: 'Always' }, '192.168.2.2', tunnelled],
    [
      'Always, on the own subnet',
      { ipipMode: 'Always' },
      '192.168.1.3',
      '10.233.2.0/26 via 192.168.1.3 dev tunl0 onlink',
    ],
    ['CrossSubnet, another subnet', { ipipMode: 'CrossSubnet' }, '192.168.2.2', tunnelled],
    [
      'CrossSubnet, the own subnet',
      { ipipMode: 'CrossSubnet' },
      '192.168.1.3',
      '10.233.2.0/26 via 192.168.1.3 dev eth0',
    ],
    [
      'Always, by one that is no node',
      { ipipMode: 'Always' },
      '192.168.9.9',
      '10.233.2.0/26 via 192.168.9.9 dev tunl0 onlink',
    ],
    ['a disabled pool', { ipipMode: 'Always', disabled: true }, '192.168.2.2', tunnelled],
    [
      ...(['VXLAN: as the VXLAN route', { vxlanMode: 'Always' }, '192.168.2.2'] as const),
      '10.233.2.0/26 via 10.233.2.1 dev vxlan.calico onlink',
    ],
  ];
  test.each(cases)('%s', (_name, spec, nextHop, expected) => {
    expect(byBgp(encapsulation(spec), nextHop)).toBe(expected);
  });

  test('outside every pool, larger than the pool, and switched off by Felix: plain', () => {
    const always = encapsulation({ ipipMode: 'Always' });
    expect(byBgp(always, '192.168.2.2', '10.9.0.0/26')).toBe('10.9.0.0/26 via 192.168.1.1 dev eth0');
    expect(byBgp(always, '192.168.2.2', '10.232.0.0/15')).toBe('10.232.0.0/15 via 192.168.1.1 dev eth0');
    const settings = tunnelSettings('node1', [stored('FelixConfiguration', 'default', { ipipEnabled: false })]);
    expect(byBgp(encapsulation({ ipipMode: 'Always' }, { settings }), '192.168.2.2')).toBe(plain);
  });

  test('a /32 on the uplink shares a subnet with nobody', () => {
    const host = { ...uplink, address: { address: ip('192.168.1.2'), prefixLength: 32 } };
    const cross = encapsulation({ ipipMode: 'CrossSubnet' }, { uplinks: { 4: host } });
    expect(byBgp(cross, '192.168.1.3')).toBe('10.233.2.0/26 via 192.168.1.3 dev tunl0 onlink');
  });

  test('several paths: each its own way; unreachable ones do not count', () => {
    const cross = encapsulation({ ipipMode: 'CrossSubnet' });
    const lost = { nextHop: ip('192.168.2.9'), hops: [] };
    expect(text(cross.bgpRoute(prefix('10.233.2.0/26'), [path('192.168.2.2'), path('192.168.1.3'), lost]))).toBe(
      '10.233.2.0/26 via 192.168.2.2 dev tunl0 onlink via 192.168.1.3 dev eth0',
    );
    expect(text(cross.bgpRoute(prefix('10.233.2.0/26'), [lost]))).toBe('none');
  });

  test('a smaller MTU on the way to a node shows in the routes through the tunnel only', () => {
    const pathMtus = new Map<IpAddress, number>([[ip('192.168.2.2'), 1400]]);
    expect(byBgp(encapsulation({ ipipMode: 'Always' }, { pathMtus }), '192.168.2.2')).toBe(`${tunnelled} mtu 1380`);
    expect(byBgp(encapsulation({}, { pathMtus }), '192.168.2.2')).toBe(plain);
  });
});

describe('VXLAN', () => {
  const owned = [
    [prefix('10.233.1.0/26'), 'node1'],
    [prefix('10.233.2.0/26'), 'node2'],
    [prefix('10.233.3.0/26'), 'node3'],
    [prefix('10.9.0.0/26'), 'node2'],
    [prefix('10.233.4.0/26'), 'gone'],
  ] as const;
  const routes = (e: Encapsulation) => e.vxlanRoutes(owned).map(text);

  test('Always and CrossSubnet', () => {
    expect(routes(encapsulation({ vxlanMode: 'Always' }))).toEqual([
      '10.233.2.0/26 via 10.233.2.1 dev vxlan.calico onlink',
      '10.233.3.0/26 via 10.233.3.1 dev vxlan.calico onlink',
    ]);
    expect(routes(encapsulation({ vxlanMode: 'CrossSubnet' }))).toEqual([
      '10.233.2.0/26 via 10.233.2.1 dev vxlan.calico onlink',
      '10.233.3.0/26 via 192.168.1.3 dev eth0 onlink',
    ]);
    expect(routes(encapsulation({ ipipMode: 'Always' }))).toEqual([]);
  });

  test('a borrowed address goes to the borrower, also out of the own block', () => {
    const e = encapsulation({ vxlanMode: 'Always' });
    const borrowed = () => [{ address: ip('10.233.1.7'), node: 'node3' }];
    expect(e.vxlanRoutes([[prefix('10.233.1.0/26'), 'node1']], borrowed).map(text)).toEqual([
      '10.233.1.7/32 via 10.233.3.1 dev vxlan.calico onlink',
    ]);
  });

  test('the tunnel: parameters, peers, MACs as Calico derives them', () => {
    const tunnel = encapsulation({ vxlanMode: 'Always' }).vxlan(4);
    expect(tunnel).toMatchObject({
      device: 'vxlan.calico',
      vni: 4096,
      port: 4789,
      mtu: 1450,
      mac: vxlanMac('node1', 4),
    });
    expect(tunnel?.peers).toMatchObject([
      { node: '192.168.2.2', gateway: '10.233.2.1', mac: vxlanMac('node2', 4) },
      { node: '192.168.1.3', gateway: '10.233.3.1', mac: '66:00:00:00:00:03' },
    ]);
    // f, then the first five bytes of sha1("node1")
    expect(String(vxlanMac('node1', 4))).toBe('66:f9:37:c3:7e:94');
    expect(vxlanMac('node1', 6)).not.toBe(vxlanMac('node1', 4));
  });

  test('IPv6 pools have a device, an end and a size of their own', () => {
    const six = { address: { address: ip('fd00::2'), prefixLength: 64 }, device: 'eth0', mtu: 1500 };
    const peer = stored('Node', 'node2', { bgp: { ipv6Address: 'fd00:2::2/64' }, ipv6VXLANTunnelAddr: 'fc00::2:1' });
    const e = new Encapsulation({
      ...{ ...view, pools: [pool({ vxlanMode: 'CrossSubnet' }, 'fc00::/48')], nodes: [peer], uplinks: { 6: six } },
      addresses: { vxlan6: ip('fc00::1:1') },
    });
    expect(e.vxlan(6)).toMatchObject({ device: 'vxlan-v6.calico', local: 'fd00::2', mtu: 1430 });
    expect(e.vxlanRoutes([[prefix('fc00::2:0/122'), 'node2']]).map(text)).toEqual([
      'fc00::2:0/122 via fc00::2:1 dev vxlan-v6.calico onlink',
    ]);
    expect([e.vxlan(4), e.podMtu()]).toEqual([undefined, 1430]);
  });
});

describe('a mode that changes under traffic', () => {
  const ours = (takes: string, more: object = {}) => [
    node('node2', '192.168.2.2/24', more, { [TAKES_ANNOTATION]: takes }),
  ];
  const ends = { ipv4VXLANTunnelAddr: '10.233.2.1' };
  const block = [[prefix('10.233.2.0/26'), 'node2']] as const;

  test('no tunnel before the other end takes packets', () => {
    expect(byBgp(encapsulation({ ipipMode: 'Always' }, { nodes: ours('none') }), '192.168.2.2')).toContain('dev eth0');
    expect(byBgp(encapsulation({ ipipMode: 'Always' }, { nodes: ours('ipip') }), '192.168.2.2')).toContain('dev tunl0');
    expect(encapsulation({ vxlanMode: 'Always' }, { nodes: ours('none') }).vxlanRoutes(block)).toEqual([]);
  });

  test('from one tunnel to the other: the old one until the new one is taken, where this node still has it', () => {
    const held = new Set(['ipip', 'vxlan'] as const);
    const toVxlan = encapsulation({ vxlanMode: 'Always' }, { nodes: ours('ipip'), inPlace: held });
    expect(byBgp(toVxlan, '192.168.2.2')).toContain('dev tunl0');
    expect(toVxlan.vxlanRoutes(block)).toEqual([]);
    const toIpip = encapsulation({ ipipMode: 'Always' }, { nodes: ours('vxlan', ends), inPlace: held });
    expect(toIpip.vxlanRoutes(block).map(text)).toEqual(['10.233.2.0/26 via 10.233.2.1 dev vxlan.calico onlink']);
    const without = encapsulation({ vxlanMode: 'Always' }, { nodes: ours('ipip') });
    expect(byBgp(without, '192.168.2.2')).toContain('dev eth0');
  });

  test('published is what is in place and wanted', () => {
    const e = encapsulation({ vxlanMode: 'Always' }, { inPlace: new Set(['ipip']) });
    expect(e.published()).toEqual({
      ipipAddress: undefined,
      vxlanAddress: {},
      annotations: { 'godwit/takes': 'none' },
    });
    const ready = encapsulation({ vxlanMode: 'Always' }, { inPlace: new Set(['ipip', 'vxlan']) });
    expect(ready.published()).toMatchObject({
      vxlanAddress: { 4: '10.233.1.1' },
      annotations: { 'godwit/takes': 'vxlan' },
    });
    const ipip = encapsulation({ ipipMode: 'Always' }, { inPlace: new Set(['ipip']) });
    expect(ipip.published()).toMatchObject({ ipipAddress: '10.233.1.1', annotations: { 'godwit/takes': 'ipip' } });
  });
});

test('tunnels and sizes by mode and uplink', () => {
  const never = encapsulation({});
  expect([never.ipip(), never.vxlan(4), never.podMtu(), [...never.needed]]).toEqual([undefined, undefined, 1500, []]);
  const settings = tunnelSettings('node1', [
    stored('FelixConfiguration', 'default', {
      ipipMTU: 1440,
      vxlanPort: 4790,
      externalNodesList: ['192.0.2.1', '10.0.0.0/8', '192.0.2.0/30', '2001:db8::/127'],
    }),
    stored('FelixConfiguration', 'node.node1', { vxlanVNI: 7 }),
    stored('FelixConfiguration', 'node.node2', { ipipMTU: 1000 }),
  ]);
  expect(settings).toMatchObject({ ipipMtu: 1440, port: 4790, vni: 7, refusedRanges: ['10.0.0.0/8'] });
  const hosts = ['192.0.2.0', '192.0.2.1', '192.0.2.2', '192.0.2.3', '2001:db8::', '2001:db8::1'];
  expect([...settings.externalNodes].sort()).toEqual(hosts as never);
  const always = encapsulation({ ipipMode: 'Always' }, { settings });
  expect(always.ipip()).toMatchObject({
    device: 'tunl0',
    local: '192.168.1.2',
    uplink: 'eth0',
    address: '10.233.1.1',
    mtu: 1440,
  });
  expect([...always.ipip()!.peers]).toEqual(
    ['192.168.2.2', '192.168.1.3', '192.0.2.1', '192.0.2.0', '192.0.2.2', '192.0.2.3'].map(ip),
  );
  expect([always.podMtu(), always.poolsFor('ipip'), always.poolsFor('vxlan')]).toEqual([
    1440,
    [prefix('10.233.0.0/16')],
    [],
  ]);
  const jumbo = encapsulation({ vxlanMode: 'Always' }, { uplinks: { 4: { ...uplink, mtu: 9000 } } });
  expect([jumbo.podMtu(), jumbo.vxlan(4)?.mtu]).toEqual([8950, 8950]);
  expect(encapsulation({ vxlanMode: 'Always' }, { addresses: {} }).vxlan(4)).toBeUndefined();
});

test('masquerading: pools that ask for it, to nowhere inside; hosts on request', () => {
  const pools = [
    pool({ natOutgoing: true }),
    pool({ disabled: true }, '10.8.0.0/16'),
    pool({ natOutgoing: true }, 'fc00::/48'),
  ];
  const settings = (exclusions?: string) =>
    tunnelSettings('node1', [stored('FelixConfiguration', 'default', { natOutgoingExclusions: exclusions })]);
  expect(natRules({ pools, nodes: view.nodes, settings: settings() })).toEqual({
    sources: [prefix('10.233.0.0/16'), prefix('fc00::/48')],
    inside: [prefix('10.8.0.0/16'), prefix('10.233.0.0/16'), prefix('fc00::/48')],
    hosts: [],
  });
  const hosts = natRules({ pools, nodes: view.nodes, settings: settings('IPPoolsAndHostIPs') }).hosts;
  expect(hosts).toEqual(['192.168.1.2', '192.168.1.3', '192.168.2.2'].map(ip));
});
