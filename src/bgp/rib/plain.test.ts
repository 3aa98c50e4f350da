import { describe, expect, test } from 'bun:test';
import { Writer } from '../../base/mod.ts';
import { addressBytes, ip } from '../../net/mod.ts';
import { IPV4_UNICAST, RouteSource, decodeAttributes, encodeAttributes } from '../wire/mod.ts';
import type { PathAttributes } from '../wire/mod.ts';
import { attributes, context } from './fixtures.ts';
import { outbound } from './outbound.ts';
import type { ExportRules, RouteOrigin } from './outbound.ts';
import { PlainBlock } from './plain.ts';
import { plainOutbound, plainRules } from './plain-outbound.ts';

function random(seed: number): (below: number) => number {
  let x = seed;
  return (below) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
}

function randomAttributes(pick: (below: number) => number, external: boolean): PathAttributes {
  const list = (most: number, words: number): number[] =>
    pick(3) === 0 ? [] : Array.from({ length: words * (1 + pick(most)) }, () => pick(2 ** 32));
  const path = Array.from({ length: pick(10) === 0 ? 55 + pick(12) : pick(6) }, () => 1 + pick(2 ** 32 - 1));
  return attributes({
    path,
    via: `${1 + pick(100)}.1.1.1`,
    origin: pick(3) as 0 | 1 | 2,
    med: pick(2) ? pick(2 ** 32) : undefined,
    localPref: external || pick(5) === 0 ? undefined : pick(2 ** 32),
    atomicAggregate: pick(4) === 0,
    aggregator: pick(4) === 0 ? { asn: 1 + pick(2 ** 31), address: pick(2 ** 32) } : undefined,
    communities: list(5, 1),
    extendedCommunities: pick(4) === 0 ? list(3, 2) : [],
    largeCommunities: pick(4) === 0 ? list(3, 3) : [],
    originatorId: external || pick(2) ? undefined : pick(2 ** 32),
    clusterList: external ? [] : list(pick(20) === 0 ? 80 : 3, 1),
  });
}

const base: ExportRules = {
  family: 4,
  kind: 'ebgp',
  reflectorClient: false,
  context: context('external'),
  localAs: 65000,
  ownAs: 65000,
  localAsReplace: false,
  clusterId: 77,
  nextHop: 'auto',
  self: { address: addressBytes(ip('10.0.0.1')), linkLocal: undefined },
  sharedSubnet: undefined,
  removePrivateAs: undefined,
  strip: {},
  policy: undefined,
  defaultOriginate: false,
  drain: false,
};
const allRules: readonly Partial<ExportRules>[] = [
  {},
  { kind: 'ibgp' },
  { kind: 'ibgp', nextHop: 'self' },
  { nextHop: 'unchanged' },
  { localAs: 64999 },
  { localAs: 64999, localAsReplace: true },
  { sharedSubnet: { address: addressBytes(ip('48.0.0.0')), length: 4 } },
];

describe('plain blocks', () => {
  for (const external of [true, false]) {
    const from = context(external ? 'external' : 'internal');
    const origin: RouteOrigin = {
      kind: external ? 'ebgp' : 'ibgp',
      reflectorClient: true,
      routerId: 5,
      from: undefined,
    };

    test(`${origin.kind}: both ways out give the same octets`, () => {
      const pick = random(external ? 1 : 2);
      const block = new PlainBlock();
      const out = new Writer();
      const ways = { short: 0, long: 0 };
      for (let i = 0; i < 3000; i++) {
        const a = randomAttributes(pick, external);
        const { octets } = encodeAttributes(a, IPV4_UNICAST, from);
        const rules: ExportRules = { ...base, ...allRules[i % allRules.length] };
        expect(plainRules(rules)).toBe(true);
        const localPref = a.localPref ?? 100;
        out.reset();
        if (!block.scan(octets, 0, octets.length, external) || !plainOutbound(block, origin, rules, localPref, out)) {
          ways.long++;
          continue;
        }
        ways.short++;
        const long = outbound({ ...a, localPref }, origin, rules)!;
        expect(out.copy()).toEqual(
          encodeAttributes(long, IPV4_UNICAST, rules.context).octets as Uint8Array<ArrayBuffer>,
        );
      }
      expect(ways.short).toBeGreaterThan(2000);
      expect(ways.long).toBeGreaterThan(20);
    });

    test(`${origin.kind}: no fault is passed over, and nothing is read otherwise than the codec reads it`, () => {
      const pick = random(external ? 3 : 4);
      const block = new PlainBlock();
      let plain = 0;
      for (let i = 0; i < 20_000; i++) {
        const { octets } = encodeAttributes(randomAttributes(pick, external), IPV4_UNICAST, from);
        // what could be there from the message before must not matter
        const bytes = new Uint8Array(octets.length + 8).fill(pick(256));
        bytes.set(octets, 4);
        let end = 4 + octets.length;
        for (let k = pick(3); k > 0; k--) bytes[4 + pick(octets.length)] = pick(4) === 0 ? pick(256) : pick(40);
        if (pick(10) === 0) end -= pick(6);
        if (!block.scan(bytes, 4, end, external)) continue;
        plain++;
        const outcome = decodeAttributes(bytes, 4, end, RouteSource.Nlri, from);
        expect(outcome.treatment).toBe('ok');
        if (outcome.treatment !== 'ok') continue;
        const a = outcome.attributes;
        expect(encodeAttributes(a, IPV4_UNICAST, from).octets).toEqual(bytes.slice(4, end));
        expect(a.asPath.flatMap((s) => s.asns)).toEqual(
          Array.from({ length: block.pathLength }, (_, j) => block.asn(j)),
        );
        expect([block.number(4), block.number(5), block.number(9)]).toEqual([
          a.med ?? -1,
          a.localPref ?? -1,
          a.originatorId ?? -1,
        ]);
      }
      expect(plain).toBeGreaterThan(5000);
    });
  }

  test('rules that need the attributes themselves', () => {
    const policy = { name: 'p', perPrefix: false, apply: () => ({ accept: false, reason: '' }) as const };
    for (const rules of [
      { policy },
      { removePrivateAs: 'all' },
      { strip: { large: true } },
      { drain: true },
      { family: 6 },
      { context: context('external', { fourOctetAs: false }) },
    ] as const) {
      expect(plainRules({ ...base, ...rules })).toBe(false);
    }
    expect(plainRules({ ...base, policy: { ...policy, acceptsAll: true } })).toBe(true);
  });
});
