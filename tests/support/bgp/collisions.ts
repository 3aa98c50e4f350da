/** The frame of the suites `tests/interop/bgp-collisions-*`: what differs is who it is, and how its sessions are ended. */
import { describe, expect, test } from 'bun:test';
import { until } from '../netns.ts';
import { have } from '../peers.ts';
import type { Lan } from './lan.ts';
import type { Router, RouterSpec } from './spec.ts';
import { Star } from './star.ts';

export interface Collisions<Peer extends Router> {
  /** Who the hub collides with. */
  readonly who: string;
  readonly programs: readonly string[];
  /** How many of them there are, and the sessions with each over either IP version (one unless said otherwise). */
  readonly count: number;
  readonly pairs?: number;
  readonly start: (lan: Lan, name: string, spec: RouterSpec) => Promise<Peer>;
  /** Ends all sessions of one of them so that it dials again. */
  readonly end: (peer: Peer) => unknown;
}

const WANTED = 100;
/** A minute or two, more on a machine that is busy with other suites. */
const LONGEST_MS = 240_000;

/** A hundred collisions, in as many rounds as it takes. */
export function testCollisions<Peer extends Router>({ who, programs, count, pairs = 1, start, end }: Collisions<Peer>) {
  const here = have(`BGP collisions with ${who}`, '/usr/sbin/nft', '/usr/bin/ss', ...programs);
  const rounds = WANTED / (count * pairs * 2);
  describe.skipIf(!here)(`collisions with ${who}`, () => {
    test(
      `a hundred, ${2 * count * pairs} at a time`,
      async () => {
        await using star = new Star<Peer>(count, pairs);
        await star.start(start);
        for (let round = 1; round <= rounds; round++) await star.collide(end);
        for (let n = 2; n <= star.count + 1; n++) {
          await until(`the route of router ${n}`, () => star.hub.route(`10.${n}.0.0/24`), 20_000);
        }
        expect(star.collisions).toBe(WANTED);
      },
      LONGEST_MS,
    );
  });
}
