// A hundred collisions between two of our own, a session over IPv4 and one over IPv6, and five pairs at a time.
import { describe, expect, test } from 'bun:test';
import { collisionSettings, Godwit, type Router, Star } from '../support/bgp/mod.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('BGP collisions with our own', '/usr/sbin/nft', '/usr/bin/ss');

async function clear(router: Router): Promise<void> {
  for (const { address } of router.spec.neighbors) {
    await (router as Godwit).control.post('/clear', { neighbor: address });
  }
}

describe.skipIf(!here)('collisions with our own', () => {
  test('a hundred, with five of our own', async () => {
    await using star = new Star(5);
    await star.start((lan, name, spec) => Godwit.start(lan, name, spec, collisionSettings));
    for (let round = 1; round <= 10; round++) {
      await star.collide(clear);
    }
    for (let n = 2; n <= star.count + 1; n++) {
      await until(`the route of router ${n}`, () => star.hub.route(`10.${n}.0.0/24`), 20_000);
    }
    expect(star.collisions).toBe(100);
  }, 115_000);
});
