import { describe, expect, test } from 'bun:test';
import { diffConfig } from '../diff.ts';
import type { BgpConfig } from '../types.ts';
import { parseConfig } from './load.ts';

function config(text: string): BgpConfig {
  const parsed = parseConfig(text, (path) => (path === 'secret' ? 'from-file\n' : undefined));
  if (!parsed.ok) throw new Error(parsed.error.join('\n'));
  return parsed.value;
}
const faults = (text: string): readonly string[] => {
  const parsed = parseConfig(text);
  return parsed.ok ? [] : parsed.error;
};

const base = 'routerId: 10.0.0.1\nas: 65000\n';

describe('what may be written', () => {
  test('two lines make a speaker', () => {
    const c = config(base);
    expect(c).toMatchObject({ asn: 65000, clusterId: '10.0.0.1', ebgpRequiresPolicy: true, fib: { type: 'none' } });
    expect(c.listen).toEqual([
      { address: '0.0.0.0', port: 179 },
      { address: '::', port: 179 },
    ] as never);
  });

  test('groups, and the neighbour over its group', () => {
    const c = config(`${base}
groups:
  gateways: { as: external, import: accept, export: accept, passwordFile: secret, timers: { hold: 9, connectRetry: 5 } }
neighbors:
  - { address: 10.0.0.2, group: gateways, as: 64086.59904, timers: { hold: 30 } }
  - { address: fc00::2, group: gateways, families: { ipv6: { maxPrefix: 100 }, ipv4: }, extendedNextHop: true }
dynamic:
  - { range: 10.1.0.0/16, as: [65001, 65002], limit: 7, group: gateways }
`);
    const [first, second] = c.neighbors;
    expect(first).toMatchObject({ remoteAs: 4200000000, password: 'from-file', timers: { hold: 30, connectRetry: 5 } });
    expect(Object.keys(first!.families)).toEqual(['4']);
    expect(second).toMatchObject({ remoteAs: 'external', name: 'fc00::2', extendedNextHop: true });
    expect(second!.families[6]).toMatchObject({ import: 'accept', maxPrefix: { limit: 100, action: 'restart' } });
    expect(second!.families[4]).toMatchObject({ import: 'accept', nextHop: 'auto' });
    expect(c.dynamic[0]).toMatchObject({ remoteAs: [65001, 65002], limit: 7, timers: { hold: 9 } });
  });

  test('policies and prefix lists, named and in place', () => {
    const c = config(`${base}
prefixLists:
  pods: [10.244.0.0/16 le 26, deny 0.0.0.0/0]
policies:
  out:
    - { match: { prefixLists: [pods] }, set: { med: { add: 10 }, addCommunities: ['65000:1'] }, then: accept }
    - { match: { prefixes: [10.9.0.0/16 ge 24] }, then: accept }
`);
    expect(c.policies.map((p) => p.name)).toEqual(['accept', 'reject', 'out']);
    expect(c.policies[2]).toMatchObject({ default: 'reject', terms: [{ match: { prefixLists: ['pods'] } }, {}] });
    expect(c.prefixLists[0]!.rules).toEqual([
      { prefix: '10.244.0.0/16', permit: true, le: 26 },
      { prefix: '0.0.0.0/0', permit: false },
    ] as never);
    expect(c.prefixLists[1]).toMatchObject({ name: 'out[1]', rules: [{ ge: 24 }] });
  });
});

describe('errors say line, setting, value and what is allowed', () => {
  const cases: [string, string][] = [
    ['as: 65000', '1: routerId: is missing; allowed: a dotted IPv4 address that is not 0.0.0.0'],
    ['routerId: 10.0.0.1\nas: 0', '2: as: 0 is not; allowed: an AS number, 1 to 4294967295'],
    [`${base}neighbours: []`, '1: file: unknown setting "neighbours"; allowed: routerId, as, '],
    [
      `${base}neighbors:\n  - address: 10.0.0.2\n    as: 65001\n    timers: { hold: 2 }`,
      '6: neighbors[0].timers.hold: 2 is not; allowed: 0, or 3 to 65535 seconds',
    ],
    [`${base}neighbors: [{ address: 10.0.0.2 }]`, '3: neighbors[0]: has no setting "as"'],
    [
      `${base}neighbors: [{ address: 10.0.0.2, as: 1, import: no }]`,
      '3: neighbors[0].import: there is no policy "no"; allowed: accept, reject',
    ],
    [
      `${base}neighbors: [{ address: 10.0.0.2, as: 1 }, { address: 10.0.0.2, as: 1 }]`,
      '3: neighbors[1].address: is already neighbors[0]',
    ],
    [
      `${base}neighbors: [{ address: 10.0.0.2, as: 1, group: x }]`,
      '3: neighbors[0].group: there is no group "x"; allowed: none is defined',
    ],
    [
      `${base}neighbors: [{ address: 10.0.0.2, as: 1, tcpAo: x }]`,
      '3: neighbors[0].tcpAo: "x" is not; allowed: nothing: TCP-AO is not built; use password (TCP MD5)',
    ],
    [
      `${base}networks: [{ prefix: 10.0.0.0/8, nextHop: 127.0.0.1 }]`,
      '3: networks[0].nextHop: "127.0.0.1" is not; allowed: the address of a host',
    ],
    [
      `${base}policies: { p: [{ set: { nextHop: 'ff02::1' }, then: accept }] }`,
      '3: policies.p[0].set.nextHop: "ff02::1" is not; allowed: the address of a host',
    ],
    [`${base}networks: [10.0.0.1/8]`, '3: networks[0]: "10.0.0.1/8" is not; allowed: an IP prefix'],
    [
      `${base}dynamic: [{ range: 10.0.0.0/8, as: any }, { range: 10.1.0.0/16, as: any }]`,
      '3: dynamic[1].range: overlaps with dynamic[0]',
    ],
    [
      `${base}neighbors: [{ address: fe80::1%a, device: b, as: 1 }]`,
      '3: neighbors[0].device: is not the a of its address',
    ],
    [
      `${base}neighbors: [{ address: 10.0.0.1%a, as: 1 }]`,
      '3: neighbors[0].address: "10.0.0.1%a" is not; allowed: an IPv4',
    ],
    [
      `${base}neighbors: [{ address: fe80::1%a, as: 1 }, { address: fe80::1, device: a, as: 1 }]`,
      '3: neighbors[1].address: is already neighbors[0]',
    ],
    [
      `${base}neighbors: [{ address: fe80::1%a, as: 1 }, { address: fe80::1%b, as: 1, password: x }]`,
      '3: neighbors[1].password: has to be that of fe80::1%a, which has the same address',
    ],
    [
      `${base}dynamic: [{ range: 10.0.0.0/8, as: any, password: x }]\nneighbors: [{ address: 10.1.0.1, as: 1 }]`,
      '4: neighbors[0].address: is in the range 10.0.0.0/8, which has a password',
    ],
    [
      `${base}policies: { p: [{ match: { prefixLists: [x] }, then: accept }] }`,
      '3: policies.p[0].match.prefixLists: there is no prefix list "x"',
    ],
    [
      `${base}prefixLists: { p: [10.0.0.0/8 le 7] }`,
      '3: prefixLists.p[0]: "10.0.0.0/8 le 7" is not; allowed: [permit|deny] PREFIX',
    ],
    [`${base}as: 1`, '3: Map keys must be unique'],
    [`${base}neighbors: [`, '3: Flow sequence'],
  ];
  for (const [text, message] of cases) {
    test(message, () => {
      expect(faults(text).some((fault) => fault.startsWith(message)) || faults(text)).toBe(true);
    });
  }

  test('a password is never repeated', () => {
    const long = 'x'.repeat(81);
    const [fault] = faults(`${base}neighbors: [{ address: 10.0.0.2, as: 1, password: ${long} }]`);
    expect(fault).toStartWith('3: neighbors[0].password: allowed');
    expect(fault).not.toContain(long);
  });
});

describe('what a reload would do', () => {
  const file = (neighbor: string, rest = '') =>
    config(`${base}neighbors: [{ address: 10.0.0.2, as: 1, ${neighbor} }]\n${rest}`);
  const change = (a: string, b: string, restA = '', restB = restA) =>
    diffConfig(file(a, restA), file(b, restB)).neighbors.get('10.0.0.2');

  test('sessions are kept, softly changed, or reset', () => {
    expect(change('import: accept', 'import: accept')).toEqual({ what: 'unchanged' });
    expect(change('import: accept', 'import: reject')).toEqual({ what: 'soft', because: ['families'] });
    expect(change('weight: 1', 'timers: { connectRetry: 7 }')).toMatchObject({ what: 'soft' });
    expect(change('', 'timers: { hold: 30 }')).toEqual({ what: 'reset', because: ['timers.hold'] });
    expect(change('', 'families: [ipv4, ipv6]')).toEqual({ what: 'reset', because: ['families'] });
    expect(change('password: a', 'password: b')).toEqual({ what: 'reset', because: ['password'] });
  });

  test('a policy that changed concerns those who use it', () => {
    const p = (then: string) => `policies: { p: [{ then: ${then} }], q: [{ then: ${then} }] }`;
    expect(change('import: p', 'import: p', p('accept'), p('reject'))).toEqual({ what: 'soft', because: ['policy p'] });
    const l = (rule: string) =>
      `prefixLists: { l: [${rule}] }\npolicies: { p: [{ match: { prefixLists: [l] }, then: accept }] }`;
    expect(change('export: p', 'export: p', l('10.0.0.0/8'), l('10.0.0.0/9'))).toMatchObject({ what: 'soft' });
  });

  test('neighbours come and go, networks too', () => {
    const diff = diffConfig(
      config(`${base}neighbors: [{ address: 10.0.0.2, as: 1 }]\nnetworks: [10.1.0.0/16, 10.2.0.0/16]`),
      config(
        `${base}neighbors: [{ address: 10.0.0.3, as: 1 }]\nnetworks: [10.2.0.0/16, { prefix: 10.3.0.0/16, med: 5 }]`,
      ),
    );
    expect([...diff.neighbors]).toEqual([
      ['10.0.0.3', { what: 'added' }],
      ['10.0.0.2', { what: 'removed' }],
    ]);
    expect(diff.networks).toEqual({ added: ['10.3.0.0/16'], removed: ['10.1.0.0/16'], changed: [] });
  });
});
