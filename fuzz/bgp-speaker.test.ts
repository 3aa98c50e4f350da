// A running speaker under damaged UPDATEs: it stays up, its other neighbour notices nothing but routes, and when the
// hostile one has gone nothing of it is left.
import { expect, test } from 'bun:test';
import { type Capability, IPV6_UNICAST } from '../src/bgp/wire/mod.ts';
import { sessionContext } from '../tests/support/bgp-decode.ts';
import { announcement, RawPeer, received, TestSpeaker, until } from '../tests/support/bgp-peer.ts';
import { anyUpdate, damage } from './bgp-damage.ts';
import { fuzzRun } from './random.ts';
import { freePort } from '../tests/support/ports.ts';

const HOSTILE = '127.0.0.2';
const OBSERVER = '127.0.0.3';
const ipv6: Capability = { type: 'multiprotocol', family: IPV6_UNICAST };

const config = (port: number) => `
routerId: 10.0.0.1
as: 65000
control: false
listen: ['127.0.0.1:${port}']
gracefulRestart: off
groups:
  all: { passive: true, import: accept, export: accept, families: [ipv4, ipv6], timers: { idleHold: 0.01, idleHoldMax: 0.01 } }
neighbors:
  - { address: ${HOSTILE}, as: 65001, group: all }
  - { address: ${OBSERVER}, as: 65009, group: all }
`;

async function dial(it: TestSpeaker, from: string, asn: number, identifier: number): Promise<RawPeer> {
  for (let i = 0; i < 500; i++) {
    const peer = await RawPeer.connect({ from, port: it.port });
    try {
      await peer?.establish({ asn, identifier }, [ipv6]);
      await until('Established', () => it.state(from) === 'Established' || peer?.closed !== false);
      if (peer && !peer.closed) return peer;
    } catch {
      // the last session is not over yet
    }
    peer?.abort();
    await Bun.sleep(5);
  }
  throw new Error(`no session from ${from}`);
}

test('damaged UPDATEs into a speaker', async () => {
  const { random: r, rounds } = fuzzRun('speaker', 4000);
  const context = sessionContext({ external: true });
  await using it = await TestSpeaker.start(config(freePort()));
  using observer = await dial(it, OBSERVER, 65009, 3);
  let sessions = 0;
  for (let sent = 0; sent < rounds;) {
    using hostile = await dial(it, HOSTILE, 65001, 2);
    sessions++;
    while (sent < rounds && !hostile.closed) {
      for (let n = 0; n < 20; n++, sent++) {
        const good = anyUpdate(r, context);
        hostile.send(r.chance(3) ? damage(r, good) : good);
      }
      await Bun.sleep(0); // the speaker's turn
    }
    hostile.abort();
    await until('the session is over', () => it.state(HOSTILE) !== 'Established');
  }
  expect(sessions).toBeGreaterThan(1);

  // all it ever said is gone; a well-behaved neighbour in its place is served
  await until('nothing is left', () => {
    const { prefixes } = it.speaker.rib.stats();
    return received(it.speaker, HOSTILE).total === 0 && prefixes[4] === 0 && prefixes[6] === 0;
  });
  using good = await dial(it, HOSTILE, 65001, 2);
  good.send(announcement(0, 100));
  await until('its routes are taken', () => received(it.speaker, HOSTILE).total === 100);
  expect(it.state(OBSERVER)).toBe('Established');
  expect(observer.closed).toBe(false);
}, 120_000);
