import { describe, expect, test } from 'bun:test';
import { prefix } from '../../net/mod.ts';
import { TestBed, attributes, number, ownAs } from './fixtures.ts';
import type { RoutePolicy } from './types.ts';

const p1 = prefix('10.1.0.0/16');
const p2 = prefix('10.2.0.0/16');

describe('from one neighbour to another', () => {
  test('eBGP: AS prepended, next hop self, MED not passed on, LOCAL_PREF not sent', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    a.announce([p1, p2], attributes({ path: [64502, 64999], via: '10.0.0.2', med: 5, communities: [0xfde80064] }));
    bed.work();
    const told = 'via 10.0.0.1, path 65000 64502 64999, origin 0, communities 4259840100';
    expect(b.news()).toEqual([`+ ${p1} ${told}`, `+ ${p2} ${told}`, 'end of rib 4', 'end of rib 6']);
    // nothing goes back to where it came from
    expect(a.news()).toEqual(['end of rib 4', 'end of rib 6']);
    a.withdraw([p1]);
    bed.work();
    expect(b.news()).toEqual([`- ${p1}`]);
    expect(a.news()).toEqual([]);
    bed.rib.sessionDown(a.id);
    bed.work();
    expect(b.news()).toEqual([`- ${p2}`]);
    expect(bed.rib.stats()).toMatchObject({ prefixes: { 4: 0, 6: 0 }, paths: { 4: 0, 6: 0 }, attributeSets: 0 });
  });

  test('a removed neighbour is worked off in turns, and its number is not used before', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    a.announce([p1, p2], attributes({ path: [64502], via: '10.0.0.2' }));
    bed.work();
    expect(b.news()).toContain(`+ ${p1} via 10.0.0.1, path 65000 64502, origin 0`);
    bed.rib.removePeer(a.id);
    // nothing was decided yet, so nobody was told
    expect(b.news()).toEqual([]);
    const early = bed.peer(4, 64504);
    expect(early.id).not.toBe(a.id);
    bed.work();
    expect(b.news().toSorted()).toEqual([`- ${p1}`, `- ${p2}`]);
    const late = bed.peer(5, 64505);
    expect(late.id).toBe(a.id);
    late.announce([p1], attributes({ path: [64505], via: '10.0.0.5' }));
    bed.work();
    expect(b.news()).toEqual([`+ ${p1} via 10.0.0.1, path 65000 64505, origin 0`]);
    expect(late.news()).toEqual(['end of rib 4', 'end of rib 6']);
  });

  test('a path that does not begin with the AS of its neighbour is not used, unless that is allowed', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502, { enforceFirstAs: true });
    const b = bed.peer(3, 64503);
    a.announce([p1], attributes({ path: [64502, 64999], via: '10.0.0.2' }));
    a.announce([p2], attributes({ path: [64999], via: '10.0.0.2' }));
    bed.work();
    b.read();
    expect([...b.routes.keys()]).toEqual([p1]);
    const [route] = bed.rib.routes({ family: 4, prefix: p2, match: 'exact' });
    expect(route!.paths[0]!.why).toBe('its AS path does not begin with AS 64502 (enforceFirstAs)');
    bed.rib.updatePeer(a.id, bed.config(2, 64502));
    bed.work();
    b.read();
    expect([...b.routes.keys()].toSorted()).toEqual([p1, p2]);
  });

  test('iBGP: path and MED kept, LOCAL_PREF sent, not from iBGP to iBGP', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, ownAs);
    const c = bed.peer(4, ownAs);
    a.announce([p1], attributes({ path: [64502], via: '10.0.0.2', med: 5 }));
    b.announce([p2], attributes({ via: '10.0.0.3', localPref: 200 }));
    bed.work();
    expect([...c.routes]).toEqual([]);
    c.read();
    expect([...c.routes]).toEqual([[p1, 'via 10.0.0.2, path 64502, origin 0, med 5, pref 100']]);
    a.read();
    expect([...a.routes]).toEqual([[p2, 'via 10.0.0.1, path 65000, origin 0']]);
  });

  test('when the best path moves to a member, it is withdrawn from that member alone', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    const c = bed.peer(4, 64504);
    a.announce([p1], attributes({ path: [64502, 1, 2], via: '10.0.0.2' }));
    bed.work();
    for (const end of [a, b, c]) end.news();
    b.announce([p1], attributes({ path: [64503, 2], via: '10.0.0.3' }));
    bed.work();
    const told = 'via 10.0.0.1, path 65000 64503 2, origin 0';
    expect(a.news()).toEqual([`+ ${p1} ${told}`]);
    expect(b.news()).toEqual([`- ${p1}`]);
    expect(c.news()).toEqual([`+ ${p1} ${told}`]);
    // and back: the others are told, the new source had it from us before and loses it
    b.withdraw([p1]);
    bed.work();
    expect(a.news()).toEqual([`- ${p1}`]);
    expect(b.news()).toEqual([`+ ${p1} via 10.0.0.1, path 65000 64502 1 2, origin 0`]);
    a.withdraw([p1]);
    bed.work();
    expect(a.news()).toEqual([]);
    expect(b.news()).toEqual([`- ${p1}`]);
  });

  test('IPv6', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    const p = prefix('2001:db8:1::/48');
    a.announce([p], attributes({ path: [64502], via: 'fd00::2' }));
    bed.work();
    expect(b.news()[1]).toBe(`+ ${p} via fd00::1, path 65000 64502, origin 0`);
    a.withdraw([p]);
    bed.work();
    expect(b.news()).toEqual([`- ${p}`]);
  });

  test('changes between two reads of the RIB are one', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    b.news();
    for (let i = 0; i < 10; i++) {
      a.announce([p1], attributes({ path: [64502, 100 + i], via: '10.0.0.2' }));
      a.withdraw([p2]);
    }
    bed.work();
    expect(b.news().filter((line) => line.startsWith('+'))).toEqual([
      `+ ${p1} via 10.0.0.1, path 65000 64502 109, origin 0`,
    ]);
    a.withdraw([p1]);
    a.announce([p1], attributes({ path: [64502, 109], via: '10.0.0.2' }));
    bed.work();
    expect(b.news()).toEqual([]);
  });
});

describe('reflector', () => {
  test('clients to everyone, the others to clients; ORIGINATOR_ID, CLUSTER_LIST, next hop kept', () => {
    const bed = new TestBed();
    const client = bed.peer(2, ownAs, { reflectorClient: true });
    const client2 = bed.peer(3, ownAs, { reflectorClient: true });
    const plain = bed.peer(4, ownAs);
    const plain2 = bed.peer(5, ownAs);
    client.announce([p1], attributes({ via: '10.0.0.2', localPref: 100 }));
    plain.announce([p2], attributes({ via: '10.0.0.4', localPref: 100, originatorId: 7, clusterList: [9] }));
    bed.work();
    for (const end of [client, client2, plain, plain2]) end.read();
    const one = `via 10.0.0.2, path , origin 0, pref 100, originator ${number('10.0.0.2')}, clusters ${number('10.0.0.1')}`;
    const two = `via 10.0.0.4, path , origin 0, pref 100, originator 7, clusters ${number('10.0.0.1')} 9`;
    expect([...client.routes]).toEqual([[p2, two]]);
    expect(bed.rib.counters(client.id, 4)).toMatchObject({ received: 1, accepted: 1, advertised: 1 });
    expect([...bed.rib.advertised(client.id, 4)].map((r) => r.prefix)).toEqual([p2]);
    expect([...client2.routes]).toEqual([
      [p1, one],
      [p2, two],
    ]);
    expect([...plain.routes]).toEqual([[p1, one]]);
    expect([...plain2.routes]).toEqual([[p1, one]]);
  });

  test('what we reflected before and what we originated is not used', () => {
    const bed = new TestBed();
    const client = bed.peer(2, ownAs, { reflectorClient: true });
    client.announce([p1], attributes({ localPref: 100, originatorId: number('10.0.0.1') }));
    client.announce([p2], attributes({ localPref: 100, clusterList: [1, number('10.0.0.1')] }));
    bed.work();
    const routes = [...bed.rib.routes({})];
    expect(routes.map((r) => [r.prefix, r.paths[0]!.state, r.paths[0]!.why])).toEqual([
      [p1, 'loop', 'it was reflected by us before'],
      [p2, 'loop', 'it was reflected by us before'],
    ]);
  });
});

describe('settings of a neighbour', () => {
  test('RFC 8212: an eBGP neighbour without policies carries nothing', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502, { requirePolicy: true });
    const b = bed.peer(3, 64503, { requirePolicy: true });
    const c = bed.peer(4, ownAs, { requirePolicy: true });
    a.announce([p1], attributes({ path: [64502] }));
    c.announce([p2], attributes({ localPref: 100 }));
    bed.work();
    expect(b.news()).toEqual(['end of rib 4', 'end of rib 6']);
    expect(c.news()).toEqual(['end of rib 4', 'end of rib 6']);
    expect(bed.rib.counters(a.id, 4)).toMatchObject({ received: 1, accepted: 0 });
  });

  test('AS loops and allowas-in', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    a.announce([p1], attributes({ path: [64502, ownAs] }));
    bed.work();
    expect([...bed.rib.routes({})][0]!.paths[0]!.why).toBe('our own AS is in its AS path');
    bed.rib.updatePeer(a.id, bed.config(2, 64502, { allowAsIn: 1 }));
    bed.work();
    b.read();
    expect([...b.routes.keys()]).toEqual([p1]);
    bed.rib.updatePeer(a.id, bed.config(2, 64502));
    bed.work();
    b.read();
    expect([...b.routes.keys()]).toEqual([]);
  });

  test('a next hop that is our own address', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    a.announce([p1], attributes({ path: [64502], via: '10.0.0.1' }));
    bed.work();
    const [path] = [...bed.rib.routes({})][0]!.paths;
    expect([path!.state, path!.why]).toEqual(['rejected', 'its next hop is our own address']);
  });

  test('local-as', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502, { localAs: 64777 });
    const b = bed.peer(3, 64503, { localAs: 64888 });
    const c = bed.peer(4, 64504, { localAs: 64888, localAsReplace: true });
    a.announce([p1], attributes({ path: [64502] }));
    bed.work();
    b.read();
    c.read();
    expect(b.routes.get(p1)).toBe('via 10.0.0.1, path 64888 65000 64777 64502, origin 0');
    expect(c.routes.get(p1)).toBe('via 10.0.0.1, path 64888 64777 64502, origin 0');
  });

  test('remove-private-as', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503, { removePrivateAs: 'all' });
    const c = bed.peer(4, 64504, { removePrivateAs: 'replace' });
    a.announce([p1], attributes({ path: [64512, 1234, 4200000000] }));
    bed.work();
    b.read();
    c.read();
    expect(b.routes.get(p1)).toBe('via 10.0.0.1, path 65000 1234, origin 0');
    expect(c.routes.get(p1)).toBe('via 10.0.0.1, path 65000 65000 1234 65000, origin 0');
  });

  test('next hop: self, unchanged, and third party on a shared subnet', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const self = bed.peer(3, ownAs, { families: { 4: { nextHop: 'self' } } });
    const same = bed.peer(4, 64504, { families: { 4: { nextHop: 'unchanged' } } });
    const third = bed.peer(5, 64505, { sharedSubnet: prefix('10.0.0.0/24') });
    a.announce([p1], attributes({ path: [64502], via: '10.0.0.77' }));
    a.announce([p2], attributes({ path: [64502], via: '10.9.9.9' }));
    bed.work();
    for (const end of [self, same, third]) end.read();
    const via = (end: typeof self) => [p1, p2].map((p) => end.routes.get(p)?.split(',')[0]);
    expect(via(self)).toEqual(['via 10.0.0.1', 'via 10.0.0.1']);
    expect(via(same)).toEqual(['via 10.0.0.77', 'via 10.9.9.9']);
    expect(via(third)).toEqual(['via 10.0.0.77', 'via 10.0.0.1']);
  });

  test('default-originate, also to a neighbour that gets nothing else', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503, { requirePolicy: true, families: { 4: { defaultOriginate: true } } });
    a.announce([p1], attributes({ path: [64502] }));
    bed.work();
    b.read();
    expect([...b.routes]).toEqual([[prefix('0.0.0.0/0'), 'via 10.0.0.1, path 65000, origin 0']]);
    bed.rib.updatePeer(b.id, bed.config(3, 64503, { requirePolicy: true }));
    bed.work();
    b.read();
    expect([...b.routes]).toEqual([]);
  });

  test('communities: NO_EXPORT, NO_ADVERTISE, GRACEFUL_SHUTDOWN, stripped, non-transitive', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503, { stripCommunities: { standard: true } });
    const c = bed.peer(4, ownAs);
    const shut = 0xffff0000;
    a.announce([p1], attributes({ path: [64502], communities: [0xffffff01] }));
    a.announce([p2], attributes({ path: [64502], communities: [0xffffff02] }));
    const p3 = prefix('10.3.0.0/16');
    const extendedCommunities = [0x40020000, 1, 0x00020000, 2];
    a.announce([p3], attributes({ path: [64502], communities: [shut], extendedCommunities }));
    bed.work();
    b.read();
    c.read();
    expect([...b.routes]).toEqual([[p3, 'via 10.0.0.1, path 65000 64502, origin 0, extended 131072 2']]);
    expect([...c.routes.keys()]).toEqual([p1, p3]);
    expect(c.routes.get(p3)).toContain(`pref 0, communities ${shut}, extended 1073872896 1 131072 2`);
  });

  test('maximum prefixes are reported once, again after falling below', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502, { families: { 4: { maxPrefixIn: { limit: 2, warnPercent: 100 } } } });
    const all = ['10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16'];
    a.announce(all, attributes({ path: [64502] }));
    a.announce(all, attributes({ path: [64502, 5] }));
    expect(bed.events).toEqual([`max-prefix ${a.id} 4 in warn 3`, `max-prefix ${a.id} 4 in exceeded 3`]);
  });
});

describe('graceful restart', () => {
  test('routes of a peer that restarts stay until End-of-RIB', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    a.announce([p1, p2], attributes({ path: [64502] }));
    bed.work();
    b.news();
    bed.rib.sessionDown(a.id, [4]);
    bed.work();
    expect(b.news()).toEqual([]);
    expect(bed.rib.counters(a.id, 4)).toMatchObject({ received: 2, stale: 2 });
    bed.up(a, 2);
    a.announce([p1], attributes({ path: [64502] }));
    bed.work();
    expect(b.news()).toEqual([]);
    expect(bed.rib.sweepStale(a.id, 4)).toBe(1);
    bed.work();
    expect(b.news()).toEqual([`- ${p2}`]);
    expect(bed.rib.counters(a.id, 4)).toMatchObject({ received: 1, stale: 0 });
  });

  test('after our own restart nothing is said until the neighbours are done', () => {
    const bed = new TestBed();
    bed.rib.deferExport(true);
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    a.announce([p1], attributes({ path: [64502] }));
    bed.work();
    expect(b.news()).toEqual([]);
    bed.rib.deferExport(false);
    bed.work();
    expect(b.news()).toEqual([`+ ${p1} via 10.0.0.1, path 65000 64502, origin 0`, 'end of rib 4', 'end of rib 6']);
  });
});

describe('pace', () => {
  test('a late joiner is told the table, then End-of-RIB, then follows', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    a.announce([p1, p2], attributes({ path: [64502] }));
    bed.work();
    const c = bed.peer(4, 64504);
    bed.work();
    const told = 'via 10.0.0.1, path 65000 64502, origin 0';
    expect(c.news()).toEqual([`+ ${p1} ${told}`, `+ ${p2} ${told}`, 'end of rib 4', 'end of rib 6']);
    expect(bed.rib.stats().updateGroups).toBe(2); // one for each family
    a.withdraw([p1]);
    bed.work();
    expect(c.news()).toEqual([`- ${p1}`]);
    expect(b.news()).toContain(`- ${p1}`);
  });

  test('a slow reader is bounded, holds nobody up and ends with the truth', () => {
    const bed = new TestBed({ streamLimit: 2000 });
    const a = bed.peer(2, 64502);
    const slow = bed.peer(3, 64503);
    const quick = bed.peer(4, 64504);
    slow.read();
    const all = Array.from({ length: 64 }, (_, i) => prefix(`10.${i}.0.0/16`));
    for (let round = 0; round < 100; round++) {
      for (const p of all) {
        if ((round + Number(p.split('.')[1])) % 3 === 0) a.withdraw([p]);
        else a.announce([p], attributes({ path: [64502, 1 + (round % 5), Number(p.split('.')[1])] }));
        bed.work();
        quick.read();
        bed.work();
      }
      if (round % 10 === 0) slow.read(1, 500);
      expect(bed.rib.counters(slow.id, 4).behind).toBeLessThan(6000);
    }
    slow.read();
    expect(slow.routes).toEqual(quick.routes);
    expect(slow.routes.size).toBe(42);
  });

  test('route refresh: everything again, between the marks of RFC 7313 when asked so', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    a.announce([p1, p2], attributes({ path: [64502] }));
    bed.work();
    b.news();
    const told = 'via 10.0.0.1, path 65000 64502, origin 0';
    bed.rib.refreshOut(b.id, 4, false);
    expect(b.news()).toEqual([`+ ${p1} ${told}`, `+ ${p2} ${told}`]);
    bed.rib.refreshOut(b.id, 4, true);
    expect(b.news()).toEqual(['refresh 1', `+ ${p1} ${told}`, `+ ${p2} ${told}`, 'refresh 2']);
  });

  test('no mark of RFC 7313 before the End-of-RIB', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    a.announce([p1], attributes({ path: [64502] }));
    bed.work();
    const b = bed.peer(3, 64503);
    bed.rib.refreshOut(b.id, 4, true);
    bed.work();
    const news = b.news();
    expect(news).toContain('end of rib 4');
    expect(news.filter((line) => line.startsWith('refresh'))).toEqual([]);
  });

  test('an IPv6 route that a policy gives an IPv4 next hop is not announced', () => {
    const bed = new TestBed();
    const via: RoutePolicy = {
      name: 'via',
      perPrefix: false,
      apply: ({ attributes: a }) => ({ accept: true, attributes: { ...a, nextHop: attributes().nextHop } }),
    };
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503, { families: { 4: {}, 6: { exportPolicy: via } } });
    a.announce(['fd00:7::/64'], attributes({ path: [64502], via: 'fd00::9' }));
    bed.work();
    expect(b.news()).toEqual(['end of rib 4', 'end of rib 6']);
  });
});

describe('RFC 7606', () => {
  test('bad attributes withdraw the routes and leave the session up', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    a.announce([p1], attributes({ path: [64502] }));
    bed.work();
    b.news();
    // ORIGIN 9
    const bad = [0x40, 1, 1, 9, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 2];
    const body = [0, 0, 0, bad.length, ...bad, 16, 10, 1];
    const message = Uint8Array.of(...Array.from({ length: 16 }, () => 255), 0, 19 + body.length, 2, ...body);
    expect(a.send(message).kind).toBe('withdrawn');
    bed.work();
    expect(b.news()).toEqual([`- ${p1}`]);
  });
});
