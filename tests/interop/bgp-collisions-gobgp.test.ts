// A hundred collisions with GoBGP at once, fifty sessions over IPv4 and fifty over IPv6: it takes its time to dial again.
import { describe, expect, test } from 'bun:test';
import { GoBgp, gobgpPrograms, Star } from '../support/bgp/mod.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('BGP collisions with GoBGP', '/usr/sbin/nft', '/usr/bin/ss', ...gobgpPrograms);

describe.skipIf(!here)('collisions with GoBGP', () => {
  test('a hundred at once', async () => {
    await using star = new Star(1, 50);
    await star.start((lan, name, spec) => GoBgp.start(lan, name, spec));
    await star.collide((gobgp) => {
      for (const { address } of gobgp.spec.neighbors) (gobgp as GoBgp).gobgp('neighbor', address, 'reset');
    });
    await until('its route', () => star.hub.route('10.2.0.0/24'), 20_000);
    expect(star.collisions).toBe(100);
  }, 115_000);
});
