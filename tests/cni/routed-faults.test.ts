// Agent, executable and datastore of routed pods, killed and stopped at every moment: no address has two owners, and what
// was given is in use or comes back.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import { AgentProcess, pluginFromSource, runPlugin } from '../support/cni.ts';
import type { PluginAnswer } from '../support/cni.ts';
import { startEtcd } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { run, TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { putPools, RoutedNode } from '../support/routed.ts';

const here = have('faults of routed pods', 'ip', 'strace', 'etcd', 'timeout');

describe.skipIf(!here)('faults of routed pods', () => {
  const spaces = new TestNamespaces();
  let node: RoutedNode;
  let etcd: RunningStore;
  let store: Datastore;
  let agent: AgentProcess | undefined;
  let pods = 0;

  beforeAll(async () => {
    // this process is in the node's namespace from here on, and etcd with it
    node = new RoutedNode(spaces);
    etcd = await startEtcd();
    store = await openDatastore(etcd.url);
    await putPools(store);
  });
  afterAll(async () => {
    await agent?.kill();
    await store[Symbol.asyncDispose]();
    await etcd[Symbol.asyncDispose]();
    await node[Symbol.asyncDispose]();
    spaces[Symbol.dispose]();
  });

  function pod(name = `pod-${pods + 1}`) {
    const short = `p${++pods}`;
    const netns = node.pod(short);
    const container = `container-${pods}`;
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=u`;
    return { short, netns, container, call: () => ({ container, netns, args, config: node.config() }) };
  }
  const start = async (): Promise<AgentProcess> =>
    (agent = await AgentProcess.start(spaces.path('host'), node, etcd.url));
  const hostLinks = (): string[] =>
    (JSON.parse(spaces.run('host', 'ip', '-j', 'link')) as { ifname: string }[])
      .map((l) => l.ifname)
      .filter((name) => name.startsWith('cali'));
  const files = (kind: string): string[] => {
    const directory = join(node.stateDirectory, kind);
    return existsSync(directory) ? readdirSync(directory) : [];
  };
  const address = (answer: PluginAnswer): string => answer.json.ips![0]!.address;
  const keys = async (prefix: string): Promise<string[]> => (await store.list(prefix)).kvs.map((kv) => kv.key);
  const handles = () => keys('/calico/ipam/v2/handle/');
  const endpoints = () => keys('/calico/resources/v3/projectcalico.org/workloadendpoints/');
  /** The addresses of a pod's eth0 in truth. */
  const inside = (short: string): string[] => {
    const links = JSON.parse(spaces.run(short, 'ip', '-j', 'addr') || '[]') as {
      ifname: string;
      addr_info: { local: string; scope: string }[];
    }[];
    return links
      .filter((l) => l.ifname === 'eth0')
      .flatMap((l) => l.addr_info.filter((a) => a.scope === 'global').map((a) => a.local));
  };
  const nothingLeft = async (): Promise<void> => {
    expect([hostLinks(), files('attachments')]).toEqual([[], []]);
    expect(spaces.run('host', 'ip', 'route', 'show', 'proto', '71')).toBe('');
    await until('every address is given back', async () => (await handles()).length === 0, 15_000);
    expect(await endpoints()).toEqual([]);
    await until('nothing is owed', () => files('owed').length === 0);
  };
  const stopEtcd = () => process.kill(etcd.pid, 'SIGSTOP');
  const continueEtcd = () => process.kill(etcd.pid, 'SIGCONT');

  test('the datastore does not answer: ADD gives up in time with code 11, DEL is done later, also after a kill', async () => {
    await start();
    const [kept, late] = [pod(), pod()];
    for (const p of [kept, late]) expect((await runPlugin('ADD', p.call())).status).toBe(0);
    const before = (await handles()).length;
    expect(before).toBe(2);
    const waiting = pod();
    stopEtcd();
    try {
      expect((await runPlugin('ADD', waiting.call())).json).toMatchObject({ code: 11 });
      expect((await runPlugin('STATUS', { config: node.config() })).json).toMatchObject({ code: 50 });
      // what is attached needs no datastore
      expect((await runPlugin('ADD', kept.call())).status).toBe(0);
      expect(await runPlugin('DEL', late.call())).toMatchObject({ status: 0, stdout: '' });
      expect(hostLinks().length).toBe(1);
      await agent!.kill();
      await start();
      expect((await runPlugin('DEL', kept.call())).status).toBe(0);
      expect(hostLinks()).toEqual([]);
    } finally {
      continueEtcd();
    }
    await nothingLeft();
    // whatever became of the request that nobody waited for: the next ADD works
    const again = await runPlugin('ADD', waiting.call());
    expect(again.status).toBe(0);
    expect((await runPlugin('STATUS', { config: node.config() })).status).toBe(0);
    expect((await runPlugin('DEL', waiting.call())).status).toBe(0);
    await nothingLeft();
    await agent!.kill();
  });

  test('the agent killed at each of its steps of an ADD and of a DEL', async () => {
    const steps: ['ADD' | 'DEL', string, number][] = [
      // the record, and the note of what is owed; the pair and what belongs to it; the answer
      ...[1, 2, 4, 6, 8].map((n): ['ADD', string, number] => ['ADD', 'sendto', n]),
      ['ADD', 'rename', 1],
      ['ADD', 'unlink,rmdir,unlinkat', 1],
      // what goes to the datastore
      ...[1, 2, 3].map((n): ['ADD', string, number] => ['ADD', 'write,writev,sendmsg', n]),
      ...[1, 2].map((n): ['DEL', string, number] => ['DEL', 'sendto', n]),
      ...[1, 3].map((n): ['DEL', string, number] => ['DEL', 'write,writev,sendmsg', n]),
      ...[1, 2].map((n): ['DEL', string, number] => ['DEL', 'unlink,rmdir,unlinkat', n]),
    ];
    for (const [verb, step, when] of steps) {
      await start();
      const p = pod();
      const first = verb === 'DEL' ? await runPlugin('ADD', p.call()) : undefined;
      const inject = ['-e', `trace=${step}`, '-e', `inject=${step}:signal=SIGKILL:when=${when}`];
      const tracer = Bun.spawn(['strace', '-f', '-qq', '-o', '/dev/null', ...inject, '-p', String(agent!.pid)], {
        stdio: ['ignore', 'ignore', 'ignore'],
      });
      const traced = () => !/TracerPid:\t0/.test(readFileSync(`/proc/${agent!.pid}/status`, 'utf8'));
      await until('strace is attached', () => tracer.exitCode !== null || traced());
      await runPlugin(verb, p.call());
      // the tracer first, and hard: one that detaches from a process as that is killed may wait for ever
      tracer.kill('SIGKILL');
      await tracer.exited;
      await agent!.kill();
      await start();
      const what = [verb, step, when];
      expect([...what, hostLinks().length]).toEqual([...what, files('attachments').length]);
      // what is attached has what it was given; all else comes back by itself
      await until('what is not attached is given back', async () => (await handles()).length === hostLinks().length);
      if (verb === 'ADD') {
        const retried = await runPlugin('ADD', p.call());
        expect([...what, retried.status]).toEqual([...what, 0]);
        const call = { ...p.call(), config: node.config({ prevResult: retried.json }) };
        expect((await runPlugin('CHECK', call)).stdout).toBe('');
      } else expect(first!.status).toBe(0);
      expect((await runPlugin('DEL', p.call())).status).toBe(0);
      await nothingLeft();
      await agent!.kill();
    }
  }, 110_000);

  test('agent, executables and etcd killed at random under churn: no address has two owners, nothing leaks', async () => {
    await start();
    // sandboxes of six pods, two each: the new one comes before the old one's DEL, or after
    const crowd = Array.from({ length: 12 }, (_, i) => pod(`churn-${i % 6}`));
    const mortal = join(node.directory, 'mortal');
    writeFileSync(mortal, `#!/bin/sh\nexec timeout -s KILL 0.0$(($$ % 9))5 ${pluginFromSource}\n`, { mode: 0o755 });
    let over = false;
    const churn = crowd.map(async (p, i) => {
      for (let round = 0; !over; round++) {
        const verb = (round + i) % 3 === 2 ? 'DEL' : 'ADD';
        await runPlugin(verb, p.call(), (round + i) % 4 === 0 ? mortal : pluginFromSource);
        await Bun.sleep((i * 7) % 11);
      }
    });
    let seen = 0;
    const check = () => {
      const owners = crowd.flatMap((p) => inside(p.short));
      expect(new Set(owners).size).toBe(owners.length);
      seen += owners.length;
    };
    for (let kills = 0; kills < 8; kills++) {
      await Bun.sleep(250 + 60 * (kills % 3));
      if (kills === 4) await etcd.killAndRestart();
      else await agent!.kill();
      check();
      if (kills !== 4) await start();
    }
    over = true;
    await Promise.all(churn);
    expect(seen).toBeGreaterThan(0);
    check();
    for (const p of crowd) expect((await runPlugin('DEL', p.call())).status).toBe(0);
    await nothingLeft();
    await agent!.kill();
  }, 60_000);

  test('an address whose link is still on the node is kept, though its record is lost', async () => {
    await start();
    const p = pod();
    const added = await runPlugin('ADD', p.call());
    await agent!.kill();
    run('sh', '-c', `rm -f ${node.stateDirectory}/attachments/*`);
    await start();
    expect(spaces.run('host', 'ip', 'route', 'show', address(added).split('/')[0]!)).toContain('dev cali');
    expect((await handles()).length).toBe(1);
    const gc = { ...p.call(), config: node.config({ 'cni.dev/valid-attachments': [] }) };
    expect((await runPlugin('GC', gc)).status).toBe(0);
    await nothingLeft();
    await agent!.kill();
  });

  test('after a reboot nothing is held, and the runtime’s DELs of old sandboxes succeed', async () => {
    await start();
    const crowd = Array.from({ length: 4 }, () => pod());
    for (const p of crowd) expect((await runPlugin('ADD', p.call())).status).toBe(0);
    await agent!.kill();
    for (const p of crowd) spaces.remove(p.short);
    await until('the links are gone', () => hostLinks().length === 0);
    await start();
    await until('all is given back', async () => (await handles()).length === 0);
    for (const p of crowd) expect((await runPlugin('DEL', p.call())).status).toBe(0);
    await nothingLeft();
    await agent!.kill();
  });
});
