// A hundred collisions with FRR: five of it, a session over IPv4 and one over IPv6 with each, ten rounds.
import { Frr, frrPrograms, testCollisions } from '../support/bgp/mod.ts';

testCollisions({
  who: 'FRR',
  programs: frrPrograms,
  count: 5,
  start: (lan, name, spec) => Frr.start(lan, name, spec),
  end: (frr) => frr.vtysh('bgpd', 'clear bgp *'),
});
