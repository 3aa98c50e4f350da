// A hundred collisions with GoBGP at once, fifty sessions over IPv4 and fifty over IPv6: it takes its time to dial again.
import { GoBgp, gobgpPrograms, testCollisions } from '../support/bgp/mod.ts';

testCollisions({
  who: 'GoBGP',
  programs: gobgpPrograms,
  count: 1,
  pairs: 50,
  start: (lan, name, spec) => GoBgp.start(lan, name, spec),
  end(gobgp) {
    for (const { address } of gobgp.spec.neighbors) gobgp.gobgp('neighbor', address, 'reset');
  },
});
