// What the RIB counts and remembers of a neighbour: limits that are the neighbour's own, and nothing left of who it was.
import { describe, expect, test } from 'bun:test';
import { prefix } from '../../net/mod.ts';
import { TestBed, attributes } from './fixtures.ts';
import type { FarEnd } from './fixtures.ts';
import type { PeerConfig, RoutePolicy } from './types.ts';

const prefixes = [1, 2, 3, 4, 5, 6].map((n) => prefix(`10.${n}.0.0/16`));
const three = prefixes.slice(0, 3);
const [p1] = three;

const out = (limit: number): Partial<PeerConfig> => ({
  families: { 4: { maxPrefixOut: { limit, warnPercent: 100 } } },
});
const limitEvents = (bed: TestBed): string[] => bed.events.splice(0).filter((event) => event.startsWith('max-prefix'));
const exceeded = ({ id }: FarEnd, direction: 'in' | 'out', count: number): string[] =>
  ['warn', 'exceeded'].map((level) => `max-prefix ${id} 4 ${direction} ${level} ${count}`);

describe('maximum prefixes', () => {
  test('out: what came from a neighbour is not announced to it and does not count', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502, out(2));
    const b = bed.peer(3, 64503, out(2));
    a.announce(three, attributes({ path: [64502], via: '10.0.0.2' }));
    bed.work();
    expect(limitEvents(bed)).toEqual(exceeded(b, 'out', 3));
  });

  test('out: who joins a group that announces too much already is over its limit, too', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    bed.peer(3, 64503, out(2));
    a.announce(three, attributes({ path: [64502], via: '10.0.0.2' }));
    bed.work();
    limitEvents(bed);
    const c = bed.peer(4, 64504, out(2));
    bed.work();
    expect(limitEvents(bed)).toEqual(exceeded(c, 'out', 3));
  });

  test('in: routes kept over a restart that do not come again do not count', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502, { families: { 4: { maxPrefixIn: { limit: 3, warnPercent: 110 } } } });
    a.announce(three, attributes({ path: [64502], via: '10.0.0.2' }));
    bed.rib.sessionDown(a.id, [4]);
    bed.up(a, 2);
    a.announce(prefixes.slice(3), attributes({ path: [64502], via: '10.0.0.2' }));
    bed.work();
    expect(limitEvents(bed)).toEqual([]);
    a.announce([p1!], attributes({ path: [64502], via: '10.0.0.2' }));
    expect(limitEvents(bed)).toEqual(exceeded(a, 'in', 4));
  });

  test('in: a refresh that was begun makes no room for more', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502, { families: { 4: { maxPrefixIn: { limit: 3, warnPercent: 110 } } } });
    a.announce(three, attributes({ path: [64502], via: '10.0.0.2' }));
    bed.rib.markStale(a.id, 4);
    a.announce(three, attributes({ path: [64502], via: '10.0.0.2' }));
    bed.work();
    expect(limitEvents(bed)).toEqual([]);
    bed.rib.markStale(a.id, 4);
    a.announce(prefixes.slice(3), attributes({ path: [64502], via: '10.0.0.2' }));
    expect(limitEvents(bed)).toEqual(exceeded(a, 'in', 6));
  });
});

describe('a neighbour that becomes somebody else', () => {
  test('another BGP Identifier after a restart counts at once in the decision', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 64502);
    const b = bed.peer(3, 64503);
    const c = bed.peer(4, 64504);
    a.announce([p1!], attributes({ path: [64502], via: '10.0.0.2' }));
    b.announce([p1!], attributes({ path: [64503], via: '10.0.0.3' }));
    bed.work();
    c.read();
    expect(c.routes.get(p1!)).toContain('64502');
    bed.rib.sessionDown(a.id, [4, 6]);
    bed.up(a, 9);
    a.announce([p1!], attributes({ path: [64502], via: '10.0.0.2' }));
    bed.work();
    c.read();
    expect(c.routes.get(p1!)).toContain('64503');
  });

  test('and is the ORIGINATOR_ID of what is reflected', () => {
    const bed = new TestBed();
    const a = bed.peer(2, 65000, { reflectorClient: true });
    const b = bed.peer(3, 65000, { reflectorClient: true });
    a.announce([p1!], attributes({ via: '10.0.0.2', localPref: 100 }));
    bed.work();
    b.read();
    expect(b.routes.get(p1!)).toContain(`originator 167772162`);
    bed.rib.sessionDown(a.id, [4, 6]);
    bed.up(a, 9);
    a.announce([p1!], attributes({ via: '10.0.0.2', localPref: 100 }));
    bed.work();
    b.read();
    expect(b.routes.get(p1!)).toContain(`originator 167772169`);
  });

  test('a number that is used again brings nothing of what its last owner sent', () => {
    const bed = new TestBed();
    const importPolicy: RoutePolicy = {
      name: 'none',
      perPrefix: false,
      apply: () => ({ accept: false, reason: 'none' }),
    };
    const a = bed.peer(2, 64502, { families: { 4: { importPolicy } } });
    a.announce([p1!], attributes({ path: [64502], via: '10.0.0.2' }));
    bed.work();
    bed.rib.removePeer(a.id);
    // all is decided, and nothing was cleaned up since
    while (bed.rib.pending) bed.rib.work();
    const b = bed.peer(2, 64502);
    expect(b.id).toBe(a.id);
    b.announce([p1!], attributes({ path: [64502], via: '10.0.0.2' }));
    bed.work();
    expect(bed.rib.counters(b.id, 4).accepted).toBe(1);
  });
});
