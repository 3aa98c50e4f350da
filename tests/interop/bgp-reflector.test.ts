// Route reflection (RFC 4456): Godwit between clients of three kinds, and Godwit as the client of others.
import { describe, expect, test } from 'bun:test';
import { addresses, Bird, ExaBgp, Frr, GoBgp, Godwit, Lan, type Router, type RouterSpec } from '../support/bgp/mod.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const AS = 65001;
const here = have('BGP route reflection', '/usr/sbin/bird', '/usr/lib/frr/bgpd', '/usr/bin/gobgpd', '/usr/sbin/exabgp');

/** An iBGP router that knows only the reflector, router 1, and announces 10.N.0.0/24 and fdN::/64. */
const leaf = (n: number): RouterSpec => ({
  ...addresses(n),
  asn: AS,
  neighbors: [1].map((r) => ({ address: addresses(r).address4, asn: AS, families: ['ipv4', 'ipv6'] })),
  announce: [{ prefix: `10.${n}.0.0/24`, communities: [`65001:${n}`] }, { prefix: `fd0${n}::/64` }],
});

const reflector = (clients: readonly number[], others: readonly number[] = []): RouterSpec => ({
  ...addresses(1),
  asn: AS,
  neighbors: [...clients, ...others].map((n) => ({
    address: addresses(n).address4,
    asn: AS,
    families: ['ipv4', 'ipv6'],
    client: clients.includes(n),
  })),
});

const has = (router: Router, prefix: string) =>
  until(`${router.kind} has ${prefix}`, () => router.route(prefix), 20_000);

function segment(count: number): Lan {
  const lan = new Lan();
  for (let n = 1; n <= count; n++) lan.join(`r${n}`, addresses(n).address4, addresses(n).address6);
  return lan;
}

describe.skipIf(!here)('route reflection', () => {
  test('Godwit reflects between clients BIRD, FRR and GoBGP and other peers BIRD and ExaBGP', async () => {
    using lan = segment(6);
    await using godwit = await Godwit.start(lan, 'r1', reflector([2, 3, 4], [5, 6]));
    await using bird = await Bird.start(lan, 'r2', leaf(2));
    await using frr = await Frr.start(lan, 'r3', leaf(3));
    await using gobgp = await GoBgp.start(lan, 'r4', leaf(4));
    await using outside = await Bird.start(lan, 'r5', leaf(5));
    await using exabgp = await ExaBgp.start(lan, 'r6', leaf(6));
    for (const n of [2, 3, 4, 5, 6]) await has(godwit, `10.${n}.0.0/24`);

    // client to client: next hop, communities and local preference untouched, the two marks of RFC 4456 §8 added
    const seen = await has(frr, '10.2.0.0/24');
    expect(seen).toMatchObject({ nextHop: '10.99.0.2', asPath: [], localPref: 100, communities: ['65001:2'] });
    expect(seen).toMatchObject({ originatorId: '10.99.0.2', clusterList: ['10.99.0.1'] });
    expect(await has(bird, '10.3.0.0/24')).toMatchObject({
      nextHop: '10.99.0.3',
      originatorId: '10.99.0.3',
      clusterList: ['10.99.0.1'],
    });
    expect(await has(bird, 'fd03::/64')).toMatchObject({ nextHop: 'fd99::3', originatorId: '10.99.0.3' });
    await has(gobgp, '10.2.0.0/24');
    // clients hear of everybody, everybody hears of clients
    for (const router of [bird, frr, gobgp]) {
      await has(router, '10.5.0.0/24');
      await has(router, '10.6.0.0/24');
    }
    for (const router of [outside, exabgp]) for (const n of [2, 3, 4]) await has(router, `10.${n}.0.0/24`);
    // but those who are no clients do not hear of each other
    expect(outside.route('10.6.0.0/24')).toBeUndefined();
    expect(exabgp.route('10.5.0.0/24')).toBeUndefined();

    await bird.kill();
    await until('FRR forgets', () => frr.route('10.2.0.0/24') === undefined, 20_000);
    await until('ExaBGP forgets', () => exabgp.route('10.2.0.0/24') === undefined, 20_000);
  });

  for (const Kind of [Bird, Frr]) {
    test(`Godwit and GoBGP as clients of ${Kind.name}`, async () => {
      using lan = segment(3);
      await using hub = await Kind.start(lan, 'r1', reflector([2, 3]));
      await using godwit = await Godwit.start(lan, 'r2', leaf(2));
      await using other = await GoBgp.start(lan, 'r3', leaf(3));
      expect(await has(godwit, '10.3.0.0/24')).toMatchObject({
        nextHop: '10.99.0.3',
        asPath: [],
        localPref: 100,
        communities: ['65001:3'],
        originatorId: '10.99.0.3',
        clusterList: ['10.99.0.1'],
      });
      expect(await has(other, '10.2.0.0/24')).toMatchObject({ nextHop: '10.99.0.2', communities: ['65001:2'] });
      expect(await has(hub, '10.2.0.0/24')).toMatchObject({ nextHop: '10.99.0.2', communities: ['65001:2'] });
    });
  }

  test('two reflectors of one cluster do not pass routes in a circle', async () => {
    using lan = segment(3);
    const cluster = { global: { clusterId: '10.99.0.99' } };
    const both = (n: number, other: number): RouterSpec => ({
      ...addresses(n),
      asn: AS,
      neighbors: [
        { address: addresses(3).address4, asn: AS, client: true },
        { address: addresses(other).address4, asn: AS, client: true },
      ],
    });
    await using one = await Godwit.start(lan, 'r1', both(1, 2), cluster);
    await using two = await Godwit.start(lan, 'r2', both(2, 1), cluster);
    await using bird = await Bird.start(lan, 'r3', {
      ...leaf(3),
      neighbors: [1, 2].map((r) => ({ address: addresses(r).address4, asn: AS })),
    });
    for (const router of [one, two]) await has(router, '10.3.0.0/24');
    await until(
      'the reflectors are peers',
      async () => (await one.established('10.99.0.2')) && two.established('10.99.0.1'),
    );
    // each has the route from the client alone: what the other reflects carries their own cluster
    for (const router of [one, two]) {
      const usable = (await router.paths('10.3.0.0/24')).filter((p) => p.state === 'best' || p.state === 'valid');
      expect(usable.map((p) => p.from)).toEqual(['10.99.0.3']);
    }
    await bird.kill();
    for (const router of [one, two]) {
      await until('the route is gone from both', async () => (await router.route('10.3.0.0/24')) === undefined, 20_000);
    }
  });
});
