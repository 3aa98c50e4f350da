// What operators do to sessions, seen from both ends: shutdown with a text (RFC 9003), route refresh (RFC 2918, 7313),
// prefix limits (RFC 4486).
import { describe, expect, test } from 'bun:test';
import {
  addresses,
  Bird,
  type DaemonKind,
  daemonKinds,
  Frr,
  GoBgp,
  OpenBgpd,
  Pair,
  type PairOptions,
} from '../support/bgp/mod.ts';
import { have } from '../support/peers.ts';

const [G, P] = [addresses(1), addresses(2)];
const kindOf = (name: string): DaemonKind => daemonKinds.find((k) => k.name === name)!;
const ebgp: PairOptions = { godwitAs: 65001, peerAs: 65002, onlyIPv4: true };
const here = (name: string) => have(`BGP operations with ${name}`, '/usr/sbin/ip', ...kindOf(name).programs);
const TEXT = 'Wartung bis 12:00 – zurück danach';

const lastError = async (pair: Pair): Promise<string> =>
  (await pair.godwit.neighbor(P.address4))?.lastError?.reason ?? '';

/** How each daemon is told to end the session with a text. */
const shutdowns: Record<string, (pair: Pair) => unknown> = {
  BIRD: ({ peer }) => (peer as Bird).birdc('disable', 'n0', `"${TEXT}"`),
  FRR: ({ peer }) =>
    (peer as Frr).vtysh(
      'bgpd',
      'configure terminal',
      'router bgp 65002',
      `neighbor ${G.address4} shutdown message ${TEXT}`,
    ),
  GoBGP: ({ peer }) => (peer as GoBgp).gobgp('neighbor', G.address4, 'shutdown', '--reason', TEXT),
  OpenBGPD: ({ peer }) =>
    (peer as OpenBgpd).daemon.ask(
      'bgpctl',
      '-s',
      (peer as OpenBgpd).daemon.file('ctl'),
      'neighbor',
      G.address4,
      'down',
      TEXT,
    ),
};

for (const [name, shutdown] of Object.entries(shutdowns)) {
  describe.skipIf(!here(name))(name, () => {
    test('shutdown texts reach the other side', async () => {
      // without RFC 8538: inside a Hard Reset FRR does not show the text
      await using pair = await Pair.start(kindOf(name), { ...ebgp, settings: { global: { gracefulRestart: 'off' } } });
      await pair.established();
      await pair.godwit.control.post('/shutdown', { neighbor: P.address4, reason: TEXT });
      await pair.until(`${name} logs the text`, () => pair.peer.log().includes('Wartung bis 12:00'));
      expect(await pair.godwit.established(P.address4)).toBe(false);
      await pair.godwit.control.post('/start', { neighbor: P.address4 });
      await pair.established();
      shutdown(pair);
      await pair.until('Godwit shows the text', async () => (await lastError(pair)).includes(TEXT));
    });
  });
}

/** How each daemon is told to ask for all routes again, and how many updates it has received. */
const refreshes: Record<string, { refresh(pair: Pair): unknown; updates(pair: Pair): number }> = {
  BIRD: {
    refresh: ({ peer }) => (peer as Bird).birdc('reload', 'in', 'n0'),
    updates: ({ peer }) =>
      Number(/Import updates:\s+(\d+)/.exec((peer as Bird).birdc('show', 'protocols', 'all', 'n0') ?? '')?.[1]),
  },
  FRR: {
    refresh: ({ peer }) => (peer as Frr).vtysh('bgpd', `clear bgp ${G.address4} soft in`),
    updates: ({ peer }) =>
      Number(
        /"updatesRecv":(\d+)/.exec((peer as Frr).vtysh('bgpd', `show bgp neighbors ${G.address4} json`) ?? '')?.[1],
      ),
  },
  OpenBGPD: {
    refresh: ({ peer }) =>
      (peer as OpenBgpd).daemon.ask(
        'bgpctl',
        '-s',
        (peer as OpenBgpd).daemon.file('ctl'),
        'neighbor',
        G.address4,
        'refresh',
      ),
    updates: ({ peer }) => {
      const shown = JSON.stringify((peer as OpenBgpd).bgpctl('show', 'neighbor', G.address4)) ?? '';
      return Number(/"received":\{[^}]*"updates":(\d+)/.exec(shown)?.[1]);
    },
  },
};

for (const [name, refresher] of Object.entries(refreshes)) {
  describe.skipIf(!here(name))(`${name}, route refresh`, () => {
    test('Godwit sends its routes again when asked', async () => {
      await using pair = await Pair.start(kindOf(name), ebgp);
      await pair.established();
      await pair.route(pair.peer, '10.1.0.0/24');
      const before = await pair.until('updates were counted', () => refresher.updates(pair) || undefined);
      refresher.refresh(pair);
      await pair.until('updates come again', () => refresher.updates(pair) > before);
      await pair.route(pair.peer, '10.1.0.0/24');
      expect(await pair.peer.established(G.address4)).toBe(true);
    });
  });
}

describe.skipIf(!here('BIRD'))('prefix limits', () => {
  const three = [1, 2, 3].map((i) => ({ prefix: `10.20.${i}.0/24` }));

  test('a neighbour that sends too many is dropped with Cease/1, and may come back', async () => {
    await using pair = await Pair.start(kindOf('BIRD'), {
      ...ebgp,
      godwitSide: { maxPrefix: 2 },
      peer: { announce: three },
    });
    const bird = pair.peer as Bird;
    await pair.until('BIRD is told why', () =>
      /Maximum number of prefixes reached/.test(bird.birdc('show', 'protocols', 'all', 'n0') ?? ''),
    );
    await pair.until('no route is left', async () => (await pair.godwit.route('10.20.1.0/24')) === undefined);
    const sessions = async () => (await pair.godwit.neighbor(P.address4))?.sessions.established ?? 0;
    await pair.until('it was tried again', async () => (await sessions()) >= 2);
  });

  test('a warning alone keeps the session', async () => {
    await using pair = await Pair.start(kindOf('BIRD'), {
      ...ebgp,
      peer: { announce: three },
      settings: { neighbor: { maxPrefix: { limit: 2, action: 'warn' } } },
    });
    for (const { prefix } of three) await pair.route(pair.godwit, prefix);
    expect(await pair.godwit.established(P.address4)).toBe(true);
  });

  test('a limit of the other side ends the session and says so', async () => {
    await using pair = await Pair.start(kindOf('BIRD'), {
      ...ebgp,
      peerSide: { maxPrefix: 2 },
      godwit: { announce: three },
    });
    await pair.until('Godwit is told why', async () =>
      /maximum number of prefixes|max.*prefix/i.test(await lastError(pair)),
    );
  });
});
