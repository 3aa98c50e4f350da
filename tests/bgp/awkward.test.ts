// What real peers do that is allowed and yet seldom: each once made some daemon stumble.
import { describe, expect, test } from 'bun:test';
import { ip } from '../../src/net/mod.ts';
import { MessageType } from '../../src/bgp/wire/mod.ts';
import type { Capability } from '../../src/bgp/wire/mod.ts';
import {
  announcement,
  config,
  endOfRib,
  gracefulRestart,
  message,
  RawPeer,
  received,
  TestSpeaker,
  until,
} from '../support/bgp-peer.ts';
import { freePort } from '../support/ports.ts';

const text = (at: number, neighbors = '', extra = '') => `
routerId: 10.0.0.1
as: 65000
control: false
listen: ['127.0.0.1:${at}']
gracefulRestart: { restartTime: 30, deferral: 30 }
neighbors:
  - { address: 127.0.0.2, as: 65001, passive: true, import: accept, export: accept, nextHop: unchanged${extra} }
${neighbors}`;
const dial = async (at: number, extra: readonly Capability[] = []) => {
  const peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
  await peer.establish({}, extra);
  return peer;
};

describe('extended messages, RFC 8654', () => {
  test('a peer that does not offer them may send them: we offered', async () => {
    const at = freePort();
    await using it = await TestSpeaker.start(text(at));
    using peer = await dial(at);
    peer.send(announcement(0, 2000));
    await until('routes, or the end', () => received(it.speaker, '127.0.0.2').total === 2000 || peer.closed);
    expect(peer.notification).toBeUndefined();
  });

  test('not where we did not offer them, and no OPEN is that long', async () => {
    const at = freePort();
    await using it = await TestSpeaker.start(text(at, '', ', extendedMessages: false'));
    using peer = await dial(at, [{ type: 'extended-message' }]);
    peer.send(announcement(0, 2000));
    await until('refused', () => peer.notification !== undefined);
    expect(peer.notification).toMatchObject({ code: 1, subcode: 2 });
    it.speaker.apply(config(text(at)));
    using second = await dial(at, [{ type: 'extended-message' }]);
    second.send(
      message(
        MessageType.Open,
        Array.from({ length: 5000 }, () => 0),
      ),
    );
    await until('refused', () => second.notification !== undefined);
    expect(second.notification).toMatchObject({ code: 1, subcode: 2 });
  });
});

describe('our restart', () => {
  test('a neighbour that is removed, or shut down, is not waited for', async () => {
    const at = freePort();
    const other = (n: number) =>
      `  - { address: 127.0.0.${n}, as: 6500${n}, port: 1, import: accept, export: accept }\n`;
    await using it = await TestSpeaker.start(text(at, other(3) + other(4)), { restarting: true });
    // nobody listens there: both wait in Idle
    await until('refused', () => it.events.filter((e) => e.type === 'attempt-failed').length >= 2);
    using peer = await dial(at, [gracefulRestart()]);
    peer.send(endOfRib());
    await until('heard', () => it.events.some((e) => e.type === 'end-of-rib'));
    it.speaker.apply(config(text(at, other(4))));
    await Bun.sleep(50);
    expect(it.events.some((e) => e.type === 'restart-finished')).toBe(false);
    it.speaker.peers.get(ip('127.0.0.4'))!.shutDown('later');
    await until('announced', () => it.events.some((e) => e.type === 'restart-finished'));
  });
});
