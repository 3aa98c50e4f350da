// The limits of the kernel's table of neighbours, on the real kernel: raised as far as needed, and put back.
import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeRoom, putBack } from '../../src/lab/mod.ts';
import { claimed } from '../support/claim.ts';
import { have } from '../support/peers.ts';

const DIRECTORY = '/proc/sys/net/ipv6/neigh/default';
const directory = mkdtempSync(join(tmpdir(), 'godwit-neighbors-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const limits = () => [1, 2, 3].map((n) => Number(readFileSync(`${DIRECTORY}/gc_thresh${n}`, 'utf8')));

test.skipIf(!have('limits of neighbours', `${DIRECTORY}/gc_thresh3`))(
  'raised, raised again, and put back',
  async () => {
    // they are the machine's, and another run would put back what this one made of them
    using _ = await claimed('limits-of-neighbours');
    const file = join(directory, 'limits.json');
    const before = limits();
    const enough = before[2]!;
    const only6 = (entries: number) => (family: 4 | 6) => (family === 6 ? entries : 0);
    expect(makeRoom(file, only6(Math.floor(before[1]! / 2)))).toEqual({ made: [], refused: [] });
    const { made, refused } = makeRoom(file, only6(enough));
    expect(refused).toEqual([]);
    expect(made).toEqual([1, 2, 3].map((n) => `net.ipv6.neigh.default.gc_thresh${n}=${2 * enough}`));
    expect(limits()).toEqual([2 * enough, 2 * enough, 2 * enough]);
    makeRoom(file, only6(2 * enough));
    expect(limits()[2]).toBe(4 * enough);
    putBack(file);
    expect(limits()).toEqual(before);
    putBack(file);
    expect(limits()).toEqual(before);
  },
);
