// Calico's network in labs: the figures' addresses and route lines, who reaches whom, and agents killed under traffic.
import { afterAll, describe, expect, test } from 'bun:test';
import { leftovers, runCommand, TestLabs } from '../support/lab.ts';
import { have } from '../support/peers.ts';

interface Report {
  readonly ok: boolean;
  readonly nodes: { name: string; routes: { line: string; expected: boolean }[] }[];
  readonly pods: { name: string; address: string }[];
  readonly reachability: { passed: number; total: number };
  readonly problems: string[];
  readonly drill: { ok: boolean; sent: number; lost: number; steps: { step: string; problems: string[] }[] };
}

// `cali` and eleven digits of the SHA-1 of `lab.pod1` and the like
const [POD1, POD2] = ['10.233.1.2 dev cali062f9caaedf', '10.233.1.3 dev cali97e24f67537'];
const [POD3, POD4] = ['10.233.2.2 dev calibc30a7b2de4', '10.233.2.3 dev calic14bcdeac3f'];
const direct = (pod: string) => `${pod} proto 71 scope link`;
const FIGURE_PODS = { pod1: '10.233.1.2', pod2: '10.233.1.3', pod3: '10.233.2.2', pod4: '10.233.2.3' };

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

async function runScenario(labs: TestLabs, short: string, scenario: string): Promise<Report> {
  const name = labs.name(short);
  const { stdout } = await runCommand('lab', 'run', scenario, '--name', name, '--check', '--json');
  const report = JSON.parse(stdout) as Report;
  expect(report.problems).toEqual([]);
  expect(report.drill.steps.flatMap(({ step, problems }) => problems.map((p) => `${step}: ${p}`))).toEqual([]);
  expect(report.ok).toBe(true);
  expect(leftovers(name)).toEqual([]);
  return report;
}

describe.skipIf(!have('lab calico', 'ip'))('Calico’s network', () => {
  const labs = new TestLabs();
  afterAll(() => labs[Symbol.asyncDispose]());

  test.each(figures)('%s: the figure’s routes, addresses and reachability', async (scenario, pairs, tables) => {
    const report = await runScenario(labs, scenario.slice(7), scenario);
    for (const [name, lines] of Object.entries(tables)) {
      const node = report.nodes.find((candidate) => candidate.name === name);
      expect(node?.routes).toEqual(lines.map((line) => ({ line, expected: true })));
    }
    expect(Object.fromEntries(report.pods.map(({ name, address }) => [name, address]))).toMatchObject(FIGURE_PODS);
    expect(report.reachability).toMatchObject({ passed: pairs, total: pairs });
    expect(report.drill.lost).toBe(0);
    expect(report.drill.sent).toBeGreaterThan(100);
  });

  test.skipIf(!have('lab calico-bird', '/usr/sbin/bird', '/usr/sbin/birdc'))(
    'calico-bird: a node with BIRD in the mesh',
    async () => {
      const report = await runScenario(labs, 'bird', 'calico-bird');
      const linesOf = (node: string) => report.nodes.find(({ name }) => name === node)!.routes.map(({ line }) => line);
      expect(linesOf('node1')).toContain('10.233.9.0/26 via 192.168.1.4 dev eth0 proto 71');
      expect(linesOf('bird')).toContain('10.233.1.0/26 via 192.168.1.2 dev eth0 proto bird metric 32');
      expect(report.reachability).toMatchObject({ passed: 20, total: 20 });
      expect(report.drill.lost).toBe(0);
    },
  );

  test('route-reflector: twenty nodes, and a reflector killed without a packet lost', async () => {
    const report = await runScenario(labs, 'rr', 'route-reflector');
    expect(report.nodes).toHaveLength(22);
    const node1 = report.nodes.find(({ name }) => name === 'node1')!.routes.map(({ line }) => line);
    for (let n = 2; n <= 20; n++) expect(node1).toContain(`10.233.${n}.0/26 via 192.168.1.${n} dev eth0 proto 71`);
    expect(report.reachability).toMatchObject({ passed: 1722, total: 1722 });
    expect(report.drill.steps.map(({ step }) => step)).toEqual(['kill rr1', 'start rr1', 'restart rr2']);
    expect(report.drill.lost).toBe(0);
  });
});
