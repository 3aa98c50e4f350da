// Labs with IPv6: beside IPv4, with tunnels of both families between subnets, and alone.
import { afterAll, describe, expect, test } from 'bun:test';
import { runCalico } from '../support/calico-lab.ts';
import type { Report } from '../support/calico-lab.ts';
import { leftovers, runCommand, TestLabs } from '../support/lab.ts';
import { run } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const linesOf = (report: Report, node: string): string[] =>
  report.nodes
    .find(({ name }) => name === node)!
    .routes.filter(({ expected }) => expected)
    .map(({ line }) => line);

describe.skipIf(!have('labs with IPv6', 'ip'))('IPv6', () => {
  const labs = new TestLabs();
  afterAll(() => labs[Symbol.asyncDispose]());

  test('calico-dual-stack: routes and pods of both families, and not a packet lost when agents are killed', async () => {
    const report = await runCalico(labs, 'dual', 'calico-dual-stack');
    expect(linesOf(report, 'node1')).toEqual([
      'default via 192.168.1.1 dev eth0 proto static',
      'blackhole 10.233.1.0/26 proto 71',
      '10.233.1.2 dev cali062f9caaedf proto 71 scope link',
      '10.233.1.3 dev cali97e24f67537 proto 71 scope link',
      '10.233.2.0/26 via 10.233.2.0 dev vxlan.calico proto 71 onlink',
      '10.233.3.0/26 via 192.168.1.3 dev eth0 proto 71 onlink',
      '192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.2',
      'fd00:10:233:1::2 dev cali062f9caaedf proto 71 metric 1024',
      'fd00:10:233:1::3 dev cali97e24f67537 proto 71 metric 1024',
      'blackhole fd00:10:233:1::/122 proto 71 metric 1024',
      'fd00:10:233:2::/122 via fd00:10:233:2:: dev vxlan-v6.calico proto 71 metric 1024 onlink',
      'fd00:10:233:3::/122 via fd00:192:168:1::3 dev eth0 proto 71 metric 1024 onlink',
      'fd00:192:168:1::/64 dev eth0 proto kernel metric 256',
      'default via fd00:192:168:1::1 dev eth0 proto static metric 1024',
    ]);
    expect(report.pods.find(({ name }) => name === 'pod3')!.addresses).toEqual(['10.233.2.2', 'fd00:10:233:2::2']);
    // seven ends, in each family every one with every other
    expect(report.reachability).toMatchObject({ passed: 84, total: 84 });
    expect(report.drill.lost).toBe(0);
    // each stream of the scenario in both families
    expect(report.drill.steps[0]!.traffic.map(({ address }) => address)).toEqual([
      ...['10.233.2.2', 'fd00:10:233:2::2'],
      ...['10.233.1.3', 'fd00:10:233:1::3'],
    ]);
  });

  test('calico-ipv6: nobody has an IPv4 address, and blocks come by BGP all the same', async () => {
    const report = await runCalico(labs, 'six', 'calico-ipv6');
    expect(linesOf(report, 'node2')).toEqual([
      'fd00:10:233:1::/122 via fd00:192:168:1::2 dev eth0 proto 71 metric 1024',
      'fd00:10:233:2::2 dev calibc30a7b2de4 proto 71 metric 1024',
      'fd00:10:233:2::3 dev calic14bcdeac3f proto 71 metric 1024',
      'blackhole fd00:10:233:2::/122 proto 71 metric 1024',
      'fd00:192:168:1::/64 dev eth0 proto kernel metric 256',
    ]);
    expect(report.reachability).toMatchObject({ passed: 30, total: 30 });
    expect(report.drill.lost).toBe(0);
  });

  test('what is wrong in one family is told of that one', async () => {
    const name = labs.name('w');
    const file = labs.file(
      'plain.yaml',
      `
mode: none
networks:
  left: { prefix: [10.1.0.0/24, 'fd01::/64'] }
  right: { prefix: [10.2.0.0/24, 'fd02::/64'] }
routers: { r: { addresses: { left: [10.1.0.1, 'fd01::1'], right: [10.2.0.1, 'fd02::1'] } } }
hosts:
  a: { addresses: { left: [10.1.0.2, 'fd01::2'] }, default: [10.1.0.1, 'fd01::1'] }
  b: { addresses: { right: ['fd02::2', 10.2.0.2] }, default: ['fd02::1', 10.2.0.1] }
`,
    );
    expect(await runCommand('lab', 'up', file, '--name', name, '--detach')).toMatchObject({ status: 0 });
    const whole = await runCommand('lab', 'check', name, '--json');
    expect(JSON.parse(whole.stdout)).toMatchObject({ ok: true, reachability: { passed: 4, total: 4 } });
    run('ip', '-n', `${name}-b`, '-6', 'route', 'del', 'default');
    const cut = await runCommand('lab', 'check', name, '--json');
    expect(cut.status).toBe(1);
    const { problems, reachability } = JSON.parse(cut.stdout) as Report;
    expect(reachability).toMatchObject({ passed: 2, total: 4 });
    expect(problems[0]).toBe('b: lacks route default via fd02::1 dev eth0 proto static metric 1024');
    expect(problems).toContainEqual(expect.stringContaining('a → b (IPv6): '));
    expect(problems).toContainEqual(expect.stringContaining('on the way back (b): b has no route to fd01::2'));
    expect((await runCommand('lab', 'check', name)).stdout).toContain('FAIL v6');
    expect(await runCommand('lab', 'down', name)).toMatchObject({ status: 0 });
    expect(leftovers(name)).toEqual([]);
  });
});
