import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { leftovers, runCommand, startCommand, TestLabs } from '../support/lab.ts';
import { run, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('lab host-gw', 'ip', 'ping', 'npm');
const root = join(import.meta.dir, '../..');

/** Node1's table as the figure of host-gw has it; 71 is the protocol number of our routes. */
const NODE1 = [
  '10.168.0.0/24 dev eth0 proto kernel scope link src 10.168.0.2',
  '10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1',
  '10.244.1.0/24 via 10.168.0.3 dev eth0 proto 71',
  '10.244.2.0/24 via 10.168.0.4 dev eth0 proto 71',
];

interface Report {
  readonly ok: boolean;
  readonly nodes: { name: string; routes: { line: string; expected: boolean }[] }[];
  readonly pods: { name: string; addresses: string[] }[];
  readonly reachability: {
    passed: number;
    total: number;
    pairs: { from: string; to: string; tcp: { seenAs: string } }[];
  };
  readonly problems: string[];
}

function expectFigure(report: Report): void {
  expect(report.problems).toEqual([]);
  expect(report.ok).toBe(true);
  expect(report.nodes[0]!.routes).toEqual(NODE1.map((line) => ({ line, expected: true })));
  const addresses = Object.fromEntries(report.pods.map(({ name, addresses: [address] }) => [name, address]));
  expect(addresses).toEqual({ pod1: '10.244.0.2', pod2: '10.244.1.2', pod3: '10.244.1.3', pod4: '10.244.2.2' });
  expect(report.reachability).toMatchObject({ passed: 42, total: 42 });
  const between = report.reachability.pairs.find(({ from, to }) => from === 'pod1' && to === 'pod4');
  expect(between?.tcp.seenAs).toBe('10.244.0.2');
}

describe.skipIf(!here)('host-gw', () => {
  const labs = new TestLabs();
  const name = labs.name('h');
  afterAll(() => labs[Symbol.asyncDispose]());

  test('npm run lab -- host-gw --check --json: one document on stdout, exit status 0, nothing left', async () => {
    const mine = labs.name('n');
    const command = ['npm', 'run', 'lab', '--', 'host-gw', '--check', '--json', '--name', mine];
    const child = Bun.spawn(command, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expectFigure(JSON.parse(stdout) as Report);
    expect(status).toBe(0);
    expect(stderr).toContain('pod4: 10.244.2.2 on node3');
    expect(leftovers(mine)).toEqual([]);
  });

  const processOf = (who: string): number => {
    const manifest = JSON.parse(readFileSync(`/run/godwit/lab/${name}/manifest.json`, 'utf8')) as {
      processes: Record<string, { pid: number }>;
    };
    return manifest.processes[who]!.pid;
  };

  describe('left running', () => {
    beforeAll(async () => {
      const up = await runCommand('lab', 'up', 'host-gw', '--name', name, '--detach');
      expect(up).toMatchObject({ status: 0, stdout: '' });
    });

    test('its check, and its routes as ip route has them', async () => {
      const { stdout } = await runCommand('lab', 'check', name, '--json');
      expectFigure(JSON.parse(stdout) as Report);
      const routes = await runCommand('lab', 'routes', 'node1', '--lab', name);
      expect(routes.stdout.trimEnd().split('\n')).toEqual(NODE1);
      const theirs = run('ip', '-n', `${name}-node1`, 'route').trimEnd().split('\n');
      expect(theirs.map((line) => line.trimEnd())).toEqual(NODE1);
    });

    test('a ping from a pod to a pod of another host, through lab exec', async () => {
      const ping = await runCommand(
        'lab',
        'exec',
        '--lab',
        name,
        'pod1',
        '--',
        'ping',
        '-c3',
        '-i0.1',
        '-W2',
        '10.244.1.3',
      );
      expect(ping.stdout).toContain(' 0% packet loss');
      expect(ping.stdout).toContain('ttl=62'); // two routers on the way, and nothing else
    });

    test('an agent that is gone is told, and changes nothing', async () => {
      process.kill(processOf('node2'), 'SIGKILL');
      const { stdout, status } = await runCommand('lab', 'check', name, '--json');
      expect(status).toBe(1);
      const report = JSON.parse(stdout) as Report;
      expect(report.problems).toEqual([expect.stringContaining('node2: its agent is gone')]);
      expectFigure({ ...report, ok: true, problems: [] });
    });

    test('one that the lab killed is no fault, and can be started again', async () => {
      expect(await runCommand('lab', 'start', 'node2', '--lab', name)).toMatchObject({ status: 0 });
      expect((await runCommand('lab', 'start', 'node2', '--lab', name)).stderr).toContain('node2 runs');
      expect(await runCommand('lab', 'kill', 'node2', '--lab', name)).toMatchObject({ status: 0 });
      const { stdout, status } = await runCommand('lab', 'check', name, '--json');
      expectFigure(JSON.parse(stdout) as Report);
      expect(status).toBe(0);
      expect((await runCommand('lab', 'kill', 'pod1', '--lab', name)).stderr).toContain('there is datastore, node1');
    });

    test('traffic counts what is lost', async () => {
      const whole = await runCommand('lab', 'traffic', 'pod1', 'pod4', '--seconds', '1', '--lab', name, '--json');
      expect(JSON.parse(whole.stdout)).toMatchObject({ from: 'pod1', to: 'pod4', lost: 0 });
      run('ip', '-n', `${name}-pod4`, 'link', 'set', 'eth0', 'down');
      const cut = await runCommand('lab', 'traffic', 'pod1', 'pod4', '--seconds', '1', '--lab', name, '--json');
      run('ip', '-n', `${name}-pod4`, 'link', 'set', 'eth0', 'up');
      run('ip', '-n', `${name}-pod4`, 'route', 'add', 'default', 'via', '10.244.2.1');
      const { sent, lost } = JSON.parse(cut.stdout) as { sent: number; lost: number };
      expect(lost).toBe(sent);
      expect(sent).toBeGreaterThan(10);
      expect(cut.status).toBe(1);
    });

    test('a route somebody deletes is back within the wait of the check', async () => {
      run('ip', '-n', `${name}-node1`, 'route', 'del', '10.244.1.0/24');
      const { stdout, status } = await runCommand('lab', 'check', name, '--json', '--wait', '10');
      expectFigure(JSON.parse(stdout) as Report);
      expect(status).toBe(0);
    });

    test('a wrong route is named as missing and stale, with the pairs that suffer', async () => {
      // node2's agent is dead, so nobody repairs this
      run('ip', '-n', `${name}-node2`, 'route', 'replace', '10.244.0.0/24', 'via', '10.168.0.4', 'proto', '71');
      const { stdout, status } = await runCommand('lab', 'check', name, '--json');
      expect(status).toBe(1);
      const { problems } = JSON.parse(stdout) as Report;
      expect(problems).toContain('node2: lacks route 10.244.0.0/24 via 10.168.0.2 dev eth0 proto 71');
      expect(problems).toContain('node2: has a stale route 10.244.0.0/24 via 10.168.0.4 dev eth0 proto 71');
    });

    test('a datastore that was killed is told, and changes no route', async () => {
      run('ip', '-n', `${name}-node2`, 'route', 'replace', '10.244.0.0/24', 'via', '10.168.0.2', 'proto', '71');
      process.kill(processOf('datastore'), 'SIGKILL');
      const { stdout, status } = await runCommand('lab', 'check', name, '--json');
      expect(status).toBe(1);
      const { problems, reachability } = JSON.parse(stdout) as Report;
      expect(problems).toEqual([
        expect.stringContaining('datastore: the datastore is gone'),
        expect.stringContaining('datastore: '),
      ]);
      expect(reachability.passed).toBe(42);
    });

    test('logs are those of the agent', async () => {
      const { stdout } = await runCommand('lab', 'logs', 'node1', '--lab', name);
      expect(stdout).toContain('the agent starts');
      const last = await runCommand('lab', 'logs', 'node1', '--lab', name, '--lines', '2');
      expect(stdout).toEndWith(last.stdout);
      expect(last.stdout.trimEnd().split('\n').length).toBe(2);
      const nobody = await runCommand('lab', 'logs', 'pod1', '--lab', name);
      expect(nobody.stderr).toContain('there is datastore, node1, node2, node3');
    });

    test('down takes agents, datastore and pods with it', async () => {
      expect(await runCommand('lab', 'down', name)).toMatchObject({ status: 0 });
      expect(leftovers(name)).toEqual([]);
    });
  });

  test('kill -9 while it comes up with its programs, then down', async () => {
    for (const at of ['  datastore:', ': godwit agent', ': ready', '  pod1:']) {
      const mine = labs.name(`k${at.replace(/[^a-z]/g, '').slice(0, 6)}`);
      const child = startCommand('lab', 'run', 'host-gw', '--name', mine);
      let seen = '';
      const decoder = new TextDecoder();
      for await (const chunk of child.stderr) {
        seen += decoder.decode(chunk);
        if (seen.includes(at)) break;
      }
      child.kill('SIGKILL');
      await child.exited;
      expect(leftovers(mine), seen).not.toEqual([]);
      expect(await runCommand('lab', 'down', mine)).toMatchObject({ status: 0 });
      expect(leftovers(mine)).toEqual([]);
    }
  });

  test('interrupted while it comes up: it is taken down before the command ends', async () => {
    const mine = labs.name('i');
    const child = startCommand('lab', 'run', 'host-gw', '--name', mine, '--json');
    const reader = child.stderr.getReader();
    let told = '';
    await until('agents are started', async () => {
      told += new TextDecoder().decode((await reader.read()).value);
      return told.includes('godwit agent');
    });
    reader.releaseLock();
    child.kill('SIGINT');
    expect(await child.exited).toBe(1);
    expect(JSON.parse(await child.stdout.text())).toMatchObject({ ok: false, error: { kind: 'interrupted' } });
    expect(leftovers(mine)).toEqual([]);
  });
});

describe.skipIf(!have('lab scenarios', 'ip', 'etcd'))('other scenarios', () => {
  const labs = new TestLabs();
  afterAll(() => labs[Symbol.asyncDispose]());

  test('routed: a machine outside reaches the pods through a router', async () => {
    const name = labs.name('r');
    const { stdout, status } = await runCommand('lab', 'run', 'routed', '--name', name, '--check', '--json');
    const report = JSON.parse(stdout) as Report;
    expect(report.problems).toEqual([]);
    expect(status).toBe(0);
    expect(report.pods.flatMap(({ addresses }) => addresses)).toEqual(['10.244.1.2', '10.244.2.20']);
    expect(leftovers(name)).toEqual([]);
  });

  test('with Debian’s etcd, and subnets nobody reserved', async () => {
    const name = labs.name('e');
    const file = labs.file(
      'etcd.yaml',
      `
datastore: etcd
addressing: { network: 10.99.0.0/16, subnetLength: 26 }
networks: { lan: { prefix: 10.1.0.0/24, mtu: 9000 } }
hosts:
  n1: { addresses: { lan: 10.1.0.1 } }
  n2: { addresses: { lan: 10.1.0.2 } }
pods: { p1: { host: n1 }, p2: { host: n2 } }
`,
    );
    const { stdout, status } = await runCommand('lab', 'run', file, '--name', name, '--check', '--json');
    const report = JSON.parse(stdout) as Report;
    expect(report.problems).toEqual([]);
    expect(status).toBe(0);
    for (const { addresses } of report.pods) expect(addresses).toEqual([expect.stringMatching(/^10\.99\./)]);
    expect(leftovers(name)).toEqual([]);
  });
});
