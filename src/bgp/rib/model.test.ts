import { describe, expect, test } from 'bun:test';
import { prefix } from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import type { PathAttributes } from '../wire/mod.ts';
import { TestBed, attributes, number, ownAs, show, update } from './fixtures.ts';
import type { FarEnd } from './fixtures.ts';

// The whole RIB against a model of a few maps: thousands of random announcements, withdrawals, session losses, restarts,
// slow readers and refreshes; after each round every neighbour must hold exactly what the model says.

interface Route {
  readonly peer: number;
  readonly a: PathAttributes;
}

interface Neighbor {
  readonly n: number;
  readonly as: number;
  readonly client: boolean;
  readonly end: FarEnd;
  up: boolean;
}

const external = (n: Neighbor): boolean => n.as !== ownAs;

/** The list of decide.ts once more, in the plainest words. */
function best(routes: readonly Route[], neighbors: readonly Neighbor[]): Route | undefined {
  const of = (r: Route): Neighbor => neighbors[r.peer]!;
  const length = (r: Route): number => r.a.asPath.reduce((n, s) => n + (s.type === 1 ? 1 : s.asns.length), 0);
  const first = (r: Route): number => r.a.asPath[0]?.asns[0] ?? 0;
  let left = routes.filter((r) => !r.a.asPath.some((s) => s.asns.includes(ownAs)));
  const keepLowest = (of: (r: Route) => number): void => {
    const low = Math.min(...left.map(of));
    left = left.filter((r) => of(r) === low);
  };
  keepLowest((r) => -(r.a.localPref ?? 100));
  keepLowest(length);
  keepLowest((r) => r.a.origin);
  left = left.filter((r) => !left.some((o) => first(o) === first(r) && (o.a.med ?? 0) < (r.a.med ?? 0)));
  keepLowest((r) => (external(of(r)) ? 0 : 1));
  keepLowest((r) => number(`10.0.0.${of(r).n}`));
  return left[0];
}

function expected(to: Neighbor, route: Route, from: Neighbor): string | undefined {
  if (to === from) return undefined;
  const reflected = !external(to) && !external(from);
  if (reflected && !to.client && !from.client) return undefined;
  const { a } = route;
  if (external(to)) {
    const path = [ownAs, ...a.asPath.flatMap((s) => s.asns)];
    const family: Family = a.nextHop.address.length === 4 ? 4 : 6;
    return show(
      attributes({ path, origin: a.origin, communities: a.communities, via: family === 4 ? '10.0.0.1' : 'fd00::1' }),
    );
  }
  return show({
    ...a,
    localPref: a.localPref ?? 100,
    ...(reflected && { originatorId: number(`10.0.0.${from.n}`), clusterList: [number('10.0.0.1')] }),
  });
}

function random(seed: number): (below: number) => number {
  let x = seed;
  return (below) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
}

function run(seed: number, family: Family, rounds: number, streamLimit: number): void {
  const pick = random(seed);
  const bed = new TestBed({ streamLimit });
  const kinds: [number, boolean][] = [
    [64602, false],
    [64602, false],
    [64604, false],
    [ownAs, false],
    [ownAs, true],
    [ownAs, true],
  ];
  const neighbors: Neighbor[] = kinds.map(([as, client], i) => ({
    n: i + 2,
    as,
    client,
    end: bed.peer(i + 2, as, { reflectorClient: client }),
    up: true,
  }));
  const prefixes: Prefix[] = Array.from({ length: 40 }, (_, i) =>
    prefix(family === 4 ? `10.${i % 20}.0.0/${i < 20 ? 16 : 24}` : `2001:db8:${i % 20}::/${i < 20 ? 48 : 64}`),
  );
  const tables = neighbors.map(() => new Map<Prefix, Route>());

  const randomAttributes = (n: Neighbor): PathAttributes => {
    const path = Array.from({ length: pick(3) }, () => 100 + pick(3));
    const med = pick(3) === 0 ? { med: pick(3) } : {};
    const hop = family === 4 ? `10.0.0.${n.n}` : `fd00::${n.n}`;
    const common = {
      origin: pick(5) === 0 ? (2 as const) : (0 as const),
      communities: pick(3) === 0 ? [pick(4)] : [],
      via: hop,
      ...med,
    };
    if (external(n)) return attributes({ ...common, path: [n.as, ...path, ...(pick(20) === 0 ? [ownAs] : [])] });
    return attributes({ ...common, path: pick(2) === 0 ? [] : [64602, ...path], localPref: 100 + 50 * pick(2) });
  };

  for (let round = 0; round < rounds; round++) {
    for (let k = pick(30); k >= 0; k--) {
      const i = pick(neighbors.length);
      const n = neighbors[i]!;
      const table = tables[i]!;
      if (!n.up) continue;
      const from = pick(prefixes.length);
      const some = prefixes.slice(from, from + 1 + pick(6));
      const what = pick(20);
      if (what < 11) {
        const a = randomAttributes(n);
        expect(n.end.announce(some, a).kind).toBe('ok');
        for (const p of some) table.set(p, { peer: i, a });
      } else if (what < 17) {
        n.end.withdraw(some);
        for (const p of some) table.delete(p);
      } else if (what === 17) {
        bed.rib.refreshOut(n.end.id, family, false);
      } else if (what === 18) bed.work();
      else n.end.read(1 + pick(3), 200);
    }
    const i = pick(neighbors.length);
    const n = neighbors[i]!;
    if (!n.up) {
      n.end.routes.clear();
      bed.up(n.end, n.n);
      n.up = true;
    } else if (pick(10) === 0) {
      bed.rib.sessionDown(n.end.id);
      tables[i]!.clear();
      n.up = false;
    } else if (pick(9) === 0) {
      // a restart: kept as stale, part of it announced again, the rest swept
      bed.rib.sessionDown(n.end.id, [4, 6]);
      n.end.routes.clear();
      bed.up(n.end, n.n);
      for (const [p, route] of tables[i]!) {
        if (pick(2) === 0) tables[i]!.delete(p);
        else n.end.announce([p], route.a);
      }
      bed.rib.sweepStale(n.end.id, family);
    }
    bed.work();
    if (pick(3) === 0) continue; // let somebody fall behind
    // slow ones read too, and the work that waited for them goes on
    for (let again = true; again;) {
      for (const m of neighbors) if (m.up) m.end.read();
      again = bed.rib.pending;
      bed.work();
    }
    for (const m of neighbors) {
      if (!m.up) continue;
      const want = new Map<Prefix, string>();
      for (const p of prefixes) {
        const routes = tables.flatMap((t) => t.get(p) ?? []);
        const winner = routes.length > 0 ? best(routes, neighbors) : undefined;
        const told = winner && expected(m, winner, neighbors[winner.peer]!);
        if (told !== undefined) want.set(p, told);
      }
      expect(m.end.routes, `seed ${seed} round ${round} neighbour ${m.n}`).toEqual(want);
    }
  }
  // everything goes: nothing may be left
  for (const n of neighbors) if (n.up) bed.rib.sessionDown(n.end.id);
  bed.work();
  expect(bed.rib.stats()).toMatchObject({
    prefixes: { 4: 0, 6: 0 },
    paths: { 4: 0, 6: 0 },
    attributeSets: 0,
    nextHops: 0,
    updateGroups: 0,
  });
}

describe('the RIB does as a naive model does', () => {
  for (const family of [4, 6] as const) {
    for (const [seed, limit] of [
      [1, 1 << 20],
      [2, 1 << 20],
      [3, 300],
      [4, 1000],
    ] as const) {
      test(`IPv${family}, seed ${seed}, stream limit ${limit}`, () => run(seed, family, 250, limit));
    }
  }
});

test('whatever octets come: no throw, the session decides, and nothing is left when it ends', () => {
  const pick = random(99);
  const bed = new TestBed();
  const a = bed.peer(2, 64502);
  const b = bed.peer(3, ownAs);
  const kinds = new Set<string>();
  for (let i = 0; i < 8000; i++) {
    const from = pick(2) === 0 ? a : b;
    const family = pick(2) === 0 ? 4 : 6;
    const some = [prefix(family === 4 ? `10.${pick(50)}.0.0/16` : `2001:db8:${pick(50)}::/48`)];
    const given = attributes({
      path: [64502, pick(9)],
      via: family === 4 ? '10.0.0.2' : 'fd00::2',
      communities: [pick(9)],
      originatorId: pick(4) === 0 ? 5 : undefined,
    });
    const bytes = update(some, pick(4) === 0 ? undefined : given, from.context);
    for (let k = pick(4); k > 0; k--) bytes[19 + pick(bytes.length - 19)] = pick(256);
    kinds.add(bed.rib.receive(from.id, bytes, 0, bytes.length).kind);
    if (i % 50 === 0) bed.work();
    if (i % 100 === 0) for (const end of [a, b]) end.read();
  }
  expect([...kinds].sort((x, y) => (x < y ? -1 : 1))).toEqual(['discarded', 'ok', 'reset', 'withdrawn']);
  for (const end of [a, b]) bed.rib.sessionDown(end.id);
  bed.work();
  expect(bed.rib.stats()).toMatchObject({
    prefixes: { 4: 0, 6: 0 },
    paths: { 4: 0, 6: 0 },
    attributeSets: 0,
    nextHops: 0,
  });
});
