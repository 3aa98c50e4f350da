// A hundred collisions with OpenBGPD: ten of it, a session over IPv4 and one over IPv6 with each, five rounds.
import { OpenBgpd, openbgpdPrograms, testCollisions } from '../support/bgp/mod.ts';

testCollisions({
  who: 'OpenBGPD',
  programs: openbgpdPrograms,
  count: 10,
  start: (lan, name, spec) => OpenBgpd.start(lan, name, spec),
  end(openbgpd) {
    for (const { address } of openbgpd.spec.neighbors) openbgpd.bgpctl('neighbor', address, 'clear');
  },
});
