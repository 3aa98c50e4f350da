// The recorded faulty UPDATEs once more, now over TCP into a running speaker: what becomes of a route that was there
// before, of the session, of a route sent afterwards, and of what another neighbour is told.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { addressBytes, ip, prefix } from '../../src/net/mod.ts';
import { AttributeCursor, type Capability, IPV6_UNICAST, MessageType, UpdateView } from '../../src/bgp/wire/mod.ts';
import { sessionContext } from '../support/bgp-decode.ts';
import { RawPeer, TestSpeaker, until, update } from '../support/bgp-peer.ts';
import { testData } from '../support/data.ts';
import { freePort } from '../support/ports.ts';

interface Vector {
  readonly id: string;
  readonly hex: string;
  readonly session: { readonly type: 'ebgp' | 'ibgp' };
  readonly expected: string;
  readonly confidence: 'high' | 'medium' | 'conditional';
}

const path = testData('rfc7606-messages.json');
const vectors: Vector[] = path ? (await Bun.file(path).json()).vectors : [];

const route = prefix('198.51.100.0/24');
const sentinel = prefix('203.0.113.0/24');
const ipv6: Capability = { type: 'multiprotocol', family: IPV6_UNICAST };

/** Those not sure decided as in `rfc7606.test.ts`: accepted with or without the attribute. */
const accepted = (v: Vector): boolean =>
  v.confidence === 'conditional' || v.expected.startsWith('accept') || /flag-partial|as4path/.test(v.id);

let it: TestSpeaker;
let observer: RawPeer;
const senders = new Map<string, RawPeer>();

const config = `
routerId: 10.0.0.1
as: 65000
control: false
listen: ['127.0.0.1:PORT']
gracefulRestart: off
groups:
  all: { passive: true, import: accept, export: accept, nextHop: unchanged, families: [ipv4, ipv6], timers: { idleHold: 0.01, idleHoldMax: 0.01 } }
neighbors:
  - { address: 127.0.0.2, as: 65001, group: all }
  - { address: 127.0.0.3, as: 65009, group: all }
  - { address: 127.0.0.4, as: 65000, group: all }
`;

async function dial(address: string, asn: number): Promise<RawPeer> {
  for (let i = 0; i < 200; i++) {
    const peer = await RawPeer.connect({ from: address, port: it.port });
    try {
      await peer?.establish({ asn, identifier: 0x0a000000 + addressBytes(ip(address))[3]! }, [ipv6]);
      await until('Established', () => it.state(address) === 'Established', 2000);
      if (peer) return peer;
    } catch {
      peer?.abort(); // the last session may not be over yet
    }
    await Bun.sleep(10);
  }
  throw new Error(`no session from ${address}`);
}

const hostOf = (v: Vector): string => (v.session.type === 'ebgp' ? '127.0.0.2' : '127.0.0.4');

async function sender(v: Vector): Promise<RawPeer> {
  const host = hostOf(v);
  const known = senders.get(host);
  if (known && !known.closed) return known;
  const fresh = await dial(host, v.session.type === 'ebgp' ? 65001 : 65000);
  senders.set(host, fresh);
  return fresh;
}

/** A good announcement of the sender's. */
function good(v: Vector, nlri: readonly number[]): Uint8Array {
  const asPath = v.session.type === 'ebgp' ? [0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9] : [0x40, 2, 0];
  const localPref = v.session.type === 'ebgp' ? [] : [0x40, 5, 4, 0, 0, 0, 100];
  const community = [0xc0, 8, 4, 0xfd, 0xe9, 0x03, 0x09];
  const attributes = [0x40, 1, 1, 0, ...asPath, 0x40, 3, 4, 192, 0, 2, 1, ...localPref, ...community];
  return update([], attributes, nlri);
}

/** The sender's path for a prefix: whether it still carries the community of the good announcement. */
function held(v: Vector, p: typeof route): 'none' | 'before' | 'after' {
  const peer = it.speaker.peers.get(ip(hostOf(v)))!.id;
  for (const view of it.speaker.rib.routes({ prefix: p, match: 'exact', receivedFrom: peer })) {
    for (const one of view.paths) return one.received.communities.includes(0xfde90309) ? 'before' : 'after';
  }
  return 'none';
}

/** The attribute of this type, with flags, in the last UPDATE for `route` that the observer was sent. */
function observed(type: number): string | undefined {
  const context = sessionContext({ external: true });
  for (const m of observer.messages.filter((m) => m.type === MessageType.Update).reverse()) {
    const view = new UpdateView();
    if (view.decode(m.bytes, 0, m.bytes.length, context) || view.nlri.words[0] !== 0xc6336400 || view.nlri.count === 0)
      continue;
    view.block(1);
    const cursor = new AttributeCursor(view.blockBytes, view.blockStart, view.blockEnd);
    while (cursor.next()) {
      if (cursor.type === type) return view.blockBytes.slice(cursor.start, cursor.valueEnd).toHex();
    }
    return undefined;
  }
  return undefined;
}

describe.skipIf(!path)('RFC 7606 over TCP', () => {
  beforeAll(async () => {
    it = await TestSpeaker.start(config.replace('PORT', String(freePort())));
    observer = await dial('127.0.0.3', 65009);
  });
  afterAll(async () => {
    for (const peer of [observer, ...senders.values()]) peer?.abort();
    await it?.stop();
  });

  for (const vector of vectors) {
    test(vector.id, async () => {
      const peer = await sender(vector);
      peer.send(good(vector, [24, 0xc6, 0x33, 0x64]));
      await until('the route is there', () => held(vector, route) === 'before');
      observer.messages.length = 0;
      peer.send(Uint8Array.fromHex(vector.hex));
      peer.send(good(vector, [24, 203, 0, 113]));
      await until('the end of it', () => peer.closed || held(vector, sentinel) !== 'none');

      if (vector.expected === 'session-reset') {
        expect([peer.closed, peer.notification?.code, peer.notification?.subcode]).toEqual([true, 3, 9]);
        expect(held(vector, route)).toBe('none');
      } else {
        expect(peer.closed).toBe(false);
        const withdrawn = vector.expected === 'treat-as-withdraw' && !accepted(vector);
        expect(held(vector, route)).toBe(withdrawn ? 'none' : 'after');
      }
      if (vector.expected === 'accept-forward-attr') {
        await until('the observer is told', () => observed(0xfe) !== undefined);
        expect(observed(0xfe)).toBe('e0fe04deadbeef');
      }
      if (vector.expected === 'accept-drop-attr') {
        await until('the observer is told', () => observed(2) !== undefined);
        expect(observed(0xfd)).toBeUndefined();
      }
      // nobody else notices
      expect(it.state('127.0.0.3')).toBe('Established');
      // the next sender's routes are not to compete with these
      if (!peer.closed) peer.send(update([24, 0xc6, 0x33, 0x64, 24, 203, 0, 113], [], []));
      await until('all is gone', () => held(vector, route) === 'none' && held(vector, sentinel) === 'none');
    });
  }
});
