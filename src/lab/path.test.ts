import { expect, test } from 'bun:test';
import { ip, prefix } from '../net/mod.ts';
import { iprouteLine, kernelRoute } from '../netlink/mod.ts';
import type { ObservedNode } from './observe.ts';
import { explain, walk } from './path.ts';

function node(name: string, address: string, routes: Record<string, string>, forwards = true): ObservedNode {
  return {
    name,
    forwards: forwards ? [4, 6] : [],
    addresses: address.split(' ').map((a) => ({ address: ip(a), prefixLength: 24, device: 'eth0' })),
    routes: Object.entries(routes).map(([to, via]) => {
      const nextHops = via === 'blackhole' ? [] : [via === '' ? { index: 1 } : { index: 1, gateway: ip(via) }];
      const route = kernelRoute({ destination: prefix(to), protocol: 4, nextHops });
      return { route, line: iprouteLine(route, () => 'eth0') };
    }),
  };
}

const pod1 = node('pod1', '10.244.0.2', { '10.244.0.0/24': '', '0.0.0.0/0': '10.244.0.1' }, false);
const pod2 = node('pod2', '10.244.1.2', { '10.244.1.0/24': '', '0.0.0.0/0': '10.244.1.1' }, false);
const routes1 = { '10.168.0.0/24': '', '10.244.0.0/24': '', '10.244.1.0/24': '10.168.0.3' };
const routes2 = { '10.168.0.0/24': '', '10.244.1.0/24': '', '10.244.0.0/24': '10.168.0.2' };
const node1 = node('node1', '10.168.0.2 10.244.0.1', routes1);
const node2 = node('node2', '10.168.0.3 10.244.1.1', routes2);
const [from, to] = [
  { name: 'pod1', address: ip('10.244.0.2') },
  { name: 'pod2', address: ip('10.244.1.2') },
];

const hosts = new Map([
  ['pod1', 'node1'],
  ['pod2', 'node2'],
]);

test('a whole way is walked through', () => {
  expect(walk([pod1, pod2, node1, node2], hosts, 'pod1', ip('10.244.1.2'))).toEqual({
    hops: ['pod1', 'node1', 'node2', 'pod2'],
  });
  expect(explain([pod1, pod2, node1, node2], hosts, from, to)).toContain(
    'routes are complete both ways (pod1 → node1 → node2 → pod2)',
  );
});

test.each([
  [
    'no route',
    [node('node1', '10.168.0.2 10.244.0.1', { '10.168.0.0/24': '' }), node2],
    'on the way there (pod1 → node1): node1 has no route to 10.244.1.2',
  ],
  [
    'no route back',
    [node1, node('node2', '10.168.0.3 10.244.1.1', { '10.168.0.0/24': '', '10.244.1.0/24': '' })],
    'on the way back (pod2 → node2): node2 has no route to 10.244.0.2',
  ],
  [
    'a gateway nobody has',
    [node('node1', '10.168.0.2 10.244.0.1', { '10.244.1.0/24': '10.168.0.9' }), node2],
    'node1 sends it to 10.168.0.9, which nobody has: 10.244.1.0/24 via 10.168.0.9 dev eth0',
  ],
  [
    'a blackhole, longer than the route',
    [node('node1', '10.168.0.2 10.244.0.1', { ...routes1, '10.244.1.2/32': 'blackhole' }), node2],
    'node1 drops it: blackhole 10.244.1.2',
  ],
  [
    'forwarding off',
    [node1, node('node2', '10.168.0.3 10.244.1.1', routes2, false)],
    'node2 does not forward (ip_forward is 0)',
  ],
  [
    'a loop',
    [node1, node('node2', '10.168.0.3 10.244.1.1', { '10.244.1.0/24': '10.168.0.2' })],
    'a loop: after 32 hops',
  ],
])('the hop at fault is named: %s', (_case, nodes, words) => {
  expect(explain([pod1, pod2, ...nodes], hosts, from, to)).toContain(words);
});

test('a pod’s link-local next hop is its own host, in either family', () => {
  const routed = node('pod1', '10.244.0.2 fd00::2', { '0.0.0.0/0': '169.254.1.1', '::/0': 'fe80::1' }, false);
  const [hop1, hop2] = [
    node('node1', '10.168.0.2 fd01::1', { ...routes1, 'fd00:1::/64': 'fd01::2' }),
    node('node2', '10.168.0.3 fd01::2', { ...routes2, 'fd00:1::/64': '' }),
  ];
  const far = node('pod2', '10.244.1.2 fd00:1::2', {}, false);
  for (const address of ['10.244.1.2', 'fd00:1::2']) {
    const way = walk([routed, far, hop1, hop2], hosts, 'pod1', ip(address));
    expect(way).toEqual({ hops: ['pod1', 'node1', 'node2', 'pod2'] });
  }
});
