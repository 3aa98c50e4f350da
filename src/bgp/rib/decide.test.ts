import { describe, expect, test } from 'bun:test';
import { prefix } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import type { PathAttributes } from '../wire/mod.ts';
import type { DecisionOptions } from './decide.ts';
import { TestBed, attributes, number, ownAs } from './fixtures.ts';
import type { NextHopResolver, PeerConfig, Resolution } from './types.ts';

// Each case: paths of one prefix from neighbours 10.0.0.2, .3, …; the first is to win. They are announced in every order,
// so that no outcome depends on which came first.

interface Given {
  readonly as: number;
  readonly a: Partial<PathAttributes> & { path?: number[]; via?: string };
  readonly config?: Partial<PeerConfig>;
}
interface Case {
  readonly name: string;
  readonly paths: readonly Given[];
  readonly reason: string;
  readonly why: string;
  readonly options?: Partial<DecisionOptions>;
}

const p = prefix('192.0.2.0/24');
const e1 = 64601;
const e2 = 64602;
const internal = { localPref: 100 };

/** The IGP: 10.0.0.n costs n; 10.66.0.0 is nowhere. */
const resolver: NextHopResolver = {
  resolve: (nextHop: IpAddress): Resolution =>
    nextHop.startsWith('10.66.')
      ? { reachable: false }
      : { reachable: true, metric: Number(nextHop.split('.')[3]), hops: [{ via: nextHop, device: 'eth0' }] },
  watch: () => ({ [Symbol.dispose]: () => {} }),
};

const cases: Case[] = [
  { name: 'one path', paths: [{ as: e1, a: { path: [e1] } }], reason: 'only-path', why: 'the only usable path' },
  {
    name: 'the next hop must be reachable',
    paths: [
      { as: e1, a: { path: [e1, 1, 2, 3] } },
      { as: e2, a: { path: [e2], via: '10.66.0.1' } },
    ],
    reason: 'only-path',
    why: 'the only usable path',
  },
  {
    name: 'weight before local preference',
    paths: [
      { as: e1, a: { path: [e1, 1, 2] }, config: { weight: 10 } },
      { as: ownAs, a: { localPref: 500 } },
    ],
    reason: 'weight',
    why: 'weight 10 against 0',
  },
  {
    name: 'local preference before path length',
    paths: [
      { as: ownAs, a: { localPref: 101, path: [1, 2, 3, 4] } },
      { as: e1, a: { path: [e1] } },
    ],
    reason: 'local-pref',
    why: 'local preference 101 against 100',
  },
  {
    name: 'GRACEFUL_SHUTDOWN makes it the last resort',
    paths: [
      { as: e1, a: { path: [e1, 1, 2, 3] } },
      { as: e2, a: { path: [e2], communities: [0xffff0000] } },
    ],
    reason: 'local-pref',
    why: 'local preference 100 against 0',
  },
  {
    name: 'path length',
    paths: [
      { as: e2, a: { path: [e2, 1] } },
      { as: e1, a: { path: [e1, 1, 2], origin: 0 } },
    ],
    reason: 'as-path-length',
    why: 'AS path length 2 against 3',
  },
  {
    name: 'a set counts as one',
    paths: [
      {
        as: e2,
        a: {
          asPath: [
            { type: 2, asns: [e2] },
            { type: 1, asns: [5, 6, 7, 8] },
          ],
        },
      },
      { as: e1, a: { path: [e1, 1, 2] } },
    ],
    reason: 'as-path-length',
    why: 'AS path length 2 against 3',
  },
  {
    name: 'origin',
    paths: [
      { as: e2, a: { path: [e2], origin: 1 } },
      { as: e1, a: { path: [e1], origin: 2 } },
    ],
    reason: 'origin',
    why: 'origin EGP against incomplete',
  },
  {
    name: 'MED within one neighbouring AS',
    paths: [
      { as: e1, a: { path: [e1], med: 5, via: '10.0.0.9' } },
      { as: e1, a: { path: [e1], med: 6, via: '10.0.0.8' } },
    ],
    reason: 'med',
    why: 'MED 5 against 6, or a lower one from the same neighbouring AS',
  },
  {
    name: 'MED not between ASs: the metric decides',
    paths: [
      { as: e2, a: { path: [e2], med: 9, via: '10.0.0.3' } },
      { as: e1, a: { path: [e1], med: 5, via: '10.0.0.7' } },
    ],
    reason: 'igp-metric',
    why: 'metric of the next hop 3 against 7',
  },
  {
    name: 'MED between ASs when asked for',
    paths: [
      { as: e1, a: { path: [e1], med: 5, via: '10.0.0.7' } },
      { as: e2, a: { path: [e2], med: 9, via: '10.0.0.3' } },
    ],
    options: { alwaysCompareMed: true },
    reason: 'med',
    why: 'MED 5 against 9, or a lower one from the same neighbouring AS',
  },
  {
    name: 'no MED is the best',
    paths: [
      { as: e1, a: { path: [e1] } },
      { as: e1, a: { path: [e1], med: 1 } },
    ],
    reason: 'med',
    why: 'MED none against 1, or a lower one from the same neighbouring AS',
  },
  {
    name: 'no MED is the worst when asked for',
    paths: [
      { as: e1, a: { path: [e1], med: 0xffffffff } },
      { as: e1, a: { path: [e1] } },
    ],
    options: { missingMedWorst: true },
    reason: 'med',
    why: 'MED 4294967295 against none, or a lower one from the same neighbouring AS',
  },
  {
    // pairwise comparison goes round in circles here: a beats b by MED, b beats c by metric, c beats a by metric
    name: 'MED among three does not depend on the order (RFC 3345)',
    paths: [
      { as: e2, a: { path: [e2], med: 0, via: '10.0.0.5' } },
      { as: e1, a: { path: [e1], med: 1, via: '10.0.0.9' } },
      { as: e1, a: { path: [e1], med: 2, via: '10.0.0.3' } },
    ],
    reason: 'igp-metric',
    why: 'metric of the next hop 5 against 9',
  },
  {
    name: 'eBGP before iBGP, before the metric',
    paths: [
      { as: e1, a: { path: [e1], via: '10.0.0.9' } },
      { as: ownAs, a: { ...internal, path: [e2], via: '10.0.0.3' } },
    ],
    reason: 'ebgp-over-ibgp',
    why: 'eBGP against iBGP',
  },
  {
    name: 'router id',
    paths: [
      { as: e1, a: { path: [e1] } },
      { as: e2, a: { path: [e2] } },
    ],
    reason: 'router-id',
    why: 'router id 10.0.0.2 against 10.0.0.3',
  },
  {
    name: 'ORIGINATOR_ID stands for the router id',
    paths: [
      { as: ownAs, a: { ...internal, originatorId: number('10.0.0.9') } },
      { as: ownAs, a: { ...internal, originatorId: number('10.0.0.10') } },
    ],
    reason: 'router-id',
    why: 'router id 10.0.0.9 against 10.0.0.10',
  },
  {
    name: 'cluster list length',
    paths: [
      { as: ownAs, a: { ...internal, originatorId: 5, clusterList: [1] } },
      { as: ownAs, a: { ...internal, originatorId: 5, clusterList: [1, 2] } },
    ],
    reason: 'cluster-list-length',
    why: 'cluster list length 1 against 2',
  },
  {
    name: 'neighbour address',
    paths: [
      { as: ownAs, a: { ...internal, originatorId: 5, clusterList: [1] } },
      { as: ownAs, a: { ...internal, originatorId: 5, clusterList: [2] } },
    ],
    reason: 'peer-address',
    why: 'neighbour 10.0.0.2 against 10.0.0.3',
  },
];

function* orders<T>(list: readonly T[]): Generator<T[]> {
  if (list.length < 2) yield [...list];
  for (const [i, first] of list.entries()) {
    for (const rest of orders(list.filter((_, j) => j !== i))) if (list.length > 1) yield [first, ...rest];
  }
}

describe('the decision', () => {
  for (const c of cases) {
    test(c.name, () => {
      for (const order of orders(c.paths.map((_, i) => i))) {
        const bed = new TestBed({ resolver, ...(c.options && { decision: c.options }) });
        const ends = c.paths.map((given, i) => bed.peer(i + 2, given.as, given.config));
        for (const i of order) {
          ends[i]!.announce([p], attributes(c.paths[i]!.a));
          bed.work();
        }
        const [best] = [...bed.rib.routes({ prefix: p })][0]!.paths;
        expect([best!.peer, best!.state, best!.reason as string, best!.why], `order ${order.join(' ')}`).toEqual([
          ends[0]!.id,
          'best',
          c.reason,
          c.why,
        ]);
      }
    });
  }

  test('a route of our own beats what is learned, at equal local preference', () => {
    const bed = new TestBed();
    const a = bed.peer(2, ownAs);
    a.announce([p], attributes({ localPref: 100 }));
    bed.rib.announce({ prefix: p });
    bed.work();
    const paths = [...bed.rib.routes({ prefix: p })][0]!.paths;
    expect(paths.map((path) => [path.state, path.reason])).toEqual([
      ['best', 'local-route'],
      ['valid', 'local-route'],
    ]);
  });

  test('the older one stays when asked for, and only between eBGP paths', () => {
    for (const [preferOlder, winner] of [
      [true, 1],
      [false, 0],
    ] as const) {
      const bed = new TestBed({ decision: { preferOlder } });
      const ends = [bed.peer(2, e1), bed.peer(3, e2)];
      ends[1]!.announce([p], attributes({ path: [e2] }));
      bed.work();
      ends[0]!.announce([p], attributes({ path: [e1] }));
      bed.work();
      const [best] = [...bed.rib.routes({ prefix: p })][0]!.paths;
      expect([best!.peer, best!.reason]).toEqual([ends[winner]!.id, preferOlder ? 'older' : 'router-id']);
    }
  });

  test('multipath: equal through the metric, one neighbouring AS unless relaxed, bounded', () => {
    const states = (options: Partial<DecisionOptions>): string[] => {
      const bed = new TestBed({ resolver, decision: options });
      for (const [i, as, via] of [
        [2, e1, '10.0.0.5'],
        [3, e1, '10.0.0.5'],
        [4, e2, '10.0.0.5'],
        [5, e1, '10.0.0.6'],
      ] as const) {
        bed.peer(i, as).announce([p], attributes({ path: [as, 7], via }));
      }
      bed.work();
      return [...bed.rib.routes({ prefix: p })][0]!.paths.map((path) => path.state);
    };
    expect(states({})).toEqual(['best', 'valid', 'valid', 'valid']);
    expect(states({ multipathEbgp: 8 })).toEqual(['best', 'multipath', 'valid', 'valid']);
    expect(states({ multipathEbgp: 8, multipathRelax: true })).toEqual(['best', 'multipath', 'multipath', 'valid']);
    expect(states({ multipathEbgp: 2, multipathRelax: true })).toEqual(['best', 'multipath', 'valid', 'valid']);
  });
});
