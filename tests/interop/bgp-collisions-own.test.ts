// A hundred collisions between two of our own, a session over IPv4 and one over IPv6, and five pairs at a time.
import { collisionSettings, Godwit, testCollisions } from '../support/bgp/mod.ts';

testCollisions({
  who: 'our own',
  programs: [],
  count: 5,
  start: (lan, name, spec) => Godwit.start(lan, name, spec, collisionSettings),
  async end(godwit) {
    for (const { address } of godwit.spec.neighbors) await godwit.control.post('/clear', { neighbor: address });
  },
});
