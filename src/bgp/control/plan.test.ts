import { expect, test } from 'bun:test';
import { ip } from '../../net/mod.ts';
import { diffConfig } from '../config/mod.ts';
import { config, Pair } from './fixtures.ts';
import { planRoutes } from './plan.ts';

const policies = 'policies: { small: [{ match: { prefixes: [0.0.0.0/0 ge 20] }, then: accept }] }\n';

for (const [name, neighbor] of [
  ['listed', 'neighbors: [{ address: 10.0.0.2, as: 65002, passive: true'],
  ['of a range', 'dynamic: [{ range: 10.0.0.0/24, as: external'],
] as const) {
  test(`routes that another import policy would take from a neighbour that is ${name}`, async () => {
    using pair = new Pair(
      `${policies}${neighbor}, import: accept }]`,
      'networks: [10.1.0.0/16, 10.1.2.0/24]\nneighbors: [{ address: 10.0.0.1, as: 65001 }]',
    );
    const { one } = pair;
    const received = () => {
      const peer = one.peers.get(ip('10.0.0.2'));
      return peer ? one.rib.counters(peer.id, 4).received : 0;
    };
    await pair.until(() => received() === 2);
    const next = config(1, `${policies}${neighbor}, import: small }]`);
    expect(await planRoutes(one, next, diffConfig(one.config, next))).toEqual([
      { neighbor: '10.0.0.2', accepted: 2, wouldAccept: 1 },
    ]);
    expect(await planRoutes(one, one.config, diffConfig(one.config, one.config))).toEqual([]);
  });
}
