// Sessions over loopback against a scripted neighbour: what the pure machine's tests cannot see, sockets and timers.
import { describe, expect, test } from 'bun:test';
import { ip, prefix } from '../../src/net/mod.ts';
import { MessageType, shutdownText } from '../../src/bgp/wire/mod.ts';
import {
  announcement,
  config,
  message,
  openMessage,
  RawPeer,
  received,
  TestSpeaker,
  until,
} from '../support/bgp-peer.ts';
import { freePort } from '../support/ports.ts';

const base = (address: string, rest: string) => `
routerId: 10.0.0.1
as: 65000
control: false
listen: ['${address}']
${rest}`;
const port = freePort;

describe('sessions', () => {
  test('the peer connects; routes go both ways; an operator ends it with a text', async () => {
    const at = port();
    await using it = await TestSpeaker.start(
      base(
        `127.0.0.1:${at}`,
        `
networks: [{ prefix: 10.200.0.0/16, nextHop: 192.0.2.9 }]
neighbors: [{ address: 127.0.0.2, as: 65001, passive: true, import: accept, export: accept, nextHop: unchanged }]`,
      ),
    );
    using peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    await peer.establish({});
    peer.send(announcement(0, 10));
    await until('routes arrive', () => received(it.speaker, '127.0.0.2').total === 10);
    await until('the network is announced', () => peer.count(MessageType.Update) >= 2);
    expect(it.speaker.rib.stats().prefixes[4]).toBe(11);
    it.speaker.peers.get(ip('127.0.0.2'))!.shutDown('out for lunch');
    await until('the NOTIFICATION arrives', () => peer.notification !== undefined);
    expect(peer.notification).toMatchObject({ code: 6, subcode: 2 });
    expect(shutdownText(peer.notification!)).toBe('out for lunch');
    expect(received(it.speaker, '127.0.0.2').total).toBe(0);
  });

  test('announce and withdraw while it runs', async () => {
    const at = port();
    await using it = await TestSpeaker.start(
      base(`127.0.0.1:${at}`, 'neighbors: [{ address: 127.0.0.2, as: 65000, passive: true }]'),
    );
    using peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    await peer.establish({ asn: 65000 });
    await until('End-of-RIB', () => peer.count(MessageType.Update) === 1);
    const { networkAttributes } = await import('../../src/bgp/mod.ts');
    it.speaker.announce(
      networkAttributes({
        prefix: prefix('10.7.0.0/24'),
        nextHop: ip('192.0.2.7'),
        communities: ['65000:7'],
        prepend: [],
      }),
    );
    await until('it is announced', () => peer.count(MessageType.Update) === 2);
    expect(it.speaker.withdraw(prefix('10.7.0.0/24'))).toBe(true);
    expect(it.speaker.withdraw(prefix('10.8.0.0/24'))).toBe(false);
    await until('it is withdrawn', () => peer.count(MessageType.Update) === 3);
  });

  test('a peer of another AS is told so', async () => {
    const at = port();
    await using _ = await TestSpeaker.start(
      base(`127.0.0.1:${at}`, 'neighbors: [{ address: 127.0.0.2, as: 65001, passive: true }]'),
    );
    using peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    peer.send(openMessage({ asn: 65009 }));
    await until('NOTIFICATION', () => peer.notification !== undefined);
    expect(peer.notification).toMatchObject({ code: 2, subcode: 2 });
  });

  test('silence past the hold time ends the session with Hold Timer Expired', async () => {
    const at = port();
    await using it = await TestSpeaker.start(
      base(`127.0.0.1:${at}`, 'neighbors: [{ address: 127.0.0.2, as: 65001, passive: true, import: accept }]'),
    );
    using peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    await peer.establish({ holdTime: 3 });
    await until('it ends', () => peer.notification !== undefined);
    expect(peer.notification).toMatchObject({ code: 4, subcode: 0 });
    expect(peer.count(MessageType.Keepalive)).toBeGreaterThanOrEqual(3);
    expect(it.state('127.0.0.2')).not.toBe('Established');
  });

  test('a second OPEN in Established is an FSM error (RFC 6608)', async () => {
    const at = port();
    await using _ = await TestSpeaker.start(
      base(`127.0.0.1:${at}`, 'neighbors: [{ address: 127.0.0.2, as: 65001, passive: true }]'),
    );
    using peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    await peer.establish({});
    peer.send(openMessage({}));
    await until('NOTIFICATION', () => peer.notification !== undefined);
    expect(peer.notification).toMatchObject({ code: 5, subcode: 3 });
  });

  test('header errors are answered as §6.1 says', async () => {
    for (const [bytes, subcode] of [
      [new Uint8Array(19), 1],
      [message(9, []), 3],
      [message(4, [0]), 2],
    ] as const) {
      const at = port();
      await using _ = await TestSpeaker.start(
        base(`127.0.0.1:${at}`, 'neighbors: [{ address: 127.0.0.2, as: 65001, passive: true }]'),
      );
      using peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
      await peer.establish({});
      peer.send(bytes);
      await until('NOTIFICATION', () => peer.notification !== undefined);
      expect(peer.notification).toMatchObject({ code: 1, subcode });
    }
  });
});

describe('two speakers', () => {
  const pair = (a: number, b: number, extra = '') =>
    [
      `routerId: 10.0.0.1\nas: 65000\ncontrol: false\nlisten: ['127.0.0.1:${a}']\n` +
        `neighbors: [{ address: 127.0.0.2, port: ${b}, source: 127.0.0.1, as: external, import: accept, export: accept, ${extra} }]`,
      `routerId: 10.0.0.2\nas: 65001\ncontrol: false\nlisten: ['127.0.0.2:${b}']\n` +
        `neighbors: [{ address: 127.0.0.1, port: ${a}, source: 127.0.0.2, as: 65000, import: accept, export: accept, ${extra} }]`,
    ] as const;

  test('both dial at once, 25 times: always one session in the end', async () => {
    let collisions = 0;
    for (let round = 0; round < 25; round++) {
      const [a, b] = [port(), port()];
      const [first, second] = pair(a, b, 'enabled: false');
      await using one = await TestSpeaker.start(first);
      await using two = await TestSpeaker.start(second);
      const [go, goToo] = pair(a, b, 'timers: { idleHold: 0.05, connectRetry: 0.2 }');
      one.speaker.apply(config(go));
      two.speaker.apply(config(goToo));
      await until(
        'both are up',
        () => one.state('127.0.0.2') === 'Established' && two.state('127.0.0.1') === 'Established',
      );
      // and stay so: the loser of a collision is closed, not the winner
      await Bun.sleep(20);
      expect([one.state('127.0.0.2'), two.state('127.0.0.1')]).toEqual(['Established', 'Established']);
      for (const { events } of [one, two]) {
        collisions += events.filter((e) => e.type === 'attempt-failed' && e.reason.includes('same time')).length;
        expect(events.filter((e) => e.type === 'down')).toEqual([]);
      }
    }
    expect(collisions).toBeGreaterThan(0);
  });

  test('TCP MD5 and GTSM hold on both ends', async () => {
    const [first, second] = pair(port(), port(), 'password: s3cret, ttlSecurity: true');
    await using one = await TestSpeaker.start(first);
    await using two = await TestSpeaker.start(second);
    await until(
      'both are up',
      () => one.state('127.0.0.2') === 'Established' && two.state('127.0.0.1') === 'Established',
    );
  });
});

describe('who may connect', () => {
  const guarded = (at: number, extra: string) =>
    base(`127.0.0.1:${at}`, `neighbors: [{ address: 127.0.0.2, as: 65001, passive: true, ${extra} }]`);

  test('only the right MD5 key gets a connection', async () => {
    const at = port();
    await using it = await TestSpeaker.start(guarded(at, 'password: right'));
    expect(await RawPeer.connect({ from: '127.0.0.2', port: at, md5Key: 'wrong' })).toBeUndefined();
    using peer = await RawPeer.connect({ from: '127.0.0.2', port: at, md5Key: 'right' });
    await peer!.establish({});
    await until('Established', () => it.state('127.0.0.2') === 'Established');
  });

  test('with GTSM a packet that came from afar is not heard', async () => {
    const at = port();
    await using it = await TestSpeaker.start(guarded(at, 'ttlSecurity: true, timers: { open: 1 }'));
    expect(await RawPeer.connect({ from: '127.0.0.2', port: at, ttl: 254 })).toBeUndefined();
    using near = (await RawPeer.connect({ from: '127.0.0.2', port: at, ttl: 255 }))!;
    near.setTtl(254);
    near.send(openMessage({}));
    near.keepalive();
    await until('the attempt is over', () => it.events.some((e) => e.type === 'attempt-failed'));
    expect(near.count(MessageType.Keepalive)).toBe(0);
  });

  test('a stranger is closed without a word', async () => {
    const at = port();
    await using _ = await TestSpeaker.start(guarded(at, ''));
    const stranger = await RawPeer.connect({ from: '127.0.0.3', port: at });
    await until('closed', () => stranger === undefined || stranger.closed);
    expect(stranger?.messages ?? []).toEqual([]);
  });

  test('a range takes who is of the right AS, up to its limit, and forgets who left', async () => {
    const at = port();
    await using it = await TestSpeaker.start(
      base(
        `127.0.0.1:${at}`,
        'dynamic: [{ range: 127.0.1.0/24, as: [65001, 65002], limit: 2, import: accept, password: k }]',
      ),
    );
    const dial = (from: string) => RawPeer.connect({ from, port: at, md5Key: 'k' });
    const one = (await dial('127.0.1.1'))!;
    await one.establish({});
    using two = (await dial('127.0.1.2'))!;
    await two.establish({ asn: 65002, identifier: 0x0a000003 });
    const third = await dial('127.0.1.3');
    await until('refused', () => third === undefined || third.closed);
    expect(third?.messages ?? []).toEqual([]);
    one.abort();
    await until('forgotten', () => it.speaker.peers.size === 1);
    using wrong = (await dial('127.0.1.4'))!;
    wrong.send(openMessage({ asn: 65003 }));
    await until('refused', () => wrong.notification !== undefined);
    expect(wrong.notification).toMatchObject({ code: 2, subcode: 2 });
    await until('forgotten', () => it.speaker.peers.size === 1);
    using again = (await dial('127.0.1.4'))!;
    await again.establish({});
    await until('Established', () => it.state('127.0.1.4') === 'Established');
  });
});

describe('reload', () => {
  test('sessions stay unless they must go; a policy is applied to what was received', async () => {
    const at = port();
    const file = (a: string, b: string) =>
      base(
        `127.0.0.1:${at}`,
        `
neighbors:
  - { address: 127.0.0.2, as: 65001, passive: true, ${a} }
  - { address: 127.0.0.3, as: 65002, passive: true, ${b} }`,
      );
    await using it = await TestSpeaker.start(file('import: accept', 'import: accept'));
    using one = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    using two = (await RawPeer.connect({ from: '127.0.0.3', port: at }))!;
    await one.establish({});
    await two.establish({ asn: 65002, identifier: 0x0a000003 });
    one.send(announcement(0, 5));
    await until('routes', () => received(it.speaker, '127.0.0.2').total === 5);
    const diff = it.speaker.apply(config(file('import: reject', 'import: accept, timers: { hold: 30 }')));
    expect(diff.neighbors.get('127.0.0.2')).toMatchObject({ what: 'soft' });
    expect(diff.neighbors.get('127.0.0.3')).toMatchObject({ what: 'reset' });
    await until('the second is reset', () => two.notification !== undefined);
    expect(two.notification).toMatchObject({ code: 6, subcode: 6 });
    const peer = it.speaker.peers.get(ip('127.0.0.2'))!;
    await until('rejected', () => it.speaker.rib.counters(peer.id, 4).accepted === 0);
    expect(it.state('127.0.0.2')).toBe('Established');
    expect(one.notification).toBeUndefined();
    it.speaker.apply(config(file('import: accept', 'import: accept, timers: { hold: 30 }')));
    await until('accepted again', () => it.speaker.rib.counters(peer.id, 4).accepted === 5);
    it.speaker.apply(config(base(`127.0.0.1:${at}`, '')));
    await until('removed', () => one.notification !== undefined);
    expect(one.notification).toMatchObject({ code: 6, subcode: 3 });
    await until('its routes are gone', () => it.speaker.rib.stats().prefixes[4] === 0);
  });
});
