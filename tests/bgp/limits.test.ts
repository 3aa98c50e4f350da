// What bounds a neighbour's routes: no policy (RFC 8212), prefix limits, and families other than the default.
import { describe, expect, test } from 'bun:test';
import { ip } from '../../src/net/mod.ts';
import { IPV6_UNICAST, MessageType } from '../../src/bgp/wire/mod.ts';
import { announcement, RawPeer, received, TestSpeaker, until, withdrawal } from '../support/bgp-peer.ts';
import { freePort } from '../support/ports.ts';

const port = freePort;
const speaker = (at: number, neighbor: string, listen = `127.0.0.1:${at}`) =>
  TestSpeaker.start(`
routerId: 10.0.0.1
as: 65000
control: false
listen: ['${listen}']
networks: [{ prefix: 10.99.0.0/16, nextHop: 192.0.2.9 }, { prefix: 'fd00:99::/64', nextHop: 'fd00::9' }]
neighbors: [{ address: 127.0.0.2, as: 65001, passive: true, nextHop: unchanged, ${neighbor} }]
`);
const dial = async (at: number) => {
  const peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
  await peer.establish({});
  return peer;
};
const accepted = (it: TestSpeaker) => it.speaker.rib.counters(it.speaker.peers.get(ip('127.0.0.2'))!.id, 4).accepted;

describe('RFC 8212', () => {
  test('an external neighbour without policies: nothing in, nothing out', async () => {
    const at = port();
    await using it = await speaker(at, '');
    using peer = await dial(at);
    peer.send(announcement(0, 10));
    await until('End-of-RIB', () => peer.count(MessageType.Update) >= 1);
    await until('heard', () => received(it.speaker, '127.0.0.2').total === 10);
    await Bun.sleep(50);
    expect(accepted(it)).toBe(0);
    expect(peer.messages.filter((m) => m.type === 2).map((m) => m.bytes.length)).toEqual([23]);
  });
});

describe('prefix limits', () => {
  test('crossing it ends the session with what RFC 4486 says, and it comes back after the wait', async () => {
    const at = port();
    await using it = await speaker(at, 'import: accept, maxPrefix: { limit: 10, warnPercent: 50, restartAfter: 1 }');
    using peer = await dial(at);
    peer.send(announcement(0, 6));
    await until('warned', () => it.events.some((e) => e.type === 'prefix-limit' && e.level === 'warn'));
    expect(it.state('127.0.0.2')).toBe('Established');
    peer.send(announcement(6, 6));
    await until('Cease', () => peer.notification !== undefined);
    expect(peer.notification).toMatchObject({ code: 6, subcode: 1, data: Uint8Array.of(0, 1, 1, 0, 0, 0, 10) });
    expect(received(it.speaker, '127.0.0.2').total).toBe(0);
    const early = await RawPeer.connect({ from: '127.0.0.2', port: at });
    await until('not yet', () => early === undefined || early.closed);
    await until('again', () => it.state('127.0.0.2') === 'Active');
    using again = await dial(at);
    expect(again.closed).toBe(false);
  });

  test('`warn` only says so', async () => {
    const at = port();
    await using it = await speaker(at, 'import: accept, maxPrefix: { limit: 10, action: warn }');
    using peer = await dial(at);
    peer.send(announcement(0, 30));
    await until('told', () => it.events.some((e) => e.type === 'prefix-limit' && e.level === 'exceeded'));
    peer.send(withdrawal(0, 30));
    await until('withdrawn', () => received(it.speaker, '127.0.0.2').total === 0);
    expect(it.state('127.0.0.2')).toBe('Established');
  });

  test('`shutdown` keeps it down', async () => {
    const at = port();
    await using it = await speaker(at, 'import: accept, maxPrefix: { limit: 10, action: shutdown }');
    using peer = await dial(at);
    peer.send(announcement(0, 30));
    await until('Cease', () => peer.notification !== undefined);
    await Bun.sleep(100);
    expect(it.state('127.0.0.2')).toBe('Idle');
    const again = await RawPeer.connect({ from: '127.0.0.2', port: at });
    await until('refused', () => again === undefined || again.closed);
  });
});

describe('families', () => {
  test('a capability the neighbour does not have leaves the family out', async () => {
    const at = port();
    await using it = await speaker(at, 'import: accept, export: accept, families: [ipv4, ipv6]');
    using peer = await dial(at);
    await until('announced', () => peer.count(MessageType.Update) >= 2);
    expect(it.speaker.peers.get(ip('127.0.0.2'))!.session!.families).toEqual([4]);
  });

  test('IPv6 routes over an IPv4 session, IPv6 session over ::1', async () => {
    const at = port();
    await using _ = await speaker(at, 'import: accept, export: accept, families: [ipv4, ipv6]');
    using peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    await peer.establish({}, [{ type: 'multiprotocol', family: IPV6_UNICAST }]);
    // both networks and two End-of-RIBs
    await until('announced', () => peer.count(MessageType.Update) >= 4);
    const six = peer.messages.some((m) => Buffer.from(m.bytes).includes(Buffer.from('fd00009900000000', 'hex')));
    expect(six).toBe(true);
    const sixPort = port();
    await using it = await TestSpeaker.start(`
routerId: 10.0.0.1
as: 65000
control: false
listen: ['[::1]:${sixPort}']
neighbors: [{ address: '::1', as: internal, passive: true }]`);
    using other = (await RawPeer.connect({ from: '::1', to: '::1', port: sixPort }))!;
    await other.establish({ asn: 65000 }, [{ type: 'multiprotocol', family: IPV6_UNICAST }]);
    await until('Established', () => it.state('::1') === 'Established');
  });
});
