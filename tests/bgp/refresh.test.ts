// ROUTE-REFRESH as a peer may misuse it, RFC 2918 and 7313.
import { expect, test } from 'bun:test';
import { ip } from '../../src/net/mod.ts';
import { encodeRouteRefresh, IPV4_UNICAST, MessageType, RefreshSubtype, UpdateWriter } from '../../src/bgp/wire/mod.ts';
import type { Capability } from '../../src/bgp/wire/mod.ts';
import { announcement, RawPeer, TestSpeaker, until } from '../support/bgp-peer.ts';
import { freePort } from '../support/ports.ts';

const address = ip('127.0.0.2');
const start = (at: number) =>
  TestSpeaker.start(`
routerId: 10.0.0.1
as: 65000
control: false
listen: ['127.0.0.1:${at}']
networks: [{ prefix: 10.99.0.0/16, nextHop: 192.0.2.9 }]
neighbors: [{ address: ${address}, as: 65001, passive: true, nextHop: unchanged, import: accept, export: accept }]
`);
const dial = async (at: number, extra: readonly Capability[] = []) => {
  const peer = (await RawPeer.connect({ from: address, port: at }))!;
  await peer.establish({}, [{ type: 'route-refresh' }, { type: 'enhanced-route-refresh' }, ...extra]);
  return peer;
};
const refresh = (subtype: RefreshSubtype) => encodeRouteRefresh({ family: IPV4_UNICAST, subtype });
const endOfRib = (): Uint8Array => {
  const writer = new UpdateWriter();
  writer.endOfRib(IPV4_UNICAST);
  return writer.out.copy();
};
const repeated = (message: Uint8Array, count: number): Uint8Array => {
  const all = new Uint8Array(message.length * count);
  for (let i = 0; i < count; i++) all.set(message, i * message.length);
  return all;
};

test('a thousand requests at once cost few answers', async () => {
  const at = freePort();
  await using it = await start(at);
  using peer = await dial(at);
  await until('the route and End-of-RIB', () => peer.count(MessageType.Update) >= 2);
  let answers = 0;
  const { rib } = it.speaker;
  const refreshOut = rib.refreshOut.bind(rib);
  rib.refreshOut = (...args) => {
    answers++;
    refreshOut(...args);
  };
  peer.send(repeated(refresh(RefreshSubtype.Request), 1000));
  const counts = it.speaker.peers.get(address)!.counts;
  await until('all read', () => counts.messagesIn >= 1002);
  await until('answered', () => peer.count(MessageType.Update) >= 3);
  expect(answers).toBeGreaterThan(0);
  expect(answers).toBeLessThan(20);
});

test('a thousand marks at once cost few walks over the table, and the routes stay right', async () => {
  const at = freePort();
  await using it = await start(at);
  using peer = await dial(at);
  const { rib } = it.speaker;
  const { id, counts } = it.speaker.peers.get(address)!;
  let walks = 0;
  for (const name of ['markStale', 'sweepStale'] as const) {
    const walk = rib[name].bind(rib);
    rib[name] = (...args) => {
      walks++;
      return walk(...args) as number;
    };
  }
  peer.send(announcement(0, 5));
  // each with a route in between, so that there is something to mark again
  const begin = refresh(RefreshSubtype.BeginOfRefresh);
  const end = refresh(RefreshSubtype.EndOfRefresh);
  for (let i = 0; i < 500; i++) for (const message of [begin, announcement(0, 3), end]) peer.send(message);
  await until('all read', () => counts.messagesIn >= 1502);
  expect(rib.counters(id, 4)).toMatchObject({ received: 3, stale: 0 });
  expect(walks).toBeGreaterThan(0);
  expect(walks).toBeLessThan(20);
});

test('marks of a peer that restarts count only after its End-of-RIB, and an end without a beginning never', async () => {
  const at = freePort();
  await using it = await start(at);
  const graceful = (restarting: boolean): Capability => ({
    type: 'graceful-restart',
    restarting,
    notification: false,
    restartTime: 60,
    families: [{ family: IPV4_UNICAST, forwardingPreserved: true }],
  });
  const counters = () => it.speaker.rib.counters(it.speaker.peers.get(address)!.id, 4);
  const read = () => it.speaker.peers.get(address)!.counts.messagesIn;
  const first = await dial(at, [graceful(false)]);
  first.send(announcement(0, 5));
  await until('five routes', () => counters().received === 5);
  first.close();
  await until('stale', () => counters().stale === 5);
  using second = await dial(at, [graceful(true)]);
  const before = read();
  second.send(refresh(RefreshSubtype.BeginOfRefresh));
  second.send(refresh(RefreshSubtype.EndOfRefresh));
  await until('read', () => read() === before + 2);
  expect(counters()).toMatchObject({ received: 5, stale: 5 });
  second.send(announcement(0, 3));
  second.send(endOfRib());
  await until('swept', () => counters().received === 3);
  second.send(refresh(RefreshSubtype.BeginOfRefresh));
  await until('marked', () => counters().stale === 3);
  second.send(announcement(0, 1));
  second.send(refresh(RefreshSubtype.EndOfRefresh));
  await until('swept again', () => counters().received === 1);
});
