// Graceful restart over loopback, both roles: RFC 4724, RFC 8538.
import { describe, expect, test } from 'bun:test';
import { ip } from '../../src/net/mod.ts';
import { ceaseNotification, hardReset, MessageType } from '../../src/bgp/wire/mod.ts';
import { announcement, endOfRib, gracefulRestart, RawPeer, received, TestSpeaker, until } from '../support/bgp-peer.ts';
import { freePort } from '../support/ports.ts';

const port = freePort;
const speaker = (at: number, options: Parameters<typeof TestSpeaker.start>[1] = {}, extra = '') =>
  TestSpeaker.start(
    `
routerId: 10.0.0.1
as: 65000
control: false
listen: ['127.0.0.1:${at}']
networks: [{ prefix: 10.99.0.0/16, nextHop: 192.0.2.9 }]
gracefulRestart: { restartTime: 30, deferral: 3 }
neighbors:
  - { address: 127.0.0.2, as: 65001, passive: true, import: accept, export: accept, nextHop: unchanged${extra} }
  - { address: 127.0.0.3, as: 65002, passive: true, import: accept, export: accept, nextHop: unchanged }
`,
    options,
  );

const dial = async (at: number, restart = gracefulRestart()) => {
  const peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
  await peer.establish({}, [restart]);
  return peer;
};

/** Announces twenty routes and is gone: they are stale. */
async function lost(it: TestSpeaker, peer: RawPeer): Promise<void> {
  peer.send(announcement(0, 20));
  await until('routes', () => received(it.speaker, '127.0.0.2').total === 20);
  peer.abort();
  await until('stale', () => received(it.speaker, '127.0.0.2').stale === 20);
}

describe('the peer restarts', () => {
  test('its routes stay while it is away and go at End-of-RIB unless it announced them again', async () => {
    const at = port();
    await using it = await speaker(at);
    await lost(it, await dial(at));
    expect(it.speaker.rib.stats().prefixes[4]).toBe(21);
    using second = await dial(at, gracefulRestart({ restarting: true }));
    second.send(announcement(0, 5));
    await until('five are fresh', () => received(it.speaker, '127.0.0.2').stale === 15);
    second.send(endOfRib());
    await until('the rest is gone', () => received(it.speaker, '127.0.0.2').total === 5);
    expect(it.events).toContainEqual(expect.objectContaining({ type: 'stale-swept', routes: 15 }));
  });

  test('a neighbour of ours sees nothing of it', async () => {
    const at = port();
    await using it = await speaker(at);
    using other = (await RawPeer.connect({ from: '127.0.0.3', port: at }))!;
    await other.establish({ asn: 65002, identifier: 0x0a000003 });
    const first = await dial(at);
    first.send(announcement(0, 20));
    await until('routes', () => received(it.speaker, '127.0.0.2').total === 20);
    await until(
      'sent on',
      () => it.speaker.rib.counters(it.speaker.peers.get(ip('127.0.0.3'))!.id, 4).advertised === 21,
    );
    await Bun.sleep(50);
    const before = other.count(MessageType.Update);
    first.abort();
    await until('stale', () => received(it.speaker, '127.0.0.2').stale === 20);
    using second = await dial(at, gracefulRestart({ restarting: true }));
    second.send(announcement(0, 20));
    second.send(endOfRib());
    await until('fresh', () => received(it.speaker, '127.0.0.2').stale === 0);
    await Bun.sleep(100);
    expect(other.count(MessageType.Update)).toBe(before);
  });

  test('when it does not come back in time, they go', async () => {
    const at = port();
    await using it = await speaker(at);
    await lost(it, await dial(at, gracefulRestart({ restartTime: 1 })));
    await until('swept', () => received(it.speaker, '127.0.0.2').total === 0);
  });

  test('when it did not keep forwarding, they go as soon as it is back', async () => {
    const at = port();
    await using it = await speaker(at);
    await lost(it, await dial(at));
    using _ = await dial(at, gracefulRestart({ restarting: true, families: [] }));
    await until('swept', () => received(it.speaker, '127.0.0.2').total === 0);
  });

  test('a second loss inside the window drops what was stale already', async () => {
    const at = port();
    await using it = await speaker(at);
    await lost(it, await dial(at));
    const second = await dial(at, gracefulRestart({ restarting: true }));
    second.send(announcement(0, 5));
    await until('five are fresh', () => received(it.speaker, '127.0.0.2').stale === 15);
    second.abort();
    await until('the older are gone', () => received(it.speaker, '127.0.0.2').total === 5);
    expect(received(it.speaker, '127.0.0.2').stale).toBe(5);
  });

  test('a NOTIFICATION keeps routes where both set the N bit, a Hard Reset never does (RFC 8538)', async () => {
    const at = port();
    await using it = await speaker(at, {}, ', timers: { idleHold: 0.05 }');
    for (const [notification, hard, kept] of [
      [true, false, 20],
      [false, false, 0],
      [true, true, 0],
    ] as const) {
      using peer = await dial(at, gracefulRestart({ notification }));
      peer.send(announcement(0, 20));
      await until('routes', () => received(it.speaker, '127.0.0.2').total === 20);
      const cease = ceaseNotification(4);
      peer.notify(hard ? hardReset(cease) : cease);
      await until('down', () => it.state('127.0.0.2') !== 'Established');
      expect(received(it.speaker, '127.0.0.2')).toEqual({ total: kept, stale: kept });
      await Bun.sleep(100);
    }
  });

  test('our own shutdown is a Hard Reset: the peer is to drop our routes', async () => {
    const at = port();
    await using it = await speaker(at);
    using peer = await dial(at);
    it.speaker.peers.get(ip('127.0.0.2'))!.stop(ceaseNotification(2, 'bye'));
    await until('NOTIFICATION', () => peer.notification !== undefined);
    expect(peer.notification).toMatchObject({ code: 6, subcode: 9 });
    expect([...peer.notification!.data.subarray(0, 2)]).toEqual([6, 2]);
  });

  test('a session that only gets other settings keeps the routes of both sides', async () => {
    const at = port();
    await using it = await speaker(at);
    using peer = await dial(at);
    peer.send(announcement(0, 20));
    await until('routes', () => received(it.speaker, '127.0.0.2').total === 20);
    const { config } = it.speaker;
    const renewed = config.neighbors.map((n) =>
      n.address === '127.0.0.2' ? { ...n, timers: { ...n.timers, hold: 30 } } : n,
    );
    it.speaker.apply({ ...config, neighbors: renewed });
    await until('NOTIFICATION', () => peer.notification !== undefined);
    expect(peer.notification).toMatchObject({ code: 6, subcode: 6 });
    expect(received(it.speaker, '127.0.0.2')).toEqual({ total: 20, stale: 20 });
    using again = await dial(at, gracefulRestart({ restarting: true }));
    again.send(announcement(0, 20));
    again.send(endOfRib());
    await until('fresh', () => received(it.speaker, '127.0.0.2').stale === 0);
    expect(received(it.speaker, '127.0.0.2').total).toBe(20);
    // as another AS it starts from nothing
    const other = renewed.map((n) => (n.address === '127.0.0.2' ? { ...n, remoteAs: 65009 } : n));
    it.speaker.apply({ ...config, neighbors: other });
    await until('NOTIFICATION', () => again.notification !== undefined);
    expect(again.notification).toMatchObject({ code: 6, subcode: 9 });
    await until('gone', () => received(it.speaker, '127.0.0.2').total === 0);
  });
});

describe('we restart', () => {
  test('OPEN says so; nothing is announced until all neighbours sent End-of-RIB', async () => {
    const at = port();
    await using it = await speaker(at, { restarting: true });
    using one = await dial(at);
    using two = (await RawPeer.connect({ from: '127.0.0.3', port: at }))!;
    await two.establish({ asn: 65002, identifier: 0x0a000003 }, [gracefulRestart()]);
    // capability 64, length 6, R and N bits
    const open = Buffer.from(one.messages[0]!.bytes);
    expect(open.includes(Buffer.from([64, 6, 0xc0, 30]))).toBe(true);
    one.send(announcement(0, 5));
    one.send(endOfRib());
    await until('heard', () => it.events.some((e) => e.type === 'end-of-rib'));
    await Bun.sleep(100);
    expect(one.count(MessageType.Update) + two.count(MessageType.Update)).toBe(0);
    two.send(endOfRib());
    await until('announced', () => one.count(MessageType.Update) >= 2 && two.count(MessageType.Update) >= 2);
    expect(it.events).toContainEqual({ type: 'restart-finished', because: 'all neighbours sent End-of-RIB' });
  });

  test('a neighbour that stays away holds it up no longer than the deferral timer', async () => {
    const at = port();
    await using it = await speaker(at, { restarting: true });
    using one = await dial(at);
    one.send(endOfRib());
    await until('announced', () => one.count(MessageType.Update) >= 2);
    expect(it.events).toContainEqual({ type: 'restart-finished', because: 'the deferral timer ran out' });
  });
});
