import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ManualClock } from '../../src/base/mod.ts';
import { defer } from '../../src/cni/deferred.ts';
import { AgentProcess, makeBridge, runPlugin, TestNode } from '../support/cni.ts';
import type { PluginAnswer } from '../support/cni.ts';
import { run, TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('CNI faults', 'ip', 'strace', 'mount');

describe.skipIf(!here)('CNI faults', () => {
  const spaces = new TestNamespaces();
  let node: TestNode;
  let agent: AgentProcess | undefined;
  let pods = 0;

  beforeAll(() => {
    node = new TestNode(spaces);
  });
  afterAll(async () => {
    await agent?.kill();
    await node[Symbol.asyncDispose]();
    spaces[Symbol.dispose]();
  });

  // what one test leaves when it fails is no other's business
  afterEach(async () => {
    await agent?.kill();
    await node.stop();
  });

  function pod(container = `container-${pods + 1}`) {
    const short = `p${++pods}`;
    const netns = node.pod(short);
    const call = (more: Record<string, unknown> = {}) => ({ container, netns, config: node.config(more) });
    return { short, netns, container, call };
  }
  const start = async (): Promise<AgentProcess> => (agent = await AgentProcess.start(spaces.path('host'), node));
  const hostLinks = (): string[] =>
    (JSON.parse(spaces.run('host', 'ip', '-j', 'link')) as { ifname: string }[])
      .map((l) => l.ifname)
      .filter((name) => name.startsWith('veth'));
  const records = (): string[] => readdirSync(join(node.stateDirectory, 'attachments'));
  const address = (answer: PluginAnswer): string => answer.json.ips![0]!.address;
  /** The addresses of a pod's eth0 in truth. */
  const inside = (short: string): string[] => {
    const links = JSON.parse(spaces.run(short, 'ip', '-j', '-4', 'addr') || '[]') as {
      ifname: string;
      addr_info: { local: string }[];
    }[];
    return links.filter((l) => l.ifname === 'eth0').flatMap((l) => l.addr_info.map((a) => a.local));
  };
  const nothingLeft = async (): Promise<void> => {
    expect(hostLinks()).toEqual([]);
    expect(records()).toEqual([]);
  };

  test('F07: DEL without namespace, twice, late, and of an old sandbox whose path a new one has', async () => {
    await start();
    const old = pod('sandbox-old');
    const added = await runPlugin('ADD', old.call());
    expect(added.status).toBe(0);
    // the sandbox dies; the runtime makes another at the same path before it cleans up
    spaces.remove(old.short);
    await until('the kernel has taken the link away', () => hostLinks().length === 0);
    spaces.add(old.short);
    const fresh = { ...old.call(), container: 'sandbox-new' };
    const second = await runPlugin('ADD', fresh);
    expect(address(second)).not.toBe(address(added));
    for (const late of [old.call(), { ...old.call(), netns: '' }, old.call()]) {
      expect((await runPlugin('DEL', late)).status).toBe(0);
    }
    expect((await runPlugin('CHECK', { ...fresh, config: node.config({ prevResult: second.json }) })).status).toBe(0);
    expect((await runPlugin('DEL', { ...fresh, netns: '/nonexistent' })).status).toBe(0);
    expect((await runPlugin('DEL', { ...fresh, interface: 'eth7' })).status).toBe(0);
    await nothingLeft();
    await agent!.kill();
  });

  test('no agent: ADD and CHECK 11, STATUS 50, and a DEL is kept for the next agent', async () => {
    const kept = pod();
    const again = pod();
    await start();
    for (const p of [kept, again]) expect((await runPlugin('ADD', p.call())).status).toBe(0);
    await agent!.kill();
    expect((await runPlugin('ADD', pod().call())).json.code).toBe(11);
    expect((await runPlugin('CHECK', kept.call())).json.code).toBe(11);
    expect((await runPlugin('STATUS', { config: node.config() })).json.code).toBe(50);
    for (const p of [kept, again]) expect(await runPlugin('DEL', p.call())).toMatchObject({ status: 0, stdout: '' });
    expect(hostLinks().length).toBe(2);
    await start();
    await nothingLeft();
    // an ADD that follows is not undone by what was put off before it
    expect((await runPlugin('ADD', again.call())).status).toBe(0);
    await agent!.kill();
    await start();
    expect(hostLinks().length).toBe(1);
    await agent!.kill();
    // where the note cannot be written the runtime must come again
    const nowhere = { ...again.call(), config: node.config({ socket: '/proc/godwit/cni.sock' }) };
    expect((await runPlugin('DEL', nowhere)).json.code).toBe(11);
    await start();
    await runPlugin('DEL', again.call());
    await nothingLeft();
    await agent!.kill();
  });

  test('a DEL that was put off while the agent was there, but too busy, is done when it looks again', async () => {
    const clock = new ManualClock();
    await node.start({ clock });
    const [p, kept] = [pod(), pod()];
    for (const each of [p, kept]) expect((await runPlugin('ADD', each.call())).status).toBe(0);
    for (const each of [p, kept]) defer(node.socketPath, each.container, 'eth0');
    // asked for anew in between: its note is void
    expect((await runPlugin('ADD', kept.call())).status).toBe(0);
    clock.advance(30_000);
    const containers = () => node.server!.attachments().map((a) => a.container);
    await until('the DEL is done', () => hostLinks().length === 1 && containers().join() === kept.container);
    await runPlugin('DEL', kept.call());
    await node.stop();
    await nothingLeft();
  });

  test('F06: the executable killed at each of its steps; the next ADD, DEL or GC cleans up', async () => {
    await start();
    const steps = ['connect', 'sendto,write,writev', 'recvfrom,read', 'exit_group'];
    for (const [i, step] of steps.entries()) {
      for (const when of step.startsWith('recv') ? [25, 30] : [1]) {
        const p = pod();
        const wrapper = join(node.directory, `killed-${i}`);
        const trace = `strace -f -qq -o /dev/null -e trace=${step} -e inject=${step}:signal=SIGKILL:when=${when}`;
        writeFileSync(
          wrapper,
          `#!/bin/sh\nexec ${trace} ${process.execPath} ${join(import.meta.dir, '../../src/main.ts')}\n`,
          {
            mode: 0o755,
          },
        );
        const killed = await runPlugin('ADD', p.call(), wrapper);
        if (when === 1) expect([step, killed.status]).not.toEqual([step, 0]);
        const verb = ['ADD', 'DEL', 'GC'][i % 3]!;
        const more = verb === 'GC' ? { 'cni.dev/valid-attachments': [] } : {};
        const next = await runPlugin(verb, p.call(more));
        expect([step, next.status]).toEqual([step, 0]);
        if (verb === 'ADD') {
          expect((await runPlugin('CHECK', p.call({ prevResult: next.json }))).status).toBe(0);
          await runPlugin('DEL', p.call());
        }
        await nothingLeft();
      }
    }
    await agent!.kill();
  });

  test('F06: the agent killed at each of its steps of an ADD and of a DEL', async () => {
    const steps: ['ADD' | 'DEL', string, number][] = [
      // look at the bridge, make the pair, look at it, set up the pod's end, mark the host's, answer
      ...[1, 2, 3, 4, 5, 6].map((n): ['ADD', string, number] => ['ADD', 'sendto', n]),
      ['ADD', 'rename', 1],
      ...[1, 2].map((n): ['DEL', string, number] => ['DEL', 'sendto', n]),
      // the deletion itself, on another thread, among the writes that wake threads
      ...[1, 2].map((n): ['DEL', string, number] => ['DEL', 'write', n]),
      ['DEL', 'unlink,rmdir,unlinkat', 1],
    ];
    for (const [verb, step, when] of steps) {
      await start();
      const p = pod();
      if (verb === 'DEL') expect((await runPlugin('ADD', p.call())).status).toBe(0);
      const inject = ['-e', `trace=${step}`, '-e', `inject=${step}:signal=SIGKILL:when=${when}`];
      const tracer = Bun.spawn(['strace', '-f', '-qq', '-o', '/dev/null', ...inject, '-p', String(agent!.pid)], {
        stdio: ['ignore', 'ignore', 'ignore'],
      });
      await until(
        'strace is attached',
        () => !/TracerPid:\t0/.test(readFileSync(`/proc/${agent!.pid}/status`, 'utf8')),
      );
      const killed = await runPlugin(verb, p.call());
      // a DEL that the agent did not end is put off
      const expected = verb === 'ADD' ? { json: { code: 11 } } : { status: 0 };
      if (step !== 'write') expect({ verb, step, when, ...killed }).toMatchObject({ verb, step, when, ...expected });
      // the tracer first, and hard: one that detaches from a process as that is killed may wait for ever
      tracer.kill('SIGKILL');
      await tracer.exited;
      await agent!.kill();
      await start();
      // whatever was reached: it is whole or it is gone
      expect(hostLinks().length).toBe(records().length);
      expect(hostLinks().length).toBeLessThanOrEqual(1);
      if (verb === 'ADD') {
        const retried = await runPlugin('ADD', p.call());
        expect([step, when, retried.status]).toEqual([step, when, 0]);
        expect((await runPlugin('CHECK', p.call({ prevResult: retried.json }))).status).toBe(0);
      }
      expect((await runPlugin('DEL', p.call())).status).toBe(0);
      await nothingLeft();
      await agent!.kill();
    }
  });

  test('F05: agent and executables killed at random under churn: no address has two owners, nothing leaks', async () => {
    await start();
    const crowd = Array.from({ length: 12 }, () => pod());
    let over = false;
    const churn = crowd.map(async (p, i) => {
      for (let round = 0; !over; round++) {
        const call = p.call();
        const verb = (round + i) % 3 === 2 ? 'DEL' : 'ADD';
        await runPlugin(verb, call);
        await Bun.sleep((i * 7) % 11);
      }
    });
    let seen = 0;
    for (let kills = 0; kills < 8; kills++) {
      await Bun.sleep(150 + 40 * (kills % 3));
      await agent!.kill();
      const owners = crowd.flatMap((p) => inside(p.short));
      expect(new Set(owners).size).toBe(owners.length);
      seen += owners.length;
      await start();
    }
    over = true;
    await Promise.all(churn);
    expect(seen).toBeGreaterThan(0);
    const owners = crowd.flatMap((p) => inside(p.short));
    expect(new Set(owners).size).toBe(owners.length);
    for (const p of crowd) expect((await runPlugin('DEL', p.call())).status).toBe(0);
    await nothingLeft();
    await agent!.kill();
  });

  test('F05: an address whose link is still on the node is not given, though its record is lost', async () => {
    await start();
    const p = pod();
    const added = await runPlugin('ADD', p.call());
    await agent!.kill();
    run('sh', '-c', `rm -f ${node.stateDirectory}/attachments/*`);
    await start();
    const wish = { runtimeConfig: { ips: [address(added)] } };
    expect((await runPlugin('ADD', pod().call(wish))).json).toMatchObject({ code: 101 });
    expect(records().length).toBe(1);
    // rebuilt from the link's mark: its network, too, so a GC finds it
    expect((await runPlugin('GC', p.call({ 'cni.dev/valid-attachments': [] }))).status).toBe(0);
    await nothingLeft();
    await agent!.kill();
  });

  test('F10: an agent that is killed and comes back changes nothing of what is there', async () => {
    await start();
    const p = pod();
    const added = await runPlugin('ADD', p.call());
    // the kernel notes the carrier of a new link, and that nobody else has its address, some time after it is up
    const settled = () =>
      /"forwarding"/.test(spaces.run('host', 'ip', '-d', '-j', 'link')) &&
      !/"tentative"/.test(spaces.run(p.short, 'ip', '-d', '-j', 'addr'));
    await until('its link forwards', settled);
    const before = spaces.run('host', 'ip', '-d', '-j', 'link') + spaces.run(p.short, 'ip', '-d', '-j', 'addr');
    await agent!.kill();
    await start();
    const after = spaces.run('host', 'ip', '-d', '-j', 'link') + spaces.run(p.short, 'ip', '-d', '-j', 'addr');
    const still = (text: string) => text.replace(/"(gc|hello|tcn|topology_change|forward_delay)_timer":[ \d.]+/g, '');
    expect(still(after)).toBe(still(before));
    expect((await runPlugin('CHECK', p.call({ prevResult: added.json }))).status).toBe(0);
    await runPlugin('DEL', p.call());
    await agent!.kill();
  });

  test('F09: after a reboot the records on disk hold no address', async () => {
    await start();
    const crowd = Array.from({ length: 5 }, () => pod());
    for (const p of crowd) expect((await runPlugin('ADD', p.call())).status).toBe(0);
    await agent!.kill();
    // what a reboot does: no namespaces, no links, no /run; the disk stays
    for (const p of crowd) spaces.remove(p.short);
    await until('the links are gone', () => hostLinks().length === 0);
    spaces.run('host', 'ip', 'link', 'del', 'cni0');
    expect(records().length).toBe(5);
    makeBridge();
    await start();
    await nothingLeft();
    for (const p of crowd) {
      spaces.add(p.short);
      expect((await runPlugin('ADD', { ...p.call(), container: `${p.container}-b` })).status).toBe(0);
    }
    // the runtime cleans up the sandboxes of before
    for (const p of crowd) expect((await runPlugin('DEL', p.call())).status).toBe(0);
    expect(hostLinks().length).toBe(5);
    for (const p of crowd) await runPlugin('DEL', { ...p.call(), container: `${p.container}-b` });
    await nothingLeft();
    await agent!.kill();
  });

  test('F28: a full and a read-only disk: ADD fails clean, DEL works, and all is well again afterwards', async () => {
    const disk = node.stateDirectory;
    mkdirSync(disk, { recursive: true });
    run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk);
    try {
      await start();
      const [held, blocked] = [pod(), pod()];
      expect((await runPlugin('ADD', held.call())).status).toBe(0);
      Bun.spawnSync(['dd', 'if=/dev/zero', `of=${disk}/filler`, 'bs=1k'], { stderr: 'ignore' });
      expect((await runPlugin('ADD', blocked.call())).json).toMatchObject({ code: 5 });
      expect((await runPlugin('STATUS', { config: node.config() })).json).toMatchObject({ code: 50 });
      expect(hostLinks().length).toBe(1);
      expect((await runPlugin('DEL', held.call())).status).toBe(0);
      await until('no record is left', () => records().filter((r) => r.endsWith('.json')).length === 0);
      run('rm', `${disk}/filler`);
      expect((await runPlugin('ADD', held.call())).status).toBe(0);

      run('mount', '-o', 'remount,ro', disk);
      expect((await runPlugin('ADD', blocked.call())).json.code).toBe(5);
      expect((await runPlugin('DEL', held.call())).status).toBe(0);
      expect(hostLinks()).toEqual([]);
      // the record could not be removed; it holds nothing, neither now nor after a restart
      expect(records().length).toBe(1);
      await agent!.kill();
      run('mount', '-o', 'remount,rw', disk);
      await start();
      await nothingLeft();
      expect((await runPlugin('ADD', blocked.call())).status).toBe(0);
      await runPlugin('DEL', blocked.call());
    } finally {
      await agent!.kill();
      run('umount', '-l', disk);
    }
  });

  test('F28: a record torn at any byte costs nothing: the link tells', async () => {
    await node.start();
    const p = pod();
    const added = await runPlugin('ADD', p.call());
    await node.stop();
    const [file] = records();
    const path = join(node.stateDirectory, 'attachments', file!);
    const whole = readFileSync(path, 'utf8');
    for (let length = 0; length < whole.length; length += 37) {
      truncateSync(path, length);
      await node.start();
      const [attachment] = node.server!.attachments();
      expect(attachment?.addresses.map((a) => `${a.address}/${a.prefixLength}`)).toEqual(
        added.json.ips!.map((i) => i.address),
      );
      await node.stop();
      expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ container: p.container, network: 'pods' });
    }
    writeFileSync(path, whole);
    await node.start();
    expect((await runPlugin('CHECK', p.call({ prevResult: added.json }))).status).toBe(0);
    await runPlugin('DEL', p.call());
    await nothingLeft();
    await node.stop();
  });
});
