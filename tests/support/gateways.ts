/** The gateway scenarios, whatever runs on the gateways: routes, sessions, and the drill under traffic. */
import { afterAll, describe, expect, test } from 'bun:test';
import { leftovers, runCommand, TestLabs } from './lab.ts';
import { have } from './peers.ts';

/** A machine with much else to do takes long for a drill; the drill's own limits are what is tested. */
const PATIENCE_MS = 200_000;

interface Report {
  readonly ok: boolean;
  readonly nodes: { name: string; routes: { line: string }[]; table?: { command: string; text: string } }[];
  readonly reachability: { passed: number; total: number };
  readonly problems: string[];
  readonly drill: { ok: boolean; sent: number; lost: number; steps: { step: string; problems: string[] }[] };
}

/** Runs the scenario with its drill; nothing may be left of it. */
async function runScenario(labs: TestLabs, scenario: string): Promise<Report> {
  const name = labs.name(scenario.includes('dynamic') ? 'd' : 'g');
  const { stdout } = await runCommand('lab', 'run', scenario, '--name', name, '--check', '--json');
  const report = JSON.parse(stdout) as Report;
  expect(report.problems).toEqual([]);
  expect(report.drill.steps.flatMap(({ step, problems }) => problems.map((p) => `${step}: ${p}`))).toEqual([]);
  expect(leftovers(name)).toEqual([]);
  return report;
}

/** What `ip route` says at one of the nodes. */
const routesAt = (report: Report, node: string): string[] =>
  report.nodes.find(({ name }) => name === node)!.routes.map(({ line }) => line);

const STEPS = [
  ...['add node7', 'remove node6', 'kill announcer1', 'restart gw1', 'start announcer1', 'restart gw2'],
  'restart announcer2',
];

/** gw1's routes into the pod network, with the mark of the program that made them. */
const gatewayRoutes = (mark: string): string[] => [
  ...[1, 2, 3].map((n) => `10.244.${n}.0/24 via 192.168.1.1${n} dev eth0 ${mark}`),
  ...[4, 5, 6].map((n) => `10.244.${n}.0/24 via 172.31.0.2 dev eth1 ${mark}`),
];

const announcerVariants = [
  ['gateway-announcer', ['/usr/lib/frr/bgpd', '/usr/bin/vtysh'], 'proto bgp metric 20', 'show ip route'],
  ['gateway-announcer-bird', ['/usr/sbin/bird', '/usr/sbin/birdc'], 'proto bird metric 32', 'birdc show route'],
  ['gateway-announcer-godwit', [], 'proto bgp', 'godwit bgp show routes'],
] as const;

/** Way two: two racks, gateways told by two announcers. */
export function announcerSuite(wanted: (typeof announcerVariants)[number][0]): void {
  const [scenario, programs, mark, command] = announcerVariants.find(([name]) => name === wanted)!;
  describe(scenario, () => {
    const labs = new TestLabs();
    afterAll(() => labs[Symbol.asyncDispose]());

    test.skipIf(!have(`lab ${scenario}`, 'ip', ...programs))(
      'two racks reach each other without a tunnel, and nothing the drill does costs a packet',
      async () => {
        const report = await runScenario(labs, scenario);
        expect(report.ok).toBe(true);
        const [gw1] = report.nodes;
        const pods = routesAt(report, 'gw1').filter((line) => line.startsWith('10.244.'));
        expect(pods).toEqual(gatewayRoutes(mark));
        expect(gw1!.table?.command).toBe(command);
        for (const n of [1, 2, 3, 4, 5, 6]) expect(gw1!.table?.text).toContain(`10.244.${n}.0/24`);
        expect(routesAt(report, 'node1')).toEqual([
          'default via 192.168.1.1 dev eth0 proto static',
          '10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1',
          '10.244.2.0/24 via 192.168.1.12 dev eth0 proto 71',
          '10.244.3.0/24 via 192.168.1.13 dev eth0 proto 71',
          '192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.11',
        ]);
        expect(report.reachability).toMatchObject({ passed: 182, total: 182 });
        expect(report.drill.steps.map(({ step }) => step)).toEqual(STEPS);
        expect(report.drill.lost).toBe(0);
        expect(report.drill.sent).toBeGreaterThan(500);
      },
      PATIENCE_MS,
    );
  });
}

const neighborVariants = [
  ['gateway-dynamic-neighbors', ['/usr/lib/frr/bgpd', '/usr/bin/vtysh'], 'proto bgp metric 20'],
  ['gateway-dynamic-neighbors-bird', ['/usr/sbin/bird', '/usr/sbin/birdc'], 'proto bird metric 32'],
  ['gateway-dynamic-neighbors-godwit', [], 'proto bgp'],
] as const;

/** Way one: each node with its own gateway, which accepts a prefix of neighbours. */
export function neighborSuite(wanted: (typeof neighborVariants)[number][0]): void {
  const [scenario, programs, mark] = neighborVariants.find(([name]) => name === wanted)!;
  describe(scenario, () => {
    const labs = new TestLabs();
    afterAll(() => labs[Symbol.asyncDispose]());

    test.skipIf(!have(`lab ${scenario}`, 'ip', ...programs))(
      'every node peers with its own gateway, externally in one rack and internally in the other; the drill costs nothing',
      async () => {
        const report = await runScenario(labs, scenario);
        const linesOf = (node: string) =>
          routesAt(report, node).filter((line) => line.startsWith('10.233.') && !line.includes(' dev cali'));
        expect(linesOf('gw1')).toEqual([
          ...[1, 2, 3].map((n) => `10.233.${n}.0/26 via 192.168.1.1${n} dev eth0 ${mark}`),
          ...[4, 5, 6].map((n) => `10.233.${n}.0/26 via 172.31.0.2 dev eth1 ${mark}`),
        ]);
        expect(linesOf('node1')).toEqual([
          ...[2, 3].map((n) => `10.233.${n}.0/26 via 192.168.1.1${n} dev eth0 proto 71`),
          ...[4, 5, 6].map((n) => `10.233.${n}.0/26 via 192.168.1.1 dev eth0 proto 71`),
        ]);
        expect(linesOf('node4')).toEqual([
          ...[1, 2, 3].map((n) => `10.233.${n}.0/26 via 192.168.2.1 dev eth0 proto 71`),
          ...[5, 6].map((n) => `10.233.${n}.0/26 via 192.168.2.1${n - 3} dev eth0 proto 71`),
        ]);
        expect(report.reachability).toMatchObject({ passed: 132, total: 132 });
        expect(report.drill.lost).toBe(0);
      },
      PATIENCE_MS,
    );
  });
}
