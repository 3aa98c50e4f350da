// A hundred collisions with BIRD: ten of it, a session over IPv4 and one over IPv6 with each, five rounds.
import { describe, expect, test } from 'bun:test';
import { Bird, birdPrograms, Star } from '../support/bgp/mod.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('BGP collisions with BIRD', '/usr/sbin/nft', '/usr/bin/ss', ...birdPrograms);

describe.skipIf(!here)('collisions with BIRD', () => {
  test('a hundred, with ten BIRDs', async () => {
    await using star = new Star(10);
    await star.start((lan, name, spec) => Bird.start(lan, name, spec));
    for (let round = 1; round <= 5; round++) {
      await star.collide((bird) => (bird as Bird).birdc('restart', '"n*"'));
    }
    for (let n = 2; n <= star.count + 1; n++) {
      await until(`the route of router ${n}`, () => star.hub.route(`10.${n}.0.0/24`), 20_000);
    }
    expect(star.collisions).toBe(100);
  }, 115_000);
});
