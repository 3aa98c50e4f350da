// What policies make of attributes that no message could carry: they may be as large as messages (RFC 8654) before.
import { expect, test } from 'bun:test';
import { prefix } from '../../net/mod.ts';
import { IPV4_UNICAST } from '../wire/mod.ts';
import { TestBed, attributes } from './fixtures.ts';
import type { RoutePolicy } from './types.ts';

const p1 = prefix('10.1.0.0/16');
const p2 = prefix('10.2.0.0/16');
const many = (count: number): number[] => Array.from({ length: count }, (_, i) => 64502 * 65536 + (i % 65536));

/** Adds communities, as many as one likes. */
const adding = (count: number): RoutePolicy => ({
  name: 'adding',
  perPrefix: false,
  apply: ({ attributes: a }) => ({
    accept: true,
    attributes: { ...a, communities: [...a.communities, ...many(count)] },
  }),
});

test('a policy that makes an attribute longer than any can be', () => {
  const bed = new TestBed();
  const extended = { extendedMessages: true };
  const a = bed.peer(2, 64502, { families: { 4: { importPolicy: adding(40) } } }, extended);
  const b = bed.peer(3, 64503, {}, extended);
  a.announce([p1], attributes({ path: [64502], via: '10.0.0.2', communities: many(16_360) }));
  a.announce([p2], attributes({ path: [64502], via: '10.0.0.2' }));
  bed.work();
  b.read();
  expect([...b.routes.keys()]).toEqual([p2]);
  expect([...bed.rib.routes({ prefix: p1 })][0]!.paths[0]).toMatchObject({ state: 'rejected' });
});

test('a policy that makes the next hop no address of a host', () => {
  const bed = new TestBed();
  const nextHop = { address: Uint8Array.of(224, 0, 0, 1), linkLocal: undefined };
  const importPolicy: RoutePolicy = {
    name: 'multicast',
    perPrefix: false,
    apply: ({ attributes: a }) => ({ accept: true, attributes: { ...a, nextHop } }),
  };
  const a = bed.peer(2, 64502, { families: { 4: { importPolicy } } });
  bed.peer(3, 64503);
  a.announce([p1], attributes({ path: [64502], via: '10.0.0.2' }));
  bed.work();
  expect([...bed.rib.routes({ prefix: p1 })][0]!.paths[0]).toMatchObject({ state: 'rejected' });
});

test('the path of a two-octet speaker that is too long in four', () => {
  const bed = new TestBed();
  const a = bed.peer(
    2,
    64502,
    { families: { 4: { importPolicy: adding(1) } } },
    { extendedMessages: true, fourOctetAs: false, families: new Set([IPV4_UNICAST]) },
  );
  const path = Array.from({ length: 200 }, () => ({
    type: 2 as const,
    asns: Array.from({ length: 150 }, () => 64502),
  }));
  a.announce([p1], { ...attributes({ via: '10.0.0.2' }), asPath: path });
  bed.work();
  expect([...bed.rib.routes({ prefix: p1 })][0]!.paths[0]).toMatchObject({ state: 'rejected' });
});
