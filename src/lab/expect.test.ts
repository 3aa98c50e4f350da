import { expect, test } from 'bun:test';
import { ip, prefix } from '../net/mod.ts';
import { iprouteLine, kernelRoute, RTNH_F, RTPROT } from '../netlink/mod.ts';
import { bundledScenarios } from './bundled.ts';
import { compareRoutes, expectedRoutes } from './expect.ts';
import type { ObservedNode } from './observe.ts';
import { readScenario } from './read.ts';

const read = readScenario('host-gw', bundledScenarios['host-gw']!);
if (!read.ok) throw read.error;
const topology = read.value;
const facts = { owned: new Map(topology.machines.map(({ name, subnet }) => [name, [subnet!]])), vteps: new Map() };

test('every other host’s subnet is a plain route via that host', () => {
  expect(expectedRoutes(topology, facts, topology.machines[0]!)).toEqual([
    '10.168.0.0/24 dev eth0 proto kernel scope link src 10.168.0.2',
    '10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1',
    '10.244.1.0/24 via 10.168.0.3 dev eth0 proto 71',
    '10.244.2.0/24 via 10.168.0.4 dev eth0 proto 71',
  ]);
});

test('what is missing and what is stale is told; what others own is not', () => {
  const route = (to: string, via: string, protocol: number) => {
    const value = kernelRoute({ destination: prefix(to), protocol, nextHops: [{ gateway: ip(via), index: 2 }] });
    return { route: value, line: iprouteLine(value, () => 'eth0') };
  };
  const bridge = kernelRoute({
    destination: prefix('10.244.0.0/24'),
    protocol: RTPROT.KERNEL,
    source: ip('10.244.0.1'),
    nextHops: [{ index: 3, flags: RTNH_F.LINKDOWN }],
  });
  const bridgeLine = iprouteLine(bridge, () => 'cni0');
  expect(bridgeLine).toBe('10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1 linkdown');
  const node: ObservedNode = {
    name: 'node1',
    forwards: [4],
    addresses: [],
    routes: [
      { route: bridge, line: bridgeLine },
      route('10.244.1.0/24', '10.168.0.3', 71),
      route('10.244.9.0/24', '10.168.0.9', 71),
      route('10.99.0.0/16', '10.168.0.9', RTPROT.STATIC),
    ],
  };
  expect(compareRoutes(expectedRoutes(topology, facts, topology.machines[0]!), node, topology.machines[0]!)).toEqual([
    { node: 'node1', problem: 'missing', line: '10.168.0.0/24 dev eth0 proto kernel scope link src 10.168.0.2' },
    { node: 'node1', problem: 'missing', line: '10.244.2.0/24 via 10.168.0.4 dev eth0 proto 71' },
    { node: 'node1', problem: 'stale', line: '10.244.9.0/24 via 10.168.0.9 dev eth0 proto 71' },
  ]);
});
