// A neighbour that changes its update group, because of a reload, must not lose routes on the way.
import { expect, test } from 'bun:test';
import { attributes, TestBed } from './fixtures.ts';
import type { FarEnd } from './fixtures.ts';
import type { PolicyRoute, RoutePolicy } from './types.ts';

const withMed = (med: number, refuses = '-'): RoutePolicy => ({
  name: `med ${med}`,
  perPrefix: true,
  apply: ({ attributes: a, prefix }: PolicyRoute) =>
    prefix === refuses ? { accept: false, reason: 'refused' } : { accept: true, attributes: { ...a, med } },
});

const prefixes = Array.from({ length: 100 }, (_, i) => `10.7.${i}.0/24`);

function change(bed: TestBed, end: FarEnd, policy: RoutePolicy): void {
  bed.rib.updatePeer(end.id, bed.config(2, 65002, { families: { 4: { exportPolicy: policy } } }));
}

test('nothing is withdrawn before the new group has looked at it', () => {
  const bed = new TestBed();
  const from = bed.peer(1, 65001);
  const to = bed.peer(2, 65002, { families: { 4: { exportPolicy: withMed(1) } } });
  from.announce(prefixes, attributes({ path: [65001] }));
  bed.work();
  expect(to.news().length).toBe(102);
  change(bed, to, withMed(2, prefixes[7]));
  expect(to.news()).toEqual([]); // asked before the new policy has run
  bed.work();
  const news = to.news();
  expect(news.filter((line) => line.startsWith('-'))).toEqual([`- ${prefixes[7]}`]);
  expect(news.filter((line) => line.includes('med 2')).length).toBe(99);
  expect(to.routes.size).toBe(99);
});

test('one that waits for its new group is not kept waiting by a member that reads nothing', () => {
  const bed = new TestBed({ streamLimit: 100 });
  const [old, now] = [withMed(1), withMed(2)];
  const from = bed.peer(1, 65001);
  const stuck = bed.peer(3, 65002, { families: { 4: { exportPolicy: now } } });
  const to = bed.peer(2, 65002, { families: { 4: { exportPolicy: old } } });
  bed.work();
  stuck.read();
  from.announce(prefixes.slice(0, 50), attributes({ path: [65001] }));
  bed.work();
  from.announce(prefixes.slice(50), attributes({ path: [65001, 7] }));
  bed.work();
  to.read();
  expect(to.routes.size).toBe(100);
  change(bed, to, now);
  for (let i = 0; i < 10; i++) {
    to.read();
    bed.work();
  }
  to.read();
  expect(to.log.filter((line) => line.startsWith('-'))).toEqual([]);
  expect([...to.routes.values()].filter((text) => text.includes('med 2')).length).toBe(100);
});
