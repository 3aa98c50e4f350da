// A hundred collisions with BIRD: ten of it, a session over IPv4 and one over IPv6 with each, five rounds.
import { Bird, birdPrograms, testCollisions } from '../support/bgp/mod.ts';

testCollisions({
  who: 'BIRD',
  programs: birdPrograms,
  count: 10,
  start: (lan, name, spec) => Bird.start(lan, name, spec),
  end: (bird) => bird.birdc('restart', '"n*"'),
});
