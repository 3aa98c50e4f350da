// What keeps strangers out, on the wire with other daemons: TCP MD5 (RFC 2385), GTSM (RFC 5082), and neighbours that come
// from a range nobody listed one by one.
import { describe, expect, test } from 'bun:test';
import { addresses, Bird, daemonKinds, ExaBgp, Frr, Godwit, Lan, Pair, type RouterSpec } from '../support/bgp/mod.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const P = addresses(2);

for (const kind of daemonKinds) {
  const here = have(`BGP security with ${kind.name}`, '/usr/sbin/ip', ...kind.programs);

  describe.skipIf(!here)(kind.name, () => {
    test('TCP MD5 and GTSM together', async () => {
      const side = { password: 'correct horse', ttlSecurity: true };
      const password = kind.name === 'FRR' ? 'correct-horse' : side.password; // FRR takes no blanks
      await using pair = await Pair.start(kind, {
        godwitAs: 65001,
        peerAs: 65002,
        godwitSide: { ...side, password },
        peerSide: { ...side, password },
      });
      await pair.established();
      await pair.route(pair.godwit, '10.2.0.0/24');
      await pair.route(pair.peer, 'fd01::/64');
    });

    test('the wrong password never gets a segment through', async () => {
      await using pair = await Pair.start(kind, {
        godwitAs: 65001,
        peerAs: 65002,
        onlyIPv4: true,
        godwitSide: { password: 'right' },
        peerSide: { password: 'wrong' },
      });
      // the kernel counts what it drops: one from each side's attempts is enough
      const dropped = () => {
        const text = pair.lan.namespaces.run('godwit', 'cat', '/proc/net/netstat');
        const [names, values] = text
          .split('\n')
          .filter((l) => l.startsWith('TcpExt:'))
          .map((l) => l.split(' '));
        return Number(values![names!.indexOf('TCPMD5Failure')]) > 0;
      };
      await pair.until('a segment with the wrong signature', dropped);
      expect(await pair.godwit.established(P.address4)).toBe(false);
    });
  });
}

describe.skipIf(!have('BGP dynamic neighbours', '/usr/sbin/bird', '/usr/lib/frr/bgpd', '/usr/sbin/exabgp'))(
  'dynamic neighbours',
  () => {
    const hub: RouterSpec = {
      ...addresses(1),
      asn: 65001,
      neighbors: [],
      dynamic: { range: '10.99.0.0/24', asn: 65002, password: 'secret' },
      announce: [{ prefix: '10.1.0.0/24' }],
    };
    const spoke = (n: number, more: Partial<RouterSpec> = {}): RouterSpec => ({
      ...addresses(n),
      asn: 65002,
      neighbors: [{ address: '10.99.0.1', asn: 65001, password: 'secret' }],
      announce: [{ prefix: `10.${n}.0.0/24` }],
      ...more,
    });

    test('BIRD, FRR and ExaBGP come from the range; their routes go when they go', async () => {
      using lan = new Lan();
      for (const n of [1, 2, 3, 4]) lan.join(`r${n}`, addresses(n).address4, addresses(n).address6);
      await using godwit = await Godwit.start(lan, 'r1', hub);
      await using bird = await Bird.start(lan, 'r2', spoke(2));
      await using frr = await Frr.start(lan, 'r3', spoke(3));
      await using exabgp = await ExaBgp.start(lan, 'r4', spoke(4));
      for (const [router, n] of [
        [bird, 2],
        [frr, 3],
        [exabgp, 4],
      ] as const) {
        await until(`${router.kind} Established`, () => godwit.established(addresses(n).address4), 20_000);
        await until(`route of ${router.kind}`, () => godwit.route(`10.${n}.0.0/24`), 20_000);
        await until(`${router.kind} has the route`, () => router.route('10.1.0.0/24'), 20_000);
      }
      const status = await godwit.neighbor(addresses(2).address4);
      expect(status).toMatchObject({ dynamicRange: '10.99.0.0/24', remoteAs: '65002', type: 'external' });
      await bird.kill();
      await until(
        'the neighbour is forgotten',
        async () => (await godwit.neighbor(addresses(2).address4)) === undefined,
      );
      await until('its route is gone', async () => (await godwit.route('10.2.0.0/24')) === undefined);
      await bird.start();
      await until('it comes back', () => godwit.route('10.2.0.0/24'), 20_000);
    });

    test('no more than the limit, and nobody of another AS', async () => {
      using lan = new Lan();
      for (const n of [1, 2, 3, 4]) lan.join(`r${n}`, addresses(n).address4, addresses(n).address6);
      await using godwit = await Godwit.start(lan, 'r1', hub, { neighbor: { limit: 1 } });
      await using first = await Bird.start(lan, 'r2', spoke(2));
      await until('the first is in', () => godwit.established(addresses(2).address4), 20_000);
      await using second = await Bird.start(lan, 'r3', spoke(3));
      await until(
        'the second was turned away',
        () => /Last error/.test(second.birdc('show', 'protocols', 'all') ?? ''),
        20_000,
      );
      expect(await godwit.neighbor(addresses(3).address4)).toBeUndefined();
      await first.kill();
      await until('the second takes the place', () => godwit.established(addresses(3).address4), 20_000);
      await second.kill();
      await using stranger = await Bird.start(lan, 'r4', spoke(4, { asn: 65009 }));
      await until('bad peer AS', () => /Bad peer AS/.test(stranger.birdc('show', 'protocols', 'all') ?? ''), 20_000);
      expect(await godwit.established(addresses(4).address4)).toBe(false);
    });

    test('Godwit as a dynamic neighbour of BIRD and FRR', async () => {
      for (const Kind of [Bird, Frr]) {
        using lan = new Lan();
        for (const n of [1, 2]) lan.join(`r${n}`, addresses(n).address4, addresses(n).address6);
        await using other = await Kind.start(lan, 'r1', hub);
        await using godwit = await Godwit.start(lan, 'r2', spoke(2));
        await until(`${other.kind} takes it in`, () => other.established(addresses(2).address4), 20_000);
        await until('its route', () => other.route('10.2.0.0/24'), 20_000);
        await until('the route of the other', () => godwit.route('10.1.0.0/24'), 20_000);
      }
    });
  },
);
