// Calico's network in labs: the figures' addresses and route lines, who reaches whom, and agents killed under traffic.
import { afterAll, describe, expect, test } from 'bun:test';
import { runCalico } from '../support/calico-lab.ts';
import { TestLabs } from '../support/lab.ts';
import { have } from '../support/peers.ts';

// `cali` and eleven digits of the SHA-1 of `lab.pod1` and the like
const [POD1, POD2] = ['10.233.1.2 dev cali062f9caaedf', '10.233.1.3 dev cali97e24f67537'];
const [POD3, POD4] = ['10.233.2.2 dev calibc30a7b2de4', '10.233.2.3 dev calic14bcdeac3f'];
const direct = (pod: string) => `${pod} proto 71 scope link`;
const FIGURE_PODS = { pod1: ['10.233.1.2'], pod2: ['10.233.1.3'], pod3: ['10.233.2.2'], pod4: ['10.233.2.3'] };

/** The figure of IPIP and VXLAN, but for the route to the other subnet's block. */
const node1Across = (across: string, beside: string): string[] => [
  'default via 192.168.1.1 dev eth0 proto static',
  'blackhole 10.233.1.0/26 proto 71',
  direct(POD1),
  direct(POD2),
  across,
  beside,
  '192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.2',
];

/** Routers of the figures know their own wires and each other's subnet, and no pod. */
const ROUTER1 = [
  '172.31.0.0/24 dev eth1 proto kernel scope link src 172.31.0.1',
  '192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.1',
  '192.168.2.0/24 via 172.31.0.2 dev eth1 proto static',
];

const figures: [scenario: string, pairs: number, tables: Record<string, string[]>][] = [
  [
    'calico-bgp',
    30,
    {
      node1: [
        'blackhole 10.233.1.0/26 proto 71',
        direct(POD1),
        direct(POD2),
        '10.233.2.0/26 via 192.168.1.3 dev eth0 proto 71',
        '192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.2',
      ],
      node2: [
        '10.233.1.0/26 via 192.168.1.2 dev eth0 proto 71',
        'blackhole 10.233.2.0/26 proto 71',
        direct(POD3),
        direct(POD4),
        '192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.3',
      ],
    },
  ],
  [
    'calico-ipip',
    56,
    {
      router1: ROUTER1,
      node1: node1Across(
        '10.233.2.0/26 via 192.168.2.2 dev tunl0 proto 71 onlink',
        '10.233.3.0/26 via 192.168.1.3 dev eth0 proto 71',
      ),
      node2: [
        'default via 192.168.2.1 dev eth0 proto static',
        '10.233.1.0/26 via 192.168.1.2 dev tunl0 proto 71 onlink',
        'blackhole 10.233.2.0/26 proto 71',
        direct(POD3),
        direct(POD4),
        '10.233.3.0/26 via 192.168.1.3 dev tunl0 proto 71 onlink',
        '192.168.2.0/24 dev eth0 proto kernel scope link src 192.168.2.2',
      ],
    },
  ],
  [
    'calico-vxlan',
    56,
    {
      router1: ROUTER1,
      node1: node1Across(
        '10.233.2.0/26 via 10.233.2.0 dev vxlan.calico proto 71 onlink',
        '10.233.3.0/26 via 192.168.1.3 dev eth0 proto 71 onlink',
      ),
    },
  ],
];

describe.skipIf(!have('lab calico', 'ip'))('Calico’s network', () => {
  const labs = new TestLabs();
  afterAll(() => labs[Symbol.asyncDispose]());

  test.each(figures)('%s: the figure’s routes, addresses and reachability', async (scenario, pairs, tables) => {
    const report = await runCalico(labs, scenario.slice(7), scenario);
    for (const [name, lines] of Object.entries(tables)) {
      const node = report.nodes.find((candidate) => candidate.name === name);
      expect(node?.routes).toEqual(lines.map((line) => ({ line, expected: true })));
    }
    expect(Object.fromEntries(report.pods.map(({ name, addresses }) => [name, addresses]))).toMatchObject(FIGURE_PODS);
    expect(report.reachability).toMatchObject({ passed: pairs, total: pairs });
    expect(report.drill.lost).toBe(0);
    expect(report.drill.sent).toBeGreaterThan(100);
  });

  test.skipIf(!have('lab calico-bird', '/usr/sbin/bird', '/usr/sbin/birdc'))(
    'calico-bird: a node with BIRD in the mesh',
    async () => {
      const report = await runCalico(labs, 'bird', 'calico-bird');
      const linesOf = (node: string) => report.nodes.find(({ name }) => name === node)!.routes.map(({ line }) => line);
      expect(linesOf('node1')).toContain('10.233.9.0/26 via 192.168.1.4 dev eth0 proto 71');
      expect(linesOf('bird')).toContain('10.233.1.0/26 via 192.168.1.2 dev eth0 proto bird metric 32');
      expect(report.reachability).toMatchObject({ passed: 20, total: 20 });
      expect(report.drill.lost).toBe(0);
    },
  );
});
