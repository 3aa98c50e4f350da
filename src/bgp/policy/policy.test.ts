// oxlint-disable unicorn/no-thenable -- `then` is the word for a term's verdict, and a term is never awaited
import { describe, expect, test } from 'bun:test';
import { addressBytes, ip, prefix } from '../../net/mod.ts';
import type { Asn, IpAddress } from '../../net/mod.ts';
import type { PolicyRoute } from '../rib/mod.ts';
import type { PathAttributes } from '../wire/mod.ts';
import { compilePolicy, parseCommunity, permits } from './mod.ts';
import type { PolicyMatch, PolicySet, PolicyTerm, PrefixList } from './mod.ts';

const base: PathAttributes = {
  origin: 0,
  asPath: [{ type: 2, asns: [64512, 3356] }],
  nextHop: { address: addressBytes(ip('10.0.0.2')), linkLocal: undefined },
  med: 10,
  localPref: 100,
  atomicAggregate: false,
  aggregator: undefined,
  communities: [64512 * 65536 + 100, 0xffffff01],
  originatorId: undefined,
  clusterList: [],
  extendedCommunities: [0x0002fde8, 7],
  largeCommunities: [64512, 1, 2],
  unknown: [],
  partial: 0,
};

const route: PolicyRoute = {
  attributes: base,
  family: 4,
  prefix: prefix('10.1.2.0/24'),
  from: { name: 'a', address: ip('10.0.0.2'), asn: 64512 },
  source: 'ebgp',
};

const lists: PrefixList[] = [
  { name: 'pods', rules: [{ prefix: prefix('10.0.0.0/8'), ge: 16, le: 24, permit: true }] },
  { name: 'others', rules: [{ prefix: prefix('192.168.0.0/16'), permit: true }] },
];

const devicesOf = (nextHop: IpAddress) => (nextHop === '10.0.0.2' ? ['lo', 'eth0.1'] : []);

function policy(terms: PolicyTerm[], fallback: 'accept' | 'reject' = 'reject') {
  const compiled = compilePolicy({ name: 'p', terms, default: fallback }, lists, devicesOf);
  if (!compiled.ok) throw new Error(compiled.error);
  return compiled.value;
}

describe('matches', () => {
  const cases: [PolicyMatch, boolean][] = [
    [{}, true],
    [{ prefixLists: ['pods'] }, true],
    [{ prefixLists: ['others'] }, false],
    [{ prefixLists: ['others', 'pods'] }, true],
    [{ asPath: ['^64512 .*$'] }, true],
    [{ asPath: ['^1$', '3356$'] }, true],
    [{ asPath: ['^3356'] }, false],
    [{ asPathLength: { min: 2, max: 2 } }, true],
    [{ asPathLength: { min: 3 } }, false],
    [{ communities: ['64512:100'] }, true],
    [{ communities: ['64512:*'] }, true],
    [{ communities: ['*:100'] }, true],
    [{ communities: ['64512:101'] }, false],
    [{ communities: ['no-export'] }, true],
    [{ communities: ['no-advertise', '64512:100'] }, true],
    [{ allCommunities: ['no-advertise', '64512:100'] }, false],
    [{ allCommunities: ['no-export', '64512:100', 'rt:65000:7', '64512:1:*'] }, true],
    [{ extendedCommunities: ['rt:65000:7'] }, true],
    [{ extendedCommunities: ['rt:65000:*'] }, true],
    [{ extendedCommunities: ['rt:*:7'] }, true],
    [{ extendedCommunities: ['ro:65000:7'] }, false],
    [{ extendedCommunities: ['0x0002fde800000007'] }, true],
    [{ largeCommunities: ['64512:1:2'] }, true],
    [{ largeCommunities: ['64512:*:3'] }, false],
    [{ nextHop: [prefix('10.0.0.0/30')] }, true],
    [{ nextHop: [prefix('10.0.1.0/24'), prefix('::/0')] }, false],
    [{ interface: 'eth0.1' }, true],
    [{ interface: 'eth*' }, true],
    [{ interface: '*' }, true],
    [{ interface: '*.calico' }, false],
    [{ interface: 'eth0' }, false],
    [{ interface: 'eth0x1' }, false],
    [{ neighbors: [prefix('10.0.0.2/32')] }, true],
    [{ neighborAs: [1 as Asn] }, false],
    [{ source: ['ebgp', 'local'] }, true],
    [{ source: ['ibgp'] }, false],
    [{ origin: ['egp', 'incomplete'] }, false],
    [{ med: { min: 5, max: 10 } }, true],
    [{ localPref: { max: 99 } }, false],
    [{ family: 6 }, false],
    [{ family: 4, source: ['ebgp'], communities: ['no-export'], asPath: ['3356'] }, true],
    [{ family: 4, source: ['ebgp'], communities: ['no-export'], asPath: ['3357'] }, false],
  ];
  for (const [match, expected] of cases) {
    test(JSON.stringify(match), () => {
      expect(policy([{ match, then: 'accept' }]).apply(route).accept).toBe(expected);
    });
  }

  test('prefix lists: ge, le, neither, first match decides', () => {
    const list: PrefixList = {
      name: 'l',
      rules: [
        { prefix: prefix('10.5.0.0/16'), le: 32, permit: false },
        { prefix: prefix('10.0.0.0/8'), ge: 16, le: 24, permit: true },
        { prefix: prefix('172.16.0.0/12'), permit: true },
        { prefix: prefix('2001:db8::/32'), ge: 48, permit: true },
      ],
    };
    const permitted = (text: string) => permits(list, prefix(text));
    const yes = ['10.1.0.0/16', '10.1.2.0/24', '172.16.0.0/12', '2001:db8:1::/48', '2001:db8::1/128'];
    const no = [
      '10.0.0.0/8',
      '10.1.2.0/25',
      '10.5.1.0/24',
      '172.16.0.0/13',
      '2001:db8::/32',
      '11.0.0.0/16',
      '0.0.0.0/0',
    ];
    expect(yes.filter((p) => !permitted(p))).toEqual([]);
    expect(no.filter((p) => permitted(p))).toEqual([]);
  });

  test('a device is a matter of the next hop, and our own routes have none', () => {
    const named = policy([{ match: { interface: '*' }, then: 'accept' }]);
    const nextHop = { address: addressBytes(ip('10.0.0.3')), linkLocal: undefined };
    expect(named.apply({ ...route, attributes: { ...base, nextHop } }).accept).toBe(false);
    expect(named.apply({ ...route, source: 'local' }).accept).toBe(false);
  });
});

describe('changes', () => {
  const cases: [PolicySet, Partial<PathAttributes>][] = [
    [{ localPref: 200 }, { localPref: 200 }],
    [{ med: 5 }, { med: 5 }],
    [{ med: 'remove' }, { med: undefined }],
    [{ med: { add: 7 } }, { med: 17 }],
    [{ med: { add: -70 } }, { med: 0 }],
    [{ origin: 'egp' }, { origin: 1 }],
    [{ prepend: [1 as Asn, 2 as Asn] }, { asPath: [{ type: 2, asns: [1, 2, 64512, 3356] }] }],
    [{ nextHop: ip('10.9.9.9') }, { nextHop: { address: addressBytes(ip('10.9.9.9')), linkLocal: undefined } }],
    [
      { addCommunities: ['1:2', 'no-export', '1:2:3'] },
      { communities: [...base.communities, 65538], largeCommunities: [64512, 1, 2, 1, 2, 3] },
    ],
    [{ removeCommunities: ['64512:*', 'rt:*:*'] }, { communities: [0xffffff01], extendedCommunities: [] }],
    [{ setCommunities: ['1:2'] }, { communities: [65538], extendedCommunities: [], largeCommunities: [] }],
    [{ addCommunities: ['rt:10.0.0.1:5'] }, { extendedCommunities: [0x0002fde8, 7, 0x01020a00, 0x00010005] }],
    [{ addCommunities: ['ro:4200000000:5'] }, { extendedCommunities: [0x0002fde8, 7, 0x0203fa56, 0xea000005] }],
  ];
  for (const [set, changed] of cases) {
    test(JSON.stringify(set), () => {
      const verdict = policy([{ set, then: 'accept' }]).apply(route);
      expect(verdict).toEqual({ accept: true, attributes: { ...base, ...changed } });
    });
  }

  test('what is not changed is the same object', () => {
    const verdict = policy([{ match: { family: 4 }, set: { localPref: 100 }, then: 'accept' }]).apply(route);
    expect(verdict.accept && verdict.attributes).toBe(base);
  });
});

describe('terms', () => {
  test('continue changes and goes on; later terms see the change; the first verdict counts', () => {
    const p = policy([
      { set: { addCommunities: ['1:1'] }, then: 'continue' },
      { match: { communities: ['1:2'] }, then: 'reject' },
      { match: { communities: ['1:1'] }, set: { med: 1 }, then: 'accept' },
      { then: 'reject' },
    ]);
    const verdict = p.apply(route);
    expect(verdict).toMatchObject({ accept: true, attributes: { med: 1 } });
  });

  test('no match: the default', () => {
    const none: PolicyTerm = { match: { family: 6 }, then: 'accept' };
    expect(policy([none]).apply(route)).toEqual({ accept: false, reason: 'policy p, no term matched' });
    expect(policy([none], 'accept').apply(route).accept).toBe(true);
  });

  test('whether the prefix matters, and whether anything passes, is known beforehand', () => {
    expect(policy([{ match: { communities: ['1:1'] }, then: 'accept' }]).perPrefix).toBe(false);
    expect(policy([{ match: { prefixLists: ['pods'] }, then: 'accept' }]).perPrefix).toBe(true);
    expect(policy([]).rejectsAll).toBe(true);
    expect(policy([], 'accept').rejectsAll).toBe(false);
    expect(policy([{ match: { family: 6 }, then: 'accept' }]).rejectsAll).toBe(false);
  });
});

describe('faults say where and what', () => {
  for (const [term, fault] of [
    [{ match: { prefixLists: ['nope'] } }, 'policy p, term 1: there is no prefix list "nope"'],
    [{ match: { asPath: ['('] }, name: 'x' }, 'policy p, term x: AS path pattern "(": ")" is missing'],
    [{ set: { addCommunities: ['1:*'] } }, 'policy p, term 1: "1:*" has a wildcard, which only removal can have'],
    [{ match: { largeCommunities: ['1:2'] } }, 'policy p, term 1: "1:2" is not of the kind large'],
  ] as const) {
    test(fault, () => {
      const compiled = compilePolicy({ name: 'p', terms: [{ ...term, then: 'accept' }], default: 'reject' }, lists);
      expect(compiled).toEqual({ ok: false, error: fault });
    });
  }
  for (const text of ['1', '1:65536', '65536:1', 'rt:1', 'rt:70000:70000', '1:2:3:4', '0x123', 'x:1', '-1:2', '']) {
    test(`not a community: "${text}"`, () => expect(parseCommunity(text).ok).toBe(false));
  }
});
