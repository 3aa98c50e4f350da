import { describe, expect, test } from 'bun:test';
import { addressBytes, ip, prefix } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import type { Route } from '../../desired/mod.ts';
import { createRib } from '../rib/mod.ts';
import { IPV4_UNICAST, UpdateWriter, encodeAttributes } from '../wire/mod.ts';
import type { SessionContext } from '../wire/mod.ts';
import { BgpRoutes, RouteViewResolver } from './mod.ts';
import type { ViewRoute } from './mod.ts';

const connected = (destination: string, device: string, metric = 0): ViewRoute => ({
  destination: prefix(destination),
  metric,
  hops: [{ device }],
});
const gateway = (destination: string, via: string, device: string, metric = 0): ViewRoute => ({
  destination: prefix(destination),
  metric,
  hops: [{ via: ip(via), device }],
});

describe('resolution of next hops', () => {
  const resolver = new RouteViewResolver();
  resolver.replace([
    connected('10.0.0.0/24', 'eth0'),
    connected('10.0.1.0/24', 'eth1'),
    gateway('192.168.0.0/16', '10.0.0.254', 'eth0', 20),
    gateway('172.16.0.0/12', '192.168.5.5', 'eth0', 30),
    { destination: prefix('192.168.9.0/24'), metric: 0, hops: [] },
    // an address of our own, also where somebody has put a route for it
    { destination: prefix('10.0.0.1/32'), metric: 0, hops: [] },
    connected('10.0.0.1/32', 'eth0'),
    gateway('10.7.0.0/16', '10.0.0.1', 'eth0', 50),
    gateway('10.7.0.0/16', '10.0.1.1', 'eth1', 40),
    connected('fd00::/64', 'eth0'),
    gateway('192.0.2.0/24', '192.0.2.1', 'eth9'),
  ]);
  const cases: [string, unknown][] = [
    ['10.0.0.7', { reachable: true, metric: 0, hops: [{ via: '10.0.0.7', device: 'eth0' }] }],
    ['192.168.1.1', { reachable: true, metric: 20, hops: [{ via: '10.0.0.254', device: 'eth0' }] }],
    ['172.16.1.1', { reachable: true, metric: 30, hops: [{ via: '10.0.0.254', device: 'eth0' }] }],
    ['192.168.9.1', { reachable: false }],
    ['10.0.0.1', { reachable: false }],
    ['10.7.1.1', { reachable: true, metric: 40, hops: [{ via: '10.0.1.1', device: 'eth1' }] }],
    ['8.8.8.8', { reachable: false }],
    ['fd00::5', { reachable: true, metric: 0, hops: [{ via: 'fd00::5', device: 'eth0' }] }],
    ['192.0.2.1', { reachable: true, metric: 0, hops: [{ via: '192.0.2.1', device: 'eth9' }] }],
  ];
  for (const [address, expected] of cases) {
    test(address, () => expect(resolver.resolve(ip(address)) as unknown).toEqual(expected));
  }
});

describe('best paths to routes', () => {
  const context: SessionContext = {
    fourOctetAs: true,
    extendedMessages: false,
    peerType: 'external',
    families: new Set([IPV4_UNICAST]),
    extendedNextHop: new Set(),
    addPathReceive: new Set(),
    addPathSend: new Set(),
  };

  function update(prefixes: Prefix[], path?: number[], via = '10.0.0.2'): Uint8Array {
    const writer = new UpdateWriter();
    if (!path) writer.withdraw(IPV4_UNICAST);
    else {
      const attributes = {
        ...({
          origin: 0,
          med: undefined,
          localPref: undefined,
          atomicAggregate: false,
          aggregator: undefined,
        } as const),
        ...{ communities: [], originatorId: undefined, clusterList: [], extendedCommunities: [], largeCommunities: [] },
        ...{ unknown: [], partial: 0 },
        asPath: [{ type: 2 as const, asns: path }],
        nextHop: { address: addressBytes(ip(via)), linkLocal: undefined },
      };
      writer.announce(encodeAttributes(attributes, IPV4_UNICAST, context));
    }
    for (const p of prefixes) writer.add4(new DataView(addressBytes(ip(p.split('/')[0]!)).buffer).getUint32(0), 24);
    writer.finish();
    return writer.out.copy();
  }

  test('announce, change, multipath, next hop lost and back, withdraw, own routes', () => {
    const resolver = new RouteViewResolver();
    const view = [connected('10.0.0.0/24', 'eth0'), connected('10.0.1.0/24', 'eth1')];
    resolver.replace(view);
    const rib = createRib({
      localAs: 65000,
      routerId: 1,
      resolver,
      decision: { multipathEbgp: 2 },
      events: { outputReady() {}, workReady() {}, endOfRib() {}, maxPrefix() {} },
    });
    const peers = [2, 3].map((n) => {
      const id = rib.addPeer({
        name: `p${n}`,
        address: ip(`10.0.${n - 2}.2`),
        remoteAs: 64512,
        localAs: 65000,
        families: { 4: {} },
      });
      rib.sessionUp(id, { routerId: n, context, localAddress: { 4: ip('10.0.0.1') } });
      return id;
    });
    const table = new Map<Prefix, string>();
    let synced = 0;
    const fib = new BgpRoutes({
      addDesired: (route: Route) =>
        void table.set(route.destination, route.nextHops.map((hop) => `${hop.via} ${hop.device}`).join(', ')),
      removeDesired: (destination) => void table.delete(destination),
      markInSync: () => void synced++,
    });
    const feed = rib.bestFeed(() => {});
    const settle = () => {
      while (rib.work());
      for (let changes = feed.take(1); changes.length > 0; changes = feed.take(1)) fib.apply(changes);
      return Object.fromEntries(table);
    };
    const p = prefix('172.16.1.0/24');
    const send = (peer: number, bytes: Uint8Array) => rib.receive(peers[peer]!, bytes, 0, bytes.length);

    send(0, update([p], [64512, 1], '10.0.0.2'));
    expect(settle()).toEqual({ [p]: '10.0.0.2 eth0' });
    send(1, update([p], [64512, 2], '10.0.1.2'));
    expect(settle()).toEqual({ [p]: '10.0.0.2 eth0, 10.0.1.2 eth1' });
    resolver.replace(view.slice(1));
    expect(settle()).toEqual({ [p]: '10.0.1.2 eth1' });
    resolver.replace([]);
    expect(settle()).toEqual({});
    resolver.replace([connected('10.0.0.0/24', 'eth5'), connected('10.0.1.0/24', 'eth1')]);
    expect(settle()).toEqual({ [p]: '10.0.0.2 eth5, 10.0.1.2 eth1' });
    send(0, update([p]));
    expect(settle()).toEqual({ [p]: '10.0.1.2 eth1' });
    rib.announce({ prefix: p });
    expect(settle()).toEqual({});
    rib.withdraw(p);
    expect(settle()).toEqual({ [p]: '10.0.1.2 eth1' });
    rib.sessionDown(peers[1]!, [4]);
    expect(settle()).toEqual({ [p]: '10.0.1.2 eth1' });
    rib.sweepStale(peers[1]!, 4);
    expect(settle()).toEqual({});
    expect(fib.size).toBe(0);
    fib.inSync();
    expect(synced).toBe(1);
  });
});
