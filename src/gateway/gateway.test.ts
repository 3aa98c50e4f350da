// oxlint-disable unicorn/no-thenable -- `then` is the word for a policy term's verdict
import { describe, expect, test } from 'bun:test';
import { ip, prefix } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { joinPrefixes } from './aggregate.ts';
import type { AnnounceOptions } from './announce.ts';
import { parseGatewayConfig } from './config.ts';
import { FactTable } from './facts.ts';
import type { NodeFacts } from './facts.ts';
import { Guard } from './guard.ts';
import { Plan } from './plan.ts';
import { Claims } from './sources/claims.ts';
import { parseStatus } from './sources/status.ts';

const none = new Set<string>();
const options: AnnounceOptions = {
  ...{ within: [prefix('10.244.0.0/16')], exclude: none, drain: none, communities: [], med: undefined, aggregate: [] },
  ...{ notReady: 'exclude', withoutStatus: 'announce', cordoned: 'drain' },
};

/** Nodes `n1` … at 192.168.RACK.N with the /24 of their number. */
class Story {
  readonly facts = new FactTable();
  readonly plan: Plan;
  private readonly claims = new Claims();

  constructor(some: Partial<AnnounceOptions> = {}) {
    this.plan = new Plan(this.facts, { ...options, ...some });
  }

  node(n: number, more: Partial<NodeFacts> = {}, rack = 'a'): this {
    const addresses = { 4: ip(`192.168.${rack === 'a' ? 1 : 2}.${n + 10}`) };
    const facts = { addresses, labels: { rack }, cordoned: false, draining: false, ready: undefined, ...more };
    this.facts.node(`n${n}`, facts);
    return this;
  }

  owns(n: number, ...prefixes: string[]): this {
    this.claims.set(
      this.facts,
      `n${n}`,
      `n${n}`,
      prefixes.map((p) => prefix(p)),
    );
    return this;
  }

  /** `PREFIX via HOP`, with what is special. */
  get wanted(): string[] {
    this.plan.refresh();
    return [...this.plan.wanted]
      .map(([p, a]) => {
        const notes = [a.draining && 'draining', a.aggregate && a.node, a.covered && 'covered'].filter(Boolean);
        return [`${p} via ${a.nextHop}`, ...notes].join(', ');
      })
      .sort();
  }

  get reasons(): string[] {
    return this.plan.leftOut.map((l) => `${l.prefix} of ${l.node}: ${l.reason}`).sort();
  }
}

describe('announcements', () => {
  test('the owner is the next hop; what is not for the gateways is left out, and why', () => {
    const story = new Story({ exclude: new Set(['n2']), drain: new Set(['192.168.1.13']) });
    for (const n of [1, 2, 3]) story.node(n).owns(n, `10.244.${n}.0/24`);
    story.node(4).owns(4, '10.99.0.0/24', '0.0.0.0/0').owns(5, '10.244.5.0/24');
    story.node(6, { addresses: { 6: ip('fd00::6') } }).owns(6, '10.244.6.0/24');
    story
      .node(7)
      .owns(7, '10.244.7.0/24')
      .facts.setPools([], [prefix('10.244.7.0/24')]);
    story.node(8, { addresses: { 4: ip('0.0.0.0') } }).owns(8, '10.244.8.0/24');
    expect(story.wanted).toEqual(['10.244.1.0/24 via 192.168.1.11', '10.244.3.0/24 via 192.168.1.13, draining']);
    expect(story.reasons).toEqual([
      '0.0.0.0/0 of n4: it is larger than the prefixes in `within`',
      '10.244.2.0/24 of n2: its node is excluded',
      '10.244.5.0/24 of n5: its node is not known',
      '10.244.6.0/24 of n6: its node has no IPv4 address',
      '10.244.7.0/24 of n7: its pool 10.244.7.0/24 has disableBGPExport',
      '10.244.8.0/24 of n8: its node’s address, 0.0.0.0, is no host’s',
      '10.99.0.0/24 of n4: it is outside of `within`',
    ]);
  });

  test('two owners of one prefix: every announcer chooses the same, whatever came first; the other takes over', () => {
    for (const order of [
      [1, 2],
      [2, 1],
    ]) {
      const story = new Story();
      for (const n of order) story.node(n).owns(n, '10.244.1.0/24');
      expect(story.wanted).toEqual(['10.244.1.0/24 via 192.168.1.11']);
      expect(story.reasons).toEqual(['10.244.1.0/24 of n2: n1 owns the same prefix']);
      expect(story.owns(1).wanted).toEqual(['10.244.1.0/24 via 192.168.1.12']);
      expect(story.owns(2).wanted).toEqual([]);
      expect(story.reasons).toEqual([]);
    }
  });

  test('not ready, cordoned, draining, silent: each as the rules say; the agent’s word is worth more than the source’s', () => {
    const story = new Story();
    story.node(1, { ready: false }).owns(1, '10.244.1.0/24');
    story.node(2, { cordoned: true }).owns(2, '10.244.2.0/24');
    story.node(3, { draining: true, ready: true }).owns(3, '10.244.3.0/24');
    story.node(4).owns(4, '10.244.4.0/24');
    const usual = ['10.244.2.0/24 via 192.168.1.12, draining', '10.244.3.0/24 via 192.168.1.13, draining'];
    expect(story.wanted).toEqual([...usual, '10.244.4.0/24 via 192.168.1.14']);
    expect(story.reasons).toEqual(['10.244.1.0/24 of n1: its node is not ready']);
    story.facts.status('a', parseStatus('n1', '{"ready":true,"addresses":[]}'));
    story.facts.status(
      'b',
      parseStatus('other', '{"ready":false,"addresses":[{"family":4,"address":"192.168.1.14"}]}'),
    );
    expect(story.wanted).toEqual(['10.244.1.0/24 via 192.168.1.11', ...usual]);
    story.facts.status('b', undefined);
    story.facts.status('a', parseStatus('n1', 'nonsense'));
    expect(story.wanted).toEqual([...usual, '10.244.4.0/24 via 192.168.1.14']);
    const silent = new Story({ withoutStatus: 'exclude' }).node(1).owns(1, '10.244.1.0/24');
    expect(silent.wanted).toEqual([]);
    expect(silent.node(1, { ready: true }).wanted).toHaveLength(1);
  });

  test('a prefix that two objects claim for one node stays until the last of them is gone', () => {
    // Flannel's key of a lease holds all its subnets: with IPv6 added it is another one, and the old one runs out later
    const story = new Story().node(1);
    const claims = new Claims();
    const subnet = prefix('10.244.1.0/24');
    claims.set(story.facts, '10.244.1.0-24', 'n1', [subnet]);
    claims.set(story.facts, '10.244.1.0-24&fd00:1::-64', 'n1', [subnet, prefix('fd00:1::/64')]);
    claims.set(story.facts, '10.244.1.0-24', undefined, []);
    expect(story.wanted).toEqual(['10.244.1.0/24 via 192.168.1.11']);
    claims.set(story.facts, '10.244.1.0-24&fd00:1::-64', 'n1', []);
    expect(story.wanted).toEqual([]);
  });

  test('a node that has a new name keeps its agent’s word when the status under the old name runs out', () => {
    const story = new Story({ withoutStatus: 'exclude' }).node(1).owns(1, '10.244.1.0/24');
    const status = (name: string, ready: boolean) =>
      parseStatus(name, `{"ready":${ready},"addresses":[{"family":4,"address":"192.168.1.11"}]}`);
    story.facts.status('old', status('old', false));
    story.facts.status('new', status('new', true));
    expect(story.wanted).toHaveLength(1);
    story.facts.status('old', undefined);
    expect(story.wanted).toHaveLength(1);
    story.facts.status('new', undefined);
    expect(story.wanted).toEqual([]);
  });

  test('two nodes with one address: what the agent says there concerns both', () => {
    const story = new Story().node(1).owns(1, '10.244.1.0/24').node(2).owns(2, '10.244.2.0/24');
    story.node(2, { addresses: { 4: ip('192.168.1.11') } }).node(1, { labels: { rack: 'b' } });
    const status = (ready: boolean) =>
      parseStatus('x', `{"ready":${ready},"addresses":[{"family":4,"address":"192.168.1.11"}]}`);
    story.facts.status('x', status(true));
    expect(story.wanted).toHaveLength(2);
    story.facts.status('x', status(false));
    expect(story.wanted).toEqual([]);
  });

  test('a change concerns what it is about, and nothing else', () => {
    const story = new Story();
    for (const n of [1, 2, 3]) story.node(n).owns(n, `10.244.${n}.0/24`, `10.244.${n + 10}.0/24`);
    expect(story.plan.refresh().size).toBe(6);
    expect(story.plan.refresh().size).toBe(0);
    story.node(2, { addresses: { 4: ip('192.168.1.99') } });
    expect([...story.plan.refresh().keys()].sort()).toEqual([prefix('10.244.12.0/24'), prefix('10.244.2.0/24')]);
    story.node(2, { addresses: { 4: ip('192.168.1.99') }, labels: { new: 'label' } });
    expect(story.plan.refresh().size).toBe(0);
  });
});

describe('aggregates', () => {
  const gateways = new Map([
    ['a', [ip('192.168.1.1')]],
    ['b', [ip('192.168.2.1')]],
  ]);
  const byRack: Partial<AnnounceOptions> = { aggregate: [{ to: 'rack', label: 'rack', nextHops: gateways }] };

  test('prefixes are joined to the fewest that hold the same', () => {
    const joined = (...list: string[]) => joinPrefixes(list.map((p) => prefix(p))) as string[];
    expect(joined('10.0.0.0/26', '10.0.0.64/26', '10.0.0.128/25', '10.0.1.0/24', '10.0.3.0/24').sort()).toEqual([
      '10.0.0.0/23',
      '10.0.3.0/24',
    ]);
    expect(joined('10.0.0.64/26', '10.0.0.128/26', '10.0.0.70/32').sort()).toEqual(['10.0.0.128/26', '10.0.0.64/26']);
    expect(joined('fd00::/65', 'fd00::8000:0:0:0/65')).toEqual(['fd00::/64']);
    expect(joined('0.0.0.0/1', '128.0.0.0/1')).toEqual(['0.0.0.0/0']);
    expect(joined()).toEqual([]);
  });

  test('to the pool: one route as long as anything in it is owned', () => {
    const story = new Story({ aggregate: [{ to: 'pool', nextHops: [ip('192.168.1.1')] }] });
    story.node(1).owns(1, '10.244.1.0/24');
    const pool = '10.244.0.0/16 via 192.168.1.1, pool';
    expect(story.wanted).toEqual([pool, '10.244.1.0/24 via 192.168.1.11, covered']);
    expect(story.owns(1).wanted).toEqual([]);
    expect(story.owns(1, '10.244.9.0/24').wanted).toContain(pool);
  });

  test('per rack: a pool that is one rack’s alone is announced whole; then only what the rack has of it', () => {
    const story = new Story(byRack);
    story.node(1).node(2).owns(1, '10.244.2.0/24').owns(2, '10.244.3.0/24', '10.244.5.0/24');
    expect(story.wanted).toEqual([
      '10.244.0.0/16 via 192.168.1.1, rack a',
      '10.244.2.0/24 via 192.168.1.11, covered',
      '10.244.3.0/24 via 192.168.1.12, covered',
      '10.244.5.0/24 via 192.168.1.12, covered',
    ]);
    story.node(3, {}, 'b').owns(3, '10.244.4.0/24');
    const shared = [
      '10.244.2.0/23 via 192.168.1.1, rack a',
      '10.244.2.0/24 via 192.168.1.11, covered',
      '10.244.3.0/24 via 192.168.1.12, covered',
      '10.244.4.0/24 via 192.168.2.13',
      '10.244.5.0/24 via 192.168.1.12',
    ];
    expect(story.wanted).toEqual(shared);
    // a pool of its own for the other rack: what lies inside is not the first rack's concern any more
    story.facts.setPools([prefix('10.244.4.0/24')], []);
    story.owns(3, '10.244.4.0/26');
    expect(story.wanted).toEqual(
      [
        '10.244.0.0/16 via 192.168.1.1, rack a',
        ...shared.slice(1, 3),
        '10.244.4.0/24 via 192.168.2.1, rack b',
        '10.244.4.0/26 via 192.168.2.13, covered',
        '10.244.5.0/24 via 192.168.1.12, covered',
      ].sort(),
    );
    expect(story.owns(3).wanted).not.toContain('10.244.4.0/24 via 192.168.2.1, rack b');
  });

  test('a rack that no gateway is named for keeps its routes', () => {
    const story = new Story(byRack).node(1, { labels: { rack: 'c' } }).owns(1, '10.244.2.0/24', '10.244.3.0/24');
    expect(story.wanted).toHaveLength(2);
  });

  test('whatever happens in whatever order, the outcome is that of starting anew', () => {
    let seed = 7;
    const random = (n: number) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n;
    const story = new Story(byRack);
    const state = new Map<number, { rack: string; prefixes: string[] }>();
    const put = (to: Story, n: number) => {
      const { rack, prefixes } = state.get(n)!;
      to.node(n, {}, rack).owns(n, ...prefixes);
    };
    for (let step = 0; step < 400; step++) {
      const n = random(6);
      const prefixes = Array.from({ length: random(5) }, () => `10.244.${random(16)}.0/24`);
      state.set(n, { rack: random(3) === 0 ? 'b' : 'a', prefixes: [...new Set(prefixes)] });
      put(story, n);
      if (random(3) === 0) story.plan.refresh();
      if (step % 10 !== 0) continue;
      const fresh = new Story(byRack);
      for (const known of [...state.keys()].sort()) put(fresh, known);
      expect(story.wanted).toEqual(fresh.wanted);
    }
  });
});

describe('guard', () => {
  const limits = { minimumReady: 1, maxWithdrawPercent: 30, alwaysWithdraw: 2, windowMs: 60_000 };

  test('a few withdrawals pass, many do not; a small cluster may lose its nodes', () => {
    const guard = new Guard();
    expect(guard.allows(10, 3, limits, 0)).toBe(true);
    expect(guard.allows(10, 4, limits, 0)).toBe(false);
    expect(guard.allows(2, 2, limits, 0)).toBe(true);
  });

  test('many one by one are many; later they are few again', () => {
    const guard = new Guard();
    let announced = 10;
    const lose = (now: number) => {
      if (!guard.allows(announced, 1, limits, now)) return false;
      guard.withdrawn(prefix(`10.0.${announced}.0/24`), now);
      announced--;
      return true;
    };
    expect([1, 2, 3, 4].map((n) => lose(n * 100))).toEqual([true, true, true, false]);
    expect(lose(59_000)).toBe(false);
    expect(lose(60_500)).toBe(true);
    guard.announced(prefix('10.0.9.0/24'));
    expect(lose(60_600)).toBe(true);
  });
});

describe('configuration', () => {
  const base = 'announce: { within: [10.244.0.0/16] }\n';
  const problems = (text: string) => {
    const parsed = parseGatewayConfig(text);
    return parsed.ok ? [] : parsed.error;
  };

  test('gateways become neighbours that take nothing in and keep the node as next hop', () => {
    const parsed = parseGatewayConfig(`${base}
gateways:
  - { name: gw1, address: 192.168.1.1, as: 65001, segment: [192.168.1.0/24], communities: ['64512:1'], med: 5, multihop: 3 }
bgp: { routerId: 10.0.0.1, as: 64512, neighbors: [{ address: 10.0.0.2, as: internal }] }
`);
    if (!parsed.ok) throw new Error(parsed.error.join('\n'));
    const [gateway, other] = parsed.value.bgp.neighbors;
    expect(gateway).toMatchObject({
      ...{ name: 'gw1', remoteAs: 65001, multihop: 3 },
      families: { 4: { import: 'reject', export: 'gateway gw1', nextHop: 'unchanged' } },
    });
    expect(Object.keys(gateway!.families)).toEqual(['4']);
    expect(other!.families[4]).toMatchObject({ import: 'reject' });
    const policy = parsed.value.bgp.policies.find(({ name }) => name === 'gateway gw1');
    expect(policy).toMatchObject({
      terms: [
        { match: { nextHop: ['192.168.1.1/32' as Prefix] }, then: 'reject' },
        { match: { nextHop: ['192.168.1.0/24' as Prefix] }, set: { addCommunities: ['64512:1'], med: 5 } },
        { then: 'reject' },
      ],
    });
  });

  test('a setting of a family leaves the node the next hop, unless it says otherwise', () => {
    const parsed = parseGatewayConfig(`${base}
gateways:
  - { name: gw1, address: 192.168.1.1, as: 65001, families: { ipv4: { maxPrefix: 5 }, ipv6: { nextHop: self } } }
bgp: { routerId: 10.0.0.1, as: 64512 }
`);
    if (!parsed.ok) throw new Error(parsed.error.join('\n'));
    expect(parsed.value.bgp.neighbors[0]!.families).toMatchObject({
      4: { nextHop: 'unchanged' },
      6: { nextHop: 'self' },
    });
  });

  test('a gateway is not told to send to its own address of the other family either', () => {
    const parsed = parseGatewayConfig(`
announce:
  within: [10.244.0.0/16, fd00::/48]
  aggregate: [{ to: rack, label: rack, nextHop: { a: [192.168.1.1, fd01::1], b: [192.168.2.1, fd02::1] } }]
gateways: [{ name: gw1, address: 192.168.1.1, as: 65001, send: aggregates }]
bgp: { routerId: 10.0.0.1, as: 64512 }
`);
    if (!parsed.ok) throw new Error(parsed.error.join('\n'));
    const policy = parsed.value.bgp.policies.find(({ name }) => name === 'gateway gw1');
    expect(policy!.terms[0]).toMatchObject({
      match: { nextHop: ['192.168.1.1/32' as Prefix, 'fd01::1/128' as Prefix] },
      then: 'reject',
    });
  });

  test('mistakes are named where they are', () => {
    const bgp = 'bgp: { routerId: 10.0.0.1, as: 64512 }\n';
    expect(problems('announce: { within: [10.244.0.1/16] }\n' + bgp)[0]).toContain('announce.within.0');
    expect(problems(`${base}gateways: [{ name: a, address: 10.0.0.2 }]\n${bgp}`)[0]).toContain('gateways[0]');
    const own = 'bgp: { routerId: 10.0.0.1, as: 1, neighbors: [{ address: 10.0.0.3 }] }';
    expect(problems(`${base}gateways: [{ name: a, address: 10.0.0.2, as: 2 }]\n${own}`)[0]).toContain(
      'bgp.neighbors[0]',
    );
    expect(problems(`${base}bgp: { routerId: 10.0.0.1, as: 1, fib: kernel }`)).toEqual([
      'bgp.fib: an announcer writes no routes; leave it out',
    ]);
    const gateway = (settings: string) =>
      problems(`${base}gateways: [{ name: a, address: 10.0.0.2, as: 2, ${settings} }]\n${bgp}`);
    expect(gateway('communities: [some]')[0]).toStartWith('gateways.0.communities.0: "some" is no community');
    expect(problems(`announce: { within: [10.244.0.0/16], communities: [some] }\n${bgp}`)[0]).toStartWith(
      'announce.communities.0: "some" is no community',
    );
    expect(gateway('communities: [64512:*]')[0]).toStartWith('gateways.0.communities.0: ');
    expect(gateway('segment: []')[0]).toStartWith('gateways.0.segment: ');
    expect(gateway('med: 5000000000')[0]).toStartWith('gateways.0.med: ');
    expect(problems(`source: calic\n${base}${bgp}`)[0]).toStartWith('source: allowed: flannel, calico, kubernetes');
    const hops = 'aggregate: [{ to: pool, nextHop: [192.0.2.1, 192.0.2.2] }]';
    expect(problems(`announce: { within: [10.244.0.0/16], ${hops} }\n${bgp}`)[0]).toContain('one of each family');
    const nowhere = 'aggregate: [{ to: pool, nextHop: 0.0.0.0 }]';
    expect(problems(`announce: { within: [10.244.0.0/16], ${nowhere} }\n${bgp}`)[0]).toContain('address of a host');
    const [announce, file] = problems(`announce: 5\nas: 64512\n${bgp}`);
    expect(announce).toStartWith('announce: allowed: a mapping of within, exclude');
    expect(file).toBe('file: unknown setting "as"; allowed: source, announce, guard, stateFile, gateways, bgp');
  });
});
