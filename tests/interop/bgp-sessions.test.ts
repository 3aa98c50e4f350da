// Godwit against five other daemons on the wire: who dials, which family, iBGP and eBGP, AS numbers of four octets, and
// routes with all they carry in both directions.
import { describe, expect, test } from 'bun:test';
import { addresses, daemonKinds, Pair } from '../support/bgp/mod.ts';
import { have } from '../support/peers.ts';

const [G, P] = [addresses(1), addresses(2)];

for (const kind of daemonKinds) {
  const here = have(`BGP sessions with ${kind.name}`, '/usr/sbin/ip', ...kind.programs);

  describe.skipIf(!here)(kind.name, () => {
    test('eBGP with a four-octet AS number, dialled by the other side', async () => {
      await using pair = await Pair.start(kind, {
        godwitAs: 4_200_000_001,
        peerAs: 65002,
        godwitSide: { passive: true },
      });
      await pair.established();
      expect(await pair.route(pair.godwit, '10.2.0.0/24')).toMatchObject({
        nextHop: P.address4,
        asPath: [65002],
        communities: ['65002:100', '65002:200'],
        large: ['65002:1:2'],
      });
      expect(await pair.route(pair.godwit, 'fd02::/64')).toMatchObject({
        nextHop: P.address6,
        asPath: [65002],
        communities: ['65002:6'],
        large: ['65002:6:6'],
      });
      expect(await pair.route(pair.peer, '10.1.0.0/24')).toMatchObject({
        nextHop: G.address4,
        asPath: [4_200_000_001],
        communities: ['65001:100', '65001:200'],
        large: ['4200000001:1:2'],
      });
      expect(await pair.route(pair.peer, 'fd01::/64')).toMatchObject({
        nextHop: G.address6,
        asPath: [4_200_000_001],
        communities: ['65001:6'],
        large: ['4200000001:6:6'],
      });
    });

    test('iBGP, dialled by Godwit', async () => {
      await using pair = await Pair.start(kind, { godwitAs: 65001, peerAs: 65001, peerSide: { passive: true } });
      await pair.established();
      expect(await pair.route(pair.godwit, '10.2.0.0/24')).toMatchObject({
        nextHop: P.address4,
        asPath: [],
        localPref: 100,
      });
      expect(await pair.route(pair.godwit, 'fd02::/64')).toMatchObject({
        nextHop: P.address6,
        asPath: [],
        localPref: 100,
      });
      const routes = [await pair.route(pair.peer, '10.1.0.0/24'), await pair.route(pair.peer, 'fd01::/64')];
      expect(routes).toMatchObject([
        { nextHop: G.address4, asPath: [], localPref: 100, communities: ['65001:100', '65001:200'] },
        { nextHop: G.address6, asPath: [], localPref: 100, communities: ['65001:6'] },
      ]);
    });

    test('both families over one session, and withdrawn routes go', async () => {
      const both = { families: ['ipv4', 'ipv6'] as const };
      await using pair = await Pair.start(kind, {
        godwitAs: 65001,
        peerAs: 65002,
        onlyIPv4: true,
        godwitSide: both,
        peerSide: both,
      });
      await pair.established();
      await pair.route(pair.godwit, '10.2.0.0/24');
      // OpenBGPD announces ::1 as its IPv6 next hop here, which nobody can reach: withdrawn, and said so
      if (kind.name === 'OpenBGPD') {
        const told = async () => (await pair.godwit.neighbor(P.address4))?.badUpdates;
        expect(await pair.until('godwit tells', told)).toMatchObject({
          ...{ treatment: 'withdrawn', reason: 'MP_REACH_NLRI: the next hop is not the address of a host' },
        });
        expect(await pair.godwit.route('fd02::/64')).toBeUndefined();
      } else expect((await pair.route(pair.godwit, 'fd02::/64')).communities).toEqual(['65002:6']);
      await pair.route(pair.peer, '10.1.0.0/24');
      expect(await pair.route(pair.peer, 'fd01::/64')).toMatchObject({ nextHop: G.address6, asPath: [65001] });
      for (const prefix of ['10.1.0.0/24', 'fd01::/64']) {
        await pair.godwit.control.post('/withdraw', { prefix });
        await pair.until(`${kind.name} forgets ${prefix}`, async () => (await pair.peer.route(prefix)) === undefined);
      }
      await pair.peer.kill();
      await pair.until('godwit forgets', async () => (await pair.godwit.route('10.2.0.0/24')) === undefined);
    });

    const extended = kind.name === 'BIRD' || kind.name === 'FRR';
    if (extended)
      test('IPv4 routes with IPv6 next hops, RFC 8950', async () => {
        const side = { families: ['ipv4', 'ipv6'] as const, extendedNextHop: true };
        await using pair = await Pair.start(kind, {
          godwitAs: 65001,
          peerAs: 65002,
          onlyIPv6: true,
          godwitSide: side,
          peerSide: side,
        });
        await pair.established();
        expect(await pair.route(pair.godwit, '10.2.0.0/24')).toMatchObject({ nextHop: P.address6, asPath: [65002] });
        expect(await pair.route(pair.peer, '10.1.0.0/24')).toMatchObject({ nextHop: G.address6, asPath: [65001] });
        expect(await pair.route(pair.peer, 'fd01::/64')).toMatchObject({ nextHop: G.address6 });
      });

    test('a neighbour of another AS is refused', async () => {
      await using pair = await Pair.start(kind, {
        godwitAs: 65001,
        peerAs: 65002,
        onlyIPv4: true,
        godwitSide: { asn: 65003 },
      });
      const refused = async () => (await pair.godwit.neighbor(P.address4))?.lastError?.reason.includes('bad peer as');
      await pair.until('a refusal', refused);
      expect(await pair.godwit.established(P.address4)).toBe(false);
    });
  });
}
