// A hundred collisions with FRR: five of it, a session over IPv4 and one over IPv6 with each, ten rounds.
import { describe, expect, test } from 'bun:test';
import { Frr, frrPrograms, Star } from '../support/bgp/mod.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('BGP collisions with FRR', '/usr/sbin/nft', '/usr/bin/ss', ...frrPrograms);

describe.skipIf(!here)('collisions with FRR', () => {
  test('a hundred, with five FRRs', async () => {
    await using star = new Star(5);
    await star.start((lan, name, spec) => Frr.start(lan, name, spec));
    for (let round = 1; round <= 10; round++) {
      await star.collide((frr) => (frr as Frr).vtysh('bgpd', 'clear bgp *'));
    }
    for (let n = 2; n <= star.count + 1; n++) {
      await until(`the route of router ${n}`, () => star.hub.route(`10.${n}.0.0/24`), 20_000);
    }
    expect(star.collisions).toBe(100);
  }, 115_000);
});
