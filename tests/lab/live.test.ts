// What is done to a lab that is up, interrupted and killed in the middle of it; and a disk without room.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { leftovers, runCommand, startCommand, TestLabs } from '../support/lab.ts';
import { run } from '../support/netns.ts';
import { have } from '../support/peers.ts';

interface Status {
  readonly hosts: number;
  readonly running: number;
  readonly absent: string[];
  readonly programs: { who: string; kind: string; state: string; pids: number[]; memory?: { resident: number } }[];
}

describe.skipIf(!have('lab add and remove', 'ip'))('a lab that is up', () => {
  const labs = new TestLabs();
  const name = labs.name('l');
  const status = async () => JSON.parse((await runCommand('lab', 'status', name, '--json')).stdout) as Status;
  const pidOf = async (who: string) => (await status()).programs.find((program) => program.who === who)!.pids[0]!;
  const problems = async () => {
    const { stdout } = await runCommand('lab', 'check', name, '--json');
    return (JSON.parse(stdout) as { problems: string[] }).problems;
  };
  const onNode3 = (verb: 'add' | 'remove') => runCommand('lab', verb, 'node3', '--lab', name);

  /** Starts to add node3, and sends the signal when its progress says so. */
  async function addUntil(words: string, signal: 'SIGINT' | 'SIGKILL') {
    const child = startCommand('lab', 'add', 'node3', '--lab', name);
    let stderr = '';
    for await (const chunk of child.stderr) {
      const before = stderr;
      stderr += Buffer.from(chunk).toString();
      if (!before.includes(words) && stderr.includes(words)) child.kill(signal);
    }
    return { status: await child.exited, stderr };
  }

  beforeAll(async () => {
    expect(await runCommand('lab', 'up', 'host-gw', '--name', name, '--detach')).toMatchObject({ status: 0 });
  });
  afterAll(() => labs[Symbol.asyncDispose]());

  test('status: every program with its process and memory', async () => {
    const { programs, running } = await status();
    expect(programs.map(({ who, kind }) => `${who} ${kind}`)).toEqual([
      'datastore datastore',
      ...[1, 2, 3].map((n) => `node${n} agent`),
    ]);
    expect(running).toBe(4);
    for (const { pids, memory } of programs) {
      expect(pids.length).toBe(1);
      expect(memory!.resident).toBeGreaterThan(1000);
    }
    expect((await runCommand('lab', 'list')).stdout).toMatch(new RegExp(`${name} +up +host-gw .* 4 of 4 `));
  });

  test('a program that is stopped is told', async () => {
    const pid = await pidOf('node2');
    process.kill(pid, 'SIGSTOP');
    try {
      expect(await problems()).toEqual([expect.stringContaining('node2: its agent is stopped')]);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect(await problems()).toEqual([]);
  });

  test('a host whose agent is dead can be taken away, and comes back', async () => {
    await runCommand('lab', 'kill', 'node3', '--lab', name);
    expect(await onNode3('remove')).toMatchObject({ status: 0 });
    expect(await status()).toMatchObject({ hosts: 2, absent: ['node3'] });
    expect(await onNode3('add')).toMatchObject({ status: 0 });
    expect(await problems()).toEqual([]);
  });

  test('Ctrl-C while a host is added: it is taken away again', async () => {
    await onNode3('remove');
    const { status: exit, stderr } = await addUntil('godwit agent', 'SIGINT');
    expect(stderr).toContain('node3: interrupted, taking it away again');
    expect(exit).toBe(1);
    expect(await status()).toMatchObject({ hosts: 2, absent: ['node3'], running: 3 });
    expect(await problems()).toEqual([]);
    expect(leftovers(name).filter((path) => path.includes('node3'))).toEqual([]);
  });

  test('kill -9 while a host is added: what is there of it can be taken away, and it comes whole', async () => {
    for (const at of ['node3: host', 'godwit agent']) {
      await addUntil(at, 'SIGKILL');
      expect(await problems()).not.toEqual([]);
      expect((await onNode3('remove')).status).toBe(0);
      expect(await problems()).toEqual([]);
    }
    expect((await onNode3('add')).status).toBe(0);
    expect(await problems()).toEqual([]);
  });

  test('wrong names are told with the right ones', async () => {
    const answers = await Promise.all(
      ['add node1', 'remove pod1', 'kill pod1', 'traffic pod1 pod9'].map((words) =>
        runCommand('lab', ...words.split(' '), '--lab', name),
      ),
    );
    expect(answers.map(({ stderr }) => stderr.split('\n')[1]?.trim())).toEqual([
      'all of its hosts are there; lab remove takes one away',
      'there is node1, node2, node3',
      'there is datastore, node1, node2, node3',
      'there is node1, node2, node3, pod1, pod2, pod3, pod4',
    ]);
    expect((await runCommand('lab', 'drill', name)).stderr).toContain(`the scenario of ${name} has no drill`);
  });
});

test.skipIf(!have('a lab on a full disk', 'unshare', 'mount'))('a disk without room: nothing is left', () => {
  const name = `gw${process.pid}full`;
  const script = `mkdir -p /run/godwit/lab && mount -t tmpfs -o size=48k none /run/godwit/lab
     bin/godwit lab up calico-bgp -n ${name} --detach 2>&1; echo "status $?"; ls -A /run/godwit/lab`;
  const text = run('unshare', '-m', 'sh', '-c', script);
  expect(text).toMatch(/no space left|space exceeded/);
  expect(text.trimEnd()).toEndWith('status 1');
  expect(leftovers(name)).toEqual([]);
});
