import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ip, prefix } from '../../src/net/mod.ts';
import type { MacAddress } from '../../src/net/mod.ts';
import {
  addAddress,
  addLink,
  addRoute,
  addRule,
  deleteLink,
  deleteRoute,
  deleteRule,
  isUp,
  kernelRoute,
  monitorKernel,
  Rtnetlink,
  setBridgePort,
  setLink,
  setNeighbour,
} from '../../src/netlink/mod.ts';
import type { KernelEvent } from '../../src/netlink/mod.ts';
import { errno, isErrno } from '../../src/sys/mod.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';
import { have } from '../support/peers.ts';
import { TestNamespaces, until } from '../support/netns.ts';

const here = have('rtnetlink against the kernel', 'ip');

describe.skipIf(!here)('rtnetlink', () => {
  const spaces = new TestNamespaces();
  let namespace: NetworkNamespace;
  let other: NetworkNamespace;
  let netlink: Rtnetlink;

  beforeAll(() => {
    namespace = spaces.add('nl');
    other = spaces.add('nl2');
    netlink = Rtnetlink.in(namespace);
  });
  afterAll(() => spaces[Symbol.dispose]());

  test('the routes of a family that nothing uses are none', () => {
    const none = Rtnetlink.in(spaces.add('nl3'));
    for (const family of [4, 6] as const) expect(none.routes(family, { table: 254 })).toEqual([]);
    none[Symbol.dispose]();
    spaces.remove('nl3');
  });

  const PROTOCOL = 71;
  const ipJson = (...args: string[]): unknown => JSON.parse(spaces.run('nl', 'ip', '-j', ...args));

  test('links: veth into another namespace, bridge, port settings, rename, delete', () => {
    netlink.change((b) => addLink(b, { kind: 'bridge', name: 'br0', mtu: 1450, up: true }));
    const bridge = netlink.link('br0')!;
    expect(bridge).toMatchObject({ kind: 'bridge', mtu: 1450 });
    expect(isUp(bridge)).toBe(true);
    const address = 'ee:ee:ee:ee:ee:01' as MacAddress;
    netlink.change((b) =>
      addLink(b, {
        kind: 'veth',
        name: 'host0',
        up: true,
        master: bridge.index,
        peer: { name: 'eth0', namespace: other.descriptor, address },
      }),
    );
    netlink.change((b) => setLink(b, netlink.link('host0')!.index, { alias: 'godwit:test' }));
    const host = netlink.link('host0')!;
    expect(host).toMatchObject({ kind: 'veth', alias: 'godwit:test', master: bridge.index });
    expect(host.linkNamespace).toBeDefined();
    using inside = Rtnetlink.in(other);
    expect(inside.link('eth0')).toMatchObject({ address, index: host.link });
    netlink.change((b) => setBridgePort(b, host.index, { hairpin: true, isolated: true }));
    const detail = spaces.run('nl', 'ip', '-d', 'link', 'show', 'host0');
    expect(detail).toContain('hairpin on');
    expect(detail).toContain('isolated on');
    netlink.change((b) => setLink(b, host.index, { up: false, name: 'host1', mtu: 1400, master: 0 }));
    expect(netlink.link('host1')).toMatchObject({ index: host.index, mtu: 1400, master: 0 });
    netlink.change((b) => deleteLink(deleteLink(b, host.index), bridge.index));
    expect(netlink.links().map((l) => l.name)).not.toContain('br0');
    expect(inside.link('eth0')).toBeUndefined();
  });

  test('addresses, routes, multipath, blackhole, onlink and metrics, both families, as iproute2 sees them', () => {
    netlink.change((b) => addLink(b, { kind: 'veth', name: 'up0', up: true, peer: { name: 'up1' } }));
    const [up0, up1] = [netlink.link('up0')!, netlink.link('up1')!];
    netlink.change((b) => {
      setLink(b, up1.index, { up: true });
      addAddress(b, up0.index, { address: ip('10.168.0.2'), prefixLength: 24 });
      addAddress(b, up0.index, { address: ip('fd00::2'), prefixLength: 64 }, { flags: 2 });
    });
    expect(netlink.addresses(4).find((a) => a.index === up0.index)).toMatchObject({ address: ip('10.168.0.2') });
    const via = { gateway: ip('10.168.0.3'), index: up0.index };
    const routes = [
      kernelRoute({ destination: prefix('10.244.1.0/24'), protocol: PROTOCOL, nextHops: [via] }),
      kernelRoute({
        destination: prefix('10.244.2.0/24'),
        protocol: PROTOCOL,
        nextHops: [via, { ...via, gateway: ip('10.168.0.4') }],
      }),
      kernelRoute({ destination: prefix('10.244.3.0/24'), protocol: PROTOCOL, nextHops: [] }),
      kernelRoute({
        destination: prefix('10.244.4.0/24'),
        protocol: PROTOCOL,
        mtu: 1400,
        source: ip('10.168.0.2'),
        nextHops: [
          {
            gateway: ip('192.168.9.9'),
            index: up0.index,
            flags: 4,
          },
        ],
      }),
      kernelRoute({ destination: prefix('10.244.5.5/32'), protocol: PROTOCOL, nextHops: [{ index: up0.index }] }),
      kernelRoute({
        destination: prefix('fc00:1::/64'),
        protocol: PROTOCOL,
        nextHops: [{ gateway: ip('fd00::3'), index: up0.index }],
      }),
      kernelRoute({
        destination: prefix('10.244.6.0/24'),
        protocol: PROTOCOL,
        nextHops: [{ gateway: ip('fd00::3'), index: up0.index }],
      }),
    ];
    expect(netlink.changeEach(routes, (b, route) => addRoute(b, route)).filter(Boolean)).toEqual([]);
    const back = [...netlink.routes(4, { protocol: PROTOCOL }), ...netlink.routes(6, { protocol: PROTOCOL })];
    const sorted = (list: typeof back) => list.toSorted((a, b) => (a.destination < b.destination ? -1 : 1));
    expect(sorted(back)).toEqual(sorted(routes));
    expect(ipJson('route', 'show', '10.244.4.0/24')).toMatchObject([{ gateway: '192.168.9.9', flags: ['onlink'] }]);
    const duplicate = netlink.changeEach(routes.slice(0, 1), (b, route) => addRoute(b, route));
    expect(isErrno(duplicate[0], errno.EEXIST)).toBe(true);
    expect(netlink.changeEach(routes, (b, route) => deleteRoute(b, route)).filter(Boolean)).toEqual([]);
    expect(netlink.routes(4, { protocol: PROTOCOL })).toEqual([]);
  });

  test('an error names the operation, the errno and the kernel’s own words', () => {
    const bad = kernelRoute({
      destination: prefix('10.9.0.0/24'),
      protocol: PROTOCOL,
      nextHops: [{ gateway: ip('203.0.113.1'), index: 1 }],
    });
    expect(() => netlink.change((b) => addRoute(b, bad))).toThrow(
      /create route 10\.9\.0\.0\/24 via 203\.0\.113\.1 .*\(.+\)/,
    );
  });

  test('rules and neighbours', () => {
    const rule = {
      family: 4 as const,
      priority: 99,
      table: 1077,
      source: prefix('10.1.0.0/16'),
      destination: undefined,
      ...{
        inputDevice: '',
        mark: 1,
        markMask: 255,
        protocol: PROTOCOL,
        action: 1,
      },
    };
    netlink.change((b) => addRule(b, rule));
    expect(netlink.rules(4)).toContainEqual(rule);
    netlink.change((b) => deleteRule(b, rule));
    expect(netlink.rules(4).some((r) => r.priority === 99)).toBe(false);
    const index = netlink.link('up0')!.index;
    netlink.change((b) =>
      setNeighbour(b, { index, address: ip('10.168.0.77'), linkAddress: 'ee:ee:ee:ee:ee:ee' as MacAddress }),
    );
    expect(netlink.neighbours(4)).toContainEqual(expect.objectContaining({ address: ip('10.168.0.77'), state: 0x80 }));
  });

  test('a dump stays whole while another process changes routes', async () => {
    const churn = Bun.spawn(
      [
        'ip',
        'netns',
        'exec',
        spaces.name('nl'),
        'sh',
        '-c',
        'while :; do ip route add 10.99.0.0/24 dev up0; ip route del 10.99.0.0/24; done',
      ],
      { stdio: ['ignore', 'ignore', 'ignore'] },
    );
    try {
      const stable = Array.from({ length: 3000 }, (_, i) =>
        kernelRoute({
          destination: prefix(`10.${100 + (i >> 8)}.${i & 255}.0/24`),
          protocol: PROTOCOL,
          nextHops: [
            {
              gateway: ip('10.168.0.3'),
              index: netlink.link('up0')!.index,
            },
          ],
        }),
      );
      expect(netlink.changeEach(stable, (b, r) => addRoute(b, r, 'replace')).filter(Boolean)).toEqual([]);
      for (let i = 0; i < 30; i++) {
        expect(netlink.routes(4, { protocol: PROTOCOL }).length).toBe(3000);
        await Bun.sleep(1);
      }
      expect(netlink.changeEach(stable, (b, r) => deleteRoute(b, r)).filter(Boolean)).toEqual([]);
    } finally {
      churn.kill('SIGKILL');
      await churn.exited;
    }
  });

  test('the monitor tells changes, and says resync after it lost some (F20)', async () => {
    const events: KernelEvent[] = [];
    using _monitor = namespace.run(() => monitorKernel((event) => events.push(event), { receiveBufferBytes: 4096 }));
    await Bun.sleep(20);
    const index = netlink.link('up0')!.index;
    const route = (i: number) =>
      kernelRoute({
        destination: prefix(`10.200.${i & 255}.0/24`),
        protocol: PROTOCOL,
        nextHops: [{ gateway: ip('10.168.0.3'), index }],
      });
    netlink.change((b) => addRoute(b, route(0)));
    await until('the route is told', () =>
      events.some((e) => e.type === 'route' && !e.gone && e.route.destination === '10.200.0.0/24'),
    );
    // synchronous: the event loop cannot read while these are made
    for (let round = 0; round < 10; round++) {
      const list = Array.from({ length: 250 }, (_, i) => route(i + 1));
      netlink.changeEach(list, (b, r) => addRoute(b, r, 'replace'));
      netlink.changeEach(list, (b, r) => deleteRoute(b, r));
    }
    await until('resync is told', () => events.some((e) => e.type === 'resync'));
    events.length = 0;
    netlink.change((b) => addRoute(b, route(7), 'replace'));
    await until('events go on', () =>
      events.some((e) => e.type === 'route' && e.route.destination === '10.200.7.0/24'),
    );
  });

  test('the monitor leaves out the changes of one connection, and tells those of all others', async () => {
    const told: string[] = [];
    using stranger = Rtnetlink.in(namespace);
    expect(stranger.portId).not.toBe(netlink.portId);
    const tell = (event: KernelEvent) => void (event.type === 'route' && told.push(event.route.destination));
    using _monitor = namespace.run(() => monitorKernel(tell, { except: netlink.portId }));
    const index = netlink.link('up0')!.index;
    const nextHops = [{ gateway: ip('10.168.0.3'), index }];
    for (const [i, connection] of [netlink, stranger, netlink, stranger].entries()) {
      const route = kernelRoute({ destination: prefix(`10.201.${i}.0/24`), protocol: PROTOCOL, nextHops });
      connection.change((b) => addRoute(b, route));
    }
    await until('the last change is told', () => told.includes('10.201.3.0/24'));
    expect(told).toEqual(['10.201.1.0/24', '10.201.3.0/24']);
  });
});
