import { describe, expect, test } from 'bun:test';
import { prefix } from '../../net/mod.ts';
import { TestBed, attributes } from '../rib/fixtures.ts';
import { compilePolicy } from './mod.ts';
import type { PolicyTerm, PrefixList } from './mod.ts';

// Policies where they run: in the tables, changed while routes are there (soft reconfiguration).

const p1 = prefix('10.1.0.0/16');
const p2 = prefix('10.2.0.0/16');
const lists: PrefixList[] = [{ name: 'first', rules: [{ prefix: p1, permit: true }] }];

function policy(terms: PolicyTerm[], fallback: 'accept' | 'reject' = 'reject') {
  const compiled = compilePolicy({ name: 'p', terms, default: fallback }, lists);
  if (!compiled.ok) throw new Error(compiled.error);
  return compiled.value;
}
// oxlint-disable unicorn/no-thenable -- `then` is the word for a term's verdict, and a term is never awaited
const accept = policy([], 'accept');
const reject = policy([]);
const firstOnly = policy([{ match: { prefixLists: ['first'] }, then: 'accept' }]);
const tagged = policy([{ set: { addCommunities: ['1:1'], med: 7 }, then: 'accept' }]);
const preferred = policy([{ set: { localPref: 200 }, then: 'accept' }]);
const firstPreferred = policy([
  { match: { prefixLists: ['first'] }, set: { localPref: 300 }, then: 'accept' },
  { then: 'accept' },
]);

function bedWithRoutes() {
  const bed = new TestBed();
  const a = bed.peer(2, 64502);
  const b = bed.peer(3, 64503);
  a.announce([p1, p2], attributes({ path: [64502] }));
  bed.work();
  b.news();
  const setImport = (importPolicy = accept) =>
    bed.rib.updatePeer(a.id, bed.config(2, 64502, { families: { 4: { importPolicy }, 6: {} } }));
  const setExport = (exportPolicy = accept) =>
    bed.rib.updatePeer(b.id, bed.config(3, 64503, { families: { 4: { exportPolicy }, 6: {} } }));
  const news = () => {
    bed.work();
    return b.news();
  };
  return { bed, a, b, setImport, setExport, news };
}
const told = 'via 10.0.0.1, path 65000 64502, origin 0';

describe('soft reconfiguration', () => {
  test('in: what was received is judged again, without the neighbour', () => {
    const { bed, a, setImport, news } = bedWithRoutes();
    setImport(firstOnly);
    expect(news()).toEqual([`- ${p2}`]);
    expect(bed.rib.counters(a.id, 4)).toMatchObject({ received: 2, accepted: 1 });
    setImport(reject);
    expect(news()).toEqual([`- ${p1}`]);
    expect([...bed.rib.routes({ prefix: p1 })][0]!.paths[0]!.why).toBe('import policy p refuses it');
    setImport(tagged);
    expect(news()).toEqual([`+ ${p1} ${told}, communities 65537`, `+ ${p2} ${told}, communities 65537`]);
    setImport(accept);
    expect(news()).toEqual([`+ ${p1} ${told}`, `+ ${p2} ${told}`]);
    setImport(firstPreferred);
    // nothing that is announced differs
    expect(news()).toEqual([]);
    const prefs = [...bed.rib.routes({})].map((r) => [
      r.paths[0]!.attributes.localPref,
      r.paths[0]!.received.localPref,
    ]);
    expect(prefs).toEqual([
      [300, 100],
      [100, 100],
    ]);
  });

  test('out: the difference is sent, nothing else', () => {
    const { setExport, news } = bedWithRoutes();
    setExport(firstOnly);
    const after = news();
    expect(after).toContain(`- ${p2}`);
    expect(after.filter((line) => line.startsWith('-'))).toHaveLength(1);
    setExport(tagged);
    expect(news()).toEqual([`+ ${p1} ${told}, med 7, communities 65537`, `+ ${p2} ${told}, med 7, communities 65537`]);
    setExport(reject);
    expect(news().sort((x, y) => (x < y ? -1 : 1))).toEqual([`- ${p1}`, `- ${p2}`]);
    setExport(accept);
    expect(news()).toEqual([`+ ${p1} ${told}`, `+ ${p2} ${told}`]);
  });

  test('a policy decides which path is best', () => {
    const { bed, a, news } = bedWithRoutes();
    const c = bed.peer(4, 64504, { families: { 4: { importPolicy: preferred } } });
    c.announce([p1], attributes({ path: [64504, 1, 2, 3] }));
    bed.work();
    const best = [...bed.rib.routes({ prefix: p1 })][0]!.paths[0]!;
    expect([best.peer, best.why]).toEqual([c.id, 'local preference 200 against 100']);
    expect(news()).toEqual([`+ ${p1} via 10.0.0.1, path 65000 64504 1 2 3, origin 0`]);
    for (const end of [a, c]) bed.rib.sessionDown(end.id);
    bed.work();
    expect(bed.rib.stats()).toMatchObject({ prefixes: { 4: 0, 6: 0 }, attributeSets: 0, nextHops: 0 });
  });
});
