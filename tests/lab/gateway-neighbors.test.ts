// Way one with real FRR, BIRD and `godwit bgp` on the gateways: a prefix of neighbours, inside and outside their AS.
import { afterAll, describe, expect, test } from 'bun:test';
import { leftovers, runCommand, TestLabs } from '../support/lab.ts';
import { have } from '../support/peers.ts';

interface Report {
  readonly nodes: { name: string; routes: { line: string }[] }[];
  readonly reachability: { passed: number; total: number };
  readonly problems: string[];
  readonly drill: { lost: number; steps: { step: string; problems: string[] }[] };
}

const dynamic = [
  ['gateway-dynamic-neighbors', ['/usr/lib/frr/bgpd', '/usr/bin/vtysh'], 'proto bgp metric 20'],
  ['gateway-dynamic-neighbors-bird', ['/usr/sbin/bird', '/usr/sbin/birdc'], 'proto bird metric 32'],
  ['gateway-dynamic-neighbors-godwit', [], 'proto bgp'],
] as const;

describe.each(dynamic)('%s', (scenario, programs, mark) => {
  const labs = new TestLabs();
  afterAll(() => labs[Symbol.asyncDispose]());

  test.skipIf(!have(`lab ${scenario}`, 'ip', ...programs))(
    'every node peers with its own gateway, externally in one rack and internally in the other',
    async () => {
      const name = labs.name('d');
      const { stdout } = await runCommand('lab', 'run', scenario, '--name', name, '--check', '--json');
      const report = JSON.parse(stdout) as Report;
      expect(report.problems).toEqual([]);
      expect(report.drill.steps.flatMap(({ step, problems }) => problems.map((p) => `${step}: ${p}`))).toEqual([]);
      const linesOf = (node: string) =>
        report.nodes
          .find((candidate) => candidate.name === node)!
          .routes.map(({ line }) => line)
          .filter((line) => line.startsWith('10.233.') && !line.includes(' dev cali'));
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
      if (!scenario.endsWith('neighbors')) expect(report.drill.lost).toBe(0);
      expect(leftovers(name)).toEqual([]);
    },
  );
});
