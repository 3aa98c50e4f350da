// Calls about one routed pod that overlap, and calls around a restart: in whatever order they come, the last word holds.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { runPlugin } from '../support/cni.ts';
import { MortalNode } from '../support/mortal-node.ts';
import { have } from '../support/peers.ts';

const here = have('calls about one routed pod at once', 'ip', 'etcd');

describe.skipIf(!here)('calls about one routed pod at once', () => {
  let node: MortalNode;
  beforeAll(async () => {
    node = await MortalNode.make();
    await node.start();
  }, 30_000);
  afterAll(() => node[Symbol.asyncDispose]());

  test('ADDs at once give one attachment; DELs at once leave nothing', async () => {
    const p = node.pod();
    const added = await Promise.all(Array.from({ length: 8 }, () => runPlugin('ADD', p.call())));
    expect(added.map(({ status }) => status)).toEqual(added.map(() => 0));
    expect(new Set(added.map(({ json }) => JSON.stringify(json.ips))).size).toBe(1);
    expect([node.hostLinks().length, (await node.handles()).length]).toEqual([1, 1]);
    const deleted = await Promise.all(Array.from({ length: 8 }, () => runPlugin('DEL', p.call())));
    expect(deleted.map(({ status }) => status)).toEqual(deleted.map(() => 0));
    await node.nothingLeft();
  });

  test('ADDs and DELs of one pod, and of its next sandbox, all at once', async () => {
    const [old, next] = [node.pod('web'), node.pod('web')];
    const calls = Array.from({ length: 16 }, (_, i) => {
      const p = i % 4 < 2 ? old : next;
      return runPlugin(i % 2 === 0 ? 'ADD' : 'DEL', p.call());
    });
    for (const { status, stdout } of await Promise.all(calls)) expect([status, stdout]).toEqual([0, stdout]);
    // whatever is there is whole, or nothing is
    const last = await runPlugin('ADD', next.call());
    expect(last.status).toBe(0);
    expect(
      await runPlugin('CHECK', { ...next.call(), config: node.node.config({ prevResult: last.json }) }),
    ).toMatchObject({ status: 0, stdout: '' });
    expect(node.inside(next.short).sort()).toEqual(last.json.ips!.map(({ address }) => address.split('/')[0]!).sort());
    expect((await runPlugin('DEL', old.call())).status).toBe(0);
    expect(node.hostLinks().length).toBe(1);
    expect((await runPlugin('DEL', next.call())).status).toBe(0);
    await node.nothingLeft();
  });

  test('after a kill of the agent CHECK finds all as it was, and GC keeps what is valid and takes the rest', async () => {
    const [kept, gone] = [node.pod(), node.pod()];
    const [first] = [await runPlugin('ADD', kept.call()), await runPlugin('ADD', gone.call())];
    await node.kill();
    await node.start();
    const check = () => runPlugin('CHECK', { ...kept.call(), config: node.node.config({ prevResult: first.json }) });
    expect(await check()).toMatchObject({ status: 0, stdout: '' });
    const valid = [{ containerID: kept.container, ifname: 'eth0' }];
    const collect = (attachments: object[]) =>
      runPlugin('GC', { config: node.node.config({ 'cni.dev/valid-attachments': attachments }) });
    expect(await collect(valid)).toMatchObject({ status: 0, stdout: '' });
    expect([node.hostLinks().length, (await node.handles()).length]).toEqual([1, 1]);
    expect(await check()).toMatchObject({ status: 0, stdout: '' });
    // its record is lost: the mark on the link is enough for GC
    rmSync(join(node.node.stateDirectory, 'attachments'), { recursive: true });
    await node.kill();
    await node.start();
    expect(await collect(valid)).toMatchObject({ status: 0 });
    expect(node.inside(kept.short).sort()).toEqual(first.json.ips!.map(({ address }) => address.split('/')[0]!).sort());
    expect(await collect([])).toMatchObject({ status: 0 });
    await node.nothingLeft();
  });

  test('the datastore does not answer: DEL of a container nobody knows succeeds in time, and so does GC', async () => {
    const [known, unknown] = [node.pod(), node.pod()];
    expect((await runPlugin('ADD', known.call())).status).toBe(0);
    process.kill(node.etcd.pid, 'SIGSTOP');
    try {
      for (let twice = 0; twice < 2; twice++)
        expect(await runPlugin('DEL', unknown.call())).toMatchObject({ status: 0, stdout: '' });
      const config = node.node.config({ 'cni.dev/valid-attachments': [] });
      expect(await runPlugin('GC', { config })).toMatchObject({ status: 0, stdout: '' });
      expect(node.hostLinks()).toEqual([]);
    } finally {
      process.kill(node.etcd.pid, 'SIGCONT');
    }
    await node.nothingLeft();
  });
});
