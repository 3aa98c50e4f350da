import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { leftovers, runCommand, startCommand, TestLabs } from '../support/lab.ts';
import { run, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('lab without agents', 'ip', 'ping');

// Two segments and a router: what the lab wires itself, without a datastore or an agent.
const scenario = `
mode: none
networks:
  left: { prefix: 192.168.1.0/24, mtu: 1400 }
  right: { prefix: 192.168.2.0/24 }
routers:
  router: { addresses: { left: 192.168.1.1, right: 192.168.2.1 } }
hosts:
  a: { addresses: { left: 192.168.1.11 }, default: 192.168.1.1 }
  b: { addresses: { left: 192.168.1.12 }, routes: [{ to: 192.168.2.0/24, via: 192.168.1.1 }] }
  c: { addresses: { right: 192.168.2.9 }, default: 192.168.2.1 }
`;

describe.skipIf(!here)('a lab of two segments and a router', () => {
  const labs = new TestLabs();
  const name = labs.name('s');
  const file = labs.file('mine.yaml', scenario);

  beforeAll(async () => {
    const up = await runCommand('lab', 'up', file, '--name', name, '--detach');
    expect(up).toMatchObject({ status: 0, stdout: '' });
    expect(up.stderr).toContain(`${name} is up`);
  });
  afterAll(() => labs[Symbol.asyncDispose]());

  test('its check finds every pair, and prints one document', async () => {
    const { status, stdout } = await runCommand('lab', 'check', name, '--json');
    const report = JSON.parse(stdout) as Record<string, unknown>;
    expect(report).toMatchObject({ lab: name, ok: true, problems: [], reachability: { passed: 6, total: 6 } });
    expect(status).toBe(0);
    const yaml = await runCommand('lab', 'check', name, '-o', 'yaml');
    expect(yaml.stdout).toContain(`lab: ${name}\n`);
  });

  test('routes are shown exactly as ip route shows them', async () => {
    for (const node of ['a', 'b', 'c', 'router']) {
      const ours = await runCommand('lab', 'routes', node, '--lab', name);
      const theirs = run('ip', '-n', `${name}-${node}`, 'route');
      expect(ours.stdout.trimEnd().split('\n')).toEqual(
        theirs
          .trimEnd()
          .split('\n')
          .map((line) => line.trimEnd()),
      );
    }
    const all = await runCommand('lab', 'routes', '--lab', name, '--json');
    expect((JSON.parse(all.stdout) as { node: string }[]).map(({ node }) => node)).toEqual(['router', 'a', 'b', 'c']);
  });

  test('exec runs inside, with the command’s own options, and passes its status on', async () => {
    const ping = await runCommand('lab', 'exec', '--lab', name, 'a', '--', 'ping', '-c1', '-W2', '192.168.2.9');
    expect(ping.stdout).toContain(' 0% packet loss');
    expect(ping.status).toBe(0);
    expect((await runCommand('lab', 'exec', '--lab', name, 'c', '--', 'sh', '-c', 'exit 7')).status).toBe(7);
    expect((await runCommand('lab', 'exec', '--lab', name, 'c', '--', 'sh', '-c', 'kill -9 $$')).status).toBe(137);
    const link = await runCommand('lab', 'exec', '--lab', name, 'a', '--', 'ip', 'link', 'show', 'eth0');
    expect(link.stdout).toContain('mtu 1400');
    const plain = await runCommand('lab', 'exec', 'a', '--lab', name, 'echo', '-n', 'x');
    expect(plain.stdout).toBe('');
    expect((await runCommand('lab', 'exec', '-l', name, 'a', 'echo', '-n', '--json')).stdout).toBe('--json');
    const nobody = await runCommand('lab', 'exec', '--lab', name, 'd', '--', 'true');
    expect(nobody).toMatchObject({ status: 1, stdout: '' });
    expect(nobody.stderr).toContain('there is router, a, b, c');
    expect((await runCommand('lab', 'exec', '--lab', name, 'a', '--', 'no-such')).stderr).toContain(
      'no such command: no-such',
    );
  });

  test('a route that is gone is named, and the hop that lacks it', async () => {
    run('ip', '-n', `${name}-b`, 'route', 'del', '192.168.2.0/24');
    const { status, stdout } = await runCommand('lab', 'check', name, '--json');
    expect(status).toBe(1);
    const { problems, reachability } = JSON.parse(stdout) as { problems: string[]; reachability: { passed: number } };
    expect(reachability.passed).toBe(4);
    expect(problems).toEqual([
      'b: lacks route 192.168.2.0/24 via 192.168.1.1 dev eth0 proto static',
      'b → c: ICMP: ENETUNREACH, TCP: ENETUNREACH; on the way there (b): b has no route to 192.168.2.9',
      'c → b: ICMP: no reply, TCP: no answer; on the way back (b): b has no route to 192.168.2.9',
    ]);
    const table = await runCommand('lab', 'check', name);
    expect(table.stdout).toContain('missing: 192.168.2.0/24 via 192.168.1.1 dev eth0 proto static');
    expect(table.stdout).toContain(`${name}: NOT OK, 4 of 6 pairs`);
    run('ip', '-n', `${name}-b`, 'route', 'add', '192.168.2.0/24', 'via', '192.168.1.1', 'proto', 'static');
    expect((await runCommand('lab', 'check', name)).status).toBe(0);
  });

  test('a blackhole on the way back is named', async () => {
    run('ip', '-n', `${name}-c`, 'route', 'add', 'blackhole', '192.168.1.11/32');
    const { stdout } = await runCommand('lab', 'check', name, '--json');
    expect((JSON.parse(stdout) as { problems: string[] }).problems.join('\n')).toContain(
      'c drops it: blackhole 192.168.1.11',
    );
    run('ip', '-n', `${name}-c`, 'route', 'del', 'blackhole', '192.168.1.11/32');
  });

  test('a second one of the name is refused, with what to do', async () => {
    const again = await runCommand('lab', 'up', file, '--name', name, '--detach');
    expect(again.status).toBe(1);
    expect(again.stderr).toContain(`the lab ${name} is already up`);
    expect(again.stderr).toContain(`godwit lab down ${name}`);
    expect((await runCommand('lab', 'check', name)).status).toBe(0);
  });

  test('list shows it; down takes everything, also a command that runs inside', async () => {
    const { stdout } = await runCommand('lab', 'list', '--json');
    const mine = (JSON.parse(stdout) as { name: string }[]).find((lab) => lab.name === name);
    expect(mine).toMatchObject({ name, scenario: file, state: 'up', hosts: 3, pods: 0 });
    const stubborn = startCommand(
      'lab',
      'exec',
      '--lab',
      name,
      'a',
      '--',
      'sh',
      '-c',
      'trap "" TERM; echo in; while :; do sleep 0.1; done',
    );
    await stubborn.stdout.getReader().read();
    expect(await runCommand('lab', 'down', name, '--now')).toMatchObject({ status: 0 });
    expect(await stubborn.exited).toBe(137);
    expect(leftovers(name)).toEqual([]);
    const again = await runCommand('lab', 'down', name);
    expect(again.status).toBe(1);
    expect(again.stderr).toContain(`no lab ${name} is up`);
  });
});

describe.skipIf(!here)('a lab whose process dies', () => {
  const labs = new TestLabs();
  const file = labs.file('mine.yaml', scenario);
  afterAll(() => labs[Symbol.asyncDispose]());

  test('kill -9 after each step of coming up, then down', async () => {
    for (let lines = 1; lines <= 7; lines++) {
      const name = labs.name(`k${lines}`);
      const child = startCommand('lab', 'run', file, '--name', name);
      let seen = 0;
      for await (const chunk of child.stderr) {
        seen += new TextDecoder().decode(chunk).split('\n').length - 1;
        if (seen >= lines) break;
      }
      child.kill('SIGKILL');
      await child.exited;
      if (leftovers(name).length > 0) {
        const { stdout } = await runCommand('lab', 'list', '--json');
        expect(stdout).toContain('the process that held it up is gone');
        const again = await runCommand('lab', 'up', file, '--name', name, '--detach');
        expect(again.stderr).toContain('what was working on it was killed');
        expect(await runCommand('lab', 'down', name)).toMatchObject({ status: 0 });
      }
      expect(leftovers(name)).toEqual([]);
    }
  });

  test('kill -9 while going down, then down again', async () => {
    for (const delay of [0, 5, 10, 20, 40]) {
      const name = labs.name(`d${delay}`);
      await runCommand('lab', 'up', file, '--name', name, '--detach');
      // it must wait for this one, so there is a moment to kill it in
      const inside = startCommand(
        'lab',
        'exec',
        '--lab',
        name,
        'a',
        '--',
        'sh',
        '-c',
        'trap "" TERM; echo in; sleep 60',
      );
      await inside.stdout.getReader().read();
      const down = startCommand('lab', 'down', name);
      await until('it says stopping', async () => {
        return (await Bun.file(`/run/godwit/lab/${name}/manifest.json`).text()).includes('"stopping"');
      });
      await Bun.sleep(delay);
      down.kill('SIGKILL');
      await down.exited;
      expect(await runCommand('lab', 'down', name, '--now')).toMatchObject({ status: 0 });
      await inside.exited;
      expect(leftovers(name)).toEqual([]);
    }
  });

  test('what is left is found by its mark when the manifest is garbage, or gone with its directory', async () => {
    const name = labs.name('g');
    const directory = `/run/godwit/lab/${name}`;
    for (const garbage of ['', '{', '{"version":1}', '{"version":2}', '\u0000', undefined, 'directory']) {
      await runCommand('lab', 'up', file, '--name', name, '--detach');
      rmSync(garbage === 'directory' ? directory : `${directory}/manifest.json`, { recursive: true });
      if (garbage !== undefined && garbage !== 'directory') writeFileSync(`${directory}/manifest.json`, garbage);
      const check = await runCommand('lab', 'check', name);
      expect(check.status).toBe(1);
      expect((await runCommand('lab', 'list')).status).toBe(0);
      if (garbage !== 'directory') {
        const again = await runCommand('lab', 'up', file, '--name', name, '--detach');
        expect(again.stderr).toContain(`godwit lab down ${name}`);
      }
      expect(await runCommand('lab', 'down', name)).toMatchObject({ status: 0 });
      expect(leftovers(name)).toEqual([]);
    }
  });

  test('a namespace of that name that is not the lab’s is refused and left alone', async () => {
    const name = labs.name('f');
    run('ip', 'netns', 'add', `${name}-b`);
    try {
      const up = await runCommand('lab', 'up', file, '--name', name, '--detach');
      expect(up.status).toBe(1);
      expect(up.stderr).toContain(`/run/netns/${name}-b exists and is not of this lab`);
      expect(leftovers(name)).toEqual([`/run/netns/${name}-b`, expect.stringContaining('mount')]);
      // a state directory somebody made by hand claims nothing either
      mkdirSync(`/run/godwit/lab/${name}`);
      expect((await runCommand('lab', 'down', name)).status).toBe(0);
      expect(leftovers(name)).toEqual([`/run/netns/${name}-b`, expect.stringContaining('mount')]);
    } finally {
      run('ip', 'netns', 'delete', `${name}-b`);
    }
  });

  test('Ctrl-C and SIGTERM take down what lab run holds, and lab down asks it to', async () => {
    for (const how of ['SIGINT', 'SIGTERM', 'down'] as const) {
      const name = labs.name(`c${how.toLowerCase()}`);
      const child = startCommand('lab', 'run', file, '--name', name, '--json');
      const reader = child.stdout.getReader();
      const first = await reader.read();
      expect(new TextDecoder().decode(first.value)).toStartWith('{');
      if (how === 'down') expect(await runCommand('lab', 'down', name)).toMatchObject({ status: 0 });
      else child.kill(how);
      expect(await child.exited).toBe(0);
      expect(leftovers(name)).toEqual([]);
    }
  });

  test('of five at once for one name, one brings it up and the others say so', async () => {
    const name = labs.name('r');
    const all = await Promise.all([1, 2, 3, 4, 5].map(() => runCommand('lab', 'up', file, '--name', name, '--detach')));
    const [winner, ...others] = all.toSorted((a, b) => a.status - b.status);
    expect(winner!.status).toBe(0);
    for (const other of others) {
      expect(other.status).toBe(1);
      expect(other.stderr).toContain(`godwit lab down ${name}`);
    }
    expect((await runCommand('lab', 'check', name)).status).toBe(0);
    expect(await runCommand('lab', 'down', name)).toMatchObject({ status: 0 });
    expect(leftovers(name)).toEqual([]);
  });

  test('Ctrl-C twice does not wait for what ignores SIGTERM', async () => {
    const name = labs.name('t');
    const child = startCommand('lab', 'run', file, '--name', name, '--json');
    await child.stdout.getReader().read();
    const inside = startCommand('lab', 'exec', '--lab', name, 'a', '--', 'sh', '-c', 'trap "" TERM; echo in; sleep 60');
    await inside.stdout.getReader().read();
    child.kill('SIGINT');
    await until('it goes down', async () => {
      return (await Bun.file(`/run/godwit/lab/${name}/manifest.json`).text()).includes('"stopping"');
    });
    expect(inside.exitCode).toBe(null);
    child.kill('SIGINT');
    expect(await child.exited).toBe(0);
    expect(await child.stderr.text()).toContain('at once, then');
    await inside.exited;
    expect(leftovers(name)).toEqual([]);
  });

  test('a scenario that cannot be used makes nothing; with --json it is a document, too', async () => {
    const name = labs.name('b');
    const bad = labs.file('bad.yaml', scenario.replace('192.168.2.9', '192.168.3.9'));
    const result = await runCommand('lab', 'run', bad, '--name', name, '--check', '--json');
    expect(result.status).toBe(1);
    expect(JSON.parse(result.stdout)).toMatchObject({ ok: false, error: { kind: 'scenario' } });
    expect(result.stderr).toContain('line 11: hosts.c.addresses.right: "192.168.3.9" is not allowed');
    expect(leftovers(name)).toEqual([]);
  });
});
