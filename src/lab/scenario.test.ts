import { expect, test } from 'bun:test';
import { bundledScenarios } from './bundled.ts';
import { formatInterfaceAddress } from '../net/mod.ts';
import { readScenario } from './read.ts';
import type { Machine } from './topology.ts';

const faultsOf = (text: string): string[] => {
  const read = readScenario('mine.yaml', text);
  if (read.ok) throw new Error('it was accepted');
  return read.error.message
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
};

test.each(Object.entries(bundledScenarios))('%s, which comes with the program, is usable', (name, text) => {
  const read = readScenario(name, text);
  expect(read.ok && read.value.name).toBe(name);
  expect(read.ok && read.value.description).not.toBe('');
});

test('the example of docs/lab.md is usable', async () => {
  const page = await Bun.file(`${import.meta.dir}/../../docs/lab.md`).text();
  const example = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
  const read = readScenario('docs/lab.md', example);
  expect(read.ok || read.error.message).toBe(true);
});

test('interfaces, routes and roles follow from the file', () => {
  const read = readScenario('dir/My Net.yaml', bundledScenarios['routed']!.replace('name: routed', ''));
  if (!read.ok) throw read.error;
  expect(read.value.name).toBe('my-net');
  const [router, node1, , outside] = read.value.machines;
  expect(router).toMatchObject({ name: 'router', role: 'router', agent: false });
  expect(
    router!.interfaces.map((i) => `${i.name} ${i.addresses.map(formatInterfaceAddress).join()} ${i.segment.name}`),
  ).toEqual(['eth0 192.168.1.1/24 left', 'eth1 192.168.2.1/24 right']);
  expect(node1).toMatchObject({ role: 'host', agent: true, subnet: '10.244.1.0/24' });
  expect(outside).toMatchObject({ agent: false, routes: [{ to: '0.0.0.0/0', via: '192.168.2.1' }] });
});

test('faults of shape name line, path, value and what is allowed', () => {
  expect(
    faultsOf(
      [
        'mode: hostgw',
        'datastor: embedded',
        'networks:',
        '  lan: { prefix: 192.168.1.1/24, mtu: 12 }',
        '  Big: { prefix: 10.0.0.0/8 }',
        'hosts:',
        '  a: { addresses: { lan: 1.2.3 } }',
        '  b:',
        'pods: [1]',
      ].join('\n'),
    ),
  ).toEqual([
    'line 1: mode: "hostgw" is not allowed; wanted: host-gw or calico or none',
    'line 2: datastor: "embedded" is not allowed; wanted: one of the keys name, description, mode, datastore, addressing, networks, routers, hosts, pods, resources, announcers, traffic, drill',
    'line 4: networks.lan.prefix: "192.168.1.1/24" is not allowed; wanted: a prefix such as 10.168.0.0/24, or a list of one for IPv4 and one for IPv6',
    'line 4: networks.lan.mtu: 12 is not allowed; wanted: a whole number from 576 to 65535',
    'line 5: networks.Big: {"prefix":"10.0.0.0/8"} is not allowed; wanted: a name of 1 to 15 lower-case letters, digits and inner hyphens that starts with a letter',
    'line 7: hosts.a.addresses.lan: "1.2.3" is not allowed; wanted: an IP address, or a list of one for IPv4 and one for IPv6',
    'line 8: hosts.b: null is not allowed; wanted: a mapping with addresses, default, routes, agent, subnet, blocks, bgp, later, expect',
    'line 9: pods: [1] is not allowed; wanted: a mapping of names',
  ]);
});

const small = (hosts: string, rest = '') =>
  `addressing: { network: 10.244.0.0/16 }\nnetworks: { lan: { prefix: 10.168.0.0/24 } }\nhosts: ${hosts}\n${rest}`;

test.each([
  ['{ a: { addresses: { lan: 10.168.0.0 } } }', '', 'a host address of 10.168.0.0/24'],
  ['{ a: { addresses: { lan: 10.168.0.255 } } }', '', 'a host address of 10.168.0.0/24'],
  ['{ a: { addresses: { lan: 10.168.0.2 } }, b: { addresses: { lan: 10.168.0.2 } } }', '', 'another one: a has it'],
  ['{ a: { addresses: { wan: 10.168.0.2 } } }', '', 'an address on one of the networks lan'],
  ['{ a: { addresses: { lan: 10.168.0.2 }, default: 10.9.0.1 } }', '', 'a neighbour on one of its networks'],
  ['{ a: { addresses: { lan: 10.168.0.2 }, subnet: 10.245.0.0/24 } }', '', 'a /24 of 10.244.0.0/16'],
  ['{ a: { addresses: { lan: 10.168.0.2 }, agent: false } }', '', 'at least one host with an agent in mode host-gw'],
  ['{ a: { addresses: { lan: 10.168.0.2 } } }', 'pods: { p: { host: b } }', 'a host with an agent: a'],
  ['{ a: { addresses: { lan: 10.168.0.2 } } }', 'pods: { a: { host: a } }', 'another name: hosts.a has it'],
  ['{ lan: { addresses: { lan: 10.168.0.2 } } }', '', 'another name: networks.lan has it'],
  ['{ datastore: { addresses: { lan: 10.168.0.2 } } }', '', 'another name: the datastore’s own namespace has it'],
  [
    '{ a: { addresses: { lan: 10.168.0.2 } } }',
    'pods: { p: { host: a, address: 10.244.0.9 } }',
    'hosts.a.subnet as well',
  ],
  [
    '{ a: { addresses: { lan: 10.168.0.2 }, subnet: 10.244.7.0/24 } }',
    'pods: { p: { host: a, address: 10.244.7.1 } }',
    'a pod address of 10.244.7.0/24, from 10.244.7.2 on',
  ],
  [
    `{ ${[2, 3, 4, 5, 6].map((n) => `h${n}: { addresses: { lan: 10.168.0.${n} } }`).join(', ')} }`,
    '#tight',
    'long enough for 5 hosts: 10.244.0.0/16 has too few subnets',
  ],
  ['{ a: { addresses: { lan: 10.168.0.2 } } }', 'mode: none', 'false: mode none has no agents'],
])('what does not fit together is refused: %s %s', (hosts, rest, wanted) => {
  const file = rest === '#tight' ? small(hosts).replace('/16', '/16, subnetLength: 18') : undefined;
  const text =
    file ??
    (wanted.startsWith('false:') ? small(hosts.replace(' } }', ' }, agent: true }'), rest) : small(hosts, rest));
  expect(faultsOf(text).join('\n')).toContain(wanted);
});

const dual = (host: string, rest = '') =>
  `mode: none\nnetworks: { lan: { prefix: ['fd00::/64', 10.0.0.0/24]${rest} } }\nhosts: { a: ${host} }`;

test('two families: IPv4 first, a default route of each', () => {
  const read = readScenario(
    'x.yaml',
    dual("{ addresses: { lan: ['fd00::2', 10.0.0.2] }, default: ['fd00::1', 10.0.0.1] }"),
  );
  if (!read.ok) throw read.error;
  const [{ interfaces, routes }] = read.value.machines as [Machine];
  expect(interfaces[0]!.addresses.map(formatInterfaceAddress)).toEqual(['10.0.0.2/24', 'fd00::2/64']);
  expect(routes.map(({ to, via }) => `${to} ${via}`)).toEqual(['0.0.0.0/0 10.0.0.1', '::/0 fd00::1']);
});

test.each([
  ["{ addresses: { lan: ['fd00::2', 'fd00::3'] } }", '', 'an IP address, or a list of one for IPv4 and one for IPv6'],
  ["{ addresses: { lan: 'fd00::' } }", '', 'a host address of 10.0.0.0/24 or fd00::/64'],
  ["{ addresses: { lan: 10.0.0.2 }, routes: [{ to: '::/0', via: 10.0.0.1 }] }", '', 'an IPv6 address'],
  ["{ addresses: { lan: 'fd00::2' } }", ', mtu: 1000', '1280 at least'],
  ["{ addresses: { lan: 'fd00::2' }, bgp: { program: bird, as: 1 } }", '', 'an IPv4 address first'],
])('two families that do not fit: %s %s', (host, rest, wanted) => {
  expect(faultsOf(dual(host, rest)).join('\n')).toContain(wanted);
});

test('in mode host-gw a host has an IPv4 address', () => {
  const text = small("{ a: { addresses: { lan: 'fd00::2' } } }").replace(
    '10.168.0.0/24',
    "[10.168.0.0/24, 'fd00::/64']",
  );
  expect(faultsOf(text).join('\n')).toContain('an IPv4 address first');
});

test('a range of hosts and pods stands for each of them', () => {
  const text = small('{ "n[2-4]": { addresses: { lan: 10.168.0.# } } }', 'pods: { "p[2-3]": { host: n# } }');
  const read = readScenario('mine.yaml', text);
  if (!read.ok) throw read.error;
  expect(read.value.machines.map(({ name, interfaces }) => `${name} ${interfaces[0]!.addresses[0]!.address}`)).toEqual([
    'n2 10.168.0.2',
    'n3 10.168.0.3',
    'n4 10.168.0.4',
  ]);
  expect(read.value.pods.map(({ name, host }) => `${name} ${host}`)).toEqual(['p2 n2', 'p3 n3']);
  expect(faultsOf(text.replace('2-4', '4-2')).join('\n')).toContain('a name of 1 to 15');
});

test('machines that come later, programs and drills are looked at together', () => {
  const text = small(
    '{ a: { addresses: { lan: 10.168.0.2 } }, b: { addresses: { lan: 10.168.0.3 }, bgp: { program: bird } } }',
    'announcers: { x: { host: a, as: 1, gateways: [a] } }\ndrill: [{ kill: c }, { add: a, remove: b }]\ntraffic: [{ from: a, to: a }]',
  );
  const faults = faultsOf(text.replace(', { add: a, remove: b }', '')).join('\n');
  expect(faults).toContain(
    'hosts.b.bgp: {"program":"bird"} is not allowed; wanted: an AS number (as), or a configuration',
  );
  expect(faults).toContain('announcers.x.gateways.0: "a" is not allowed; wanted: a machine with bgp: b');
  expect(faults).toContain('drill.0.kill: "c" is not allowed; wanted: one of a, b, x, datastore');
  expect(faults).toContain('traffic.0.to: "a" is not allowed; wanted: another one than it comes from');
  expect(faultsOf(text)).toEqual([expect.stringContaining('wanted: one of kill, start, restart, add, remove')]);
});

test.each([
  '',
  'a: [',
  '\u0000\u0001',
  '[]',
  '*x',
  `a: &a [*a, *a]`,
  '__proto__: { mode: none }',
  'networks: { __proto__: {} }',
])('garbage is refused, not thrown: %j', (text) => {
  const read = readScenario('mine.yaml', text);
  expect(read.ok).toBe(false);
  // oxlint-disable-next-line no-control-regex -- none may reach a terminal
  if (!read.ok) expect(read.error.message.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f]/);
});
