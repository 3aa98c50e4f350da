// The datastore, records and the whole machine of routed pods away and back: what was given is in use or comes back.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { runPlugin } from '../support/cni.ts';
import type { PluginAnswer } from '../support/cni.ts';
import { MortalNode } from '../support/mortal-node.ts';
import { run, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('faults of routed pods', 'ip', 'etcd');
const address = (answer: PluginAnswer): string => answer.json.ips![0]!.address;

describe.skipIf(!here)('faults of routed pods', () => {
  let node: MortalNode;
  beforeAll(async () => {
    node = await MortalNode.make();
  }, 30_000);
  afterAll(() => node[Symbol.asyncDispose]());

  test('the datastore does not answer: ADD gives up in time with code 11, DEL is done later, also after a kill', async () => {
    await node.start();
    const [kept, late] = [node.pod(), node.pod()];
    for (const p of [kept, late]) expect((await runPlugin('ADD', p.call())).status).toBe(0);
    const before = (await node.handles()).length;
    expect(before).toBe(2);
    const waiting = node.pod();
    process.kill(node.etcd.pid, 'SIGSTOP');
    try {
      expect((await runPlugin('ADD', waiting.call())).json).toMatchObject({ code: 11 });
      expect((await runPlugin('STATUS', { config: node.node.config() })).json).toMatchObject({ code: 50 });
      // what is attached needs no datastore
      expect((await runPlugin('ADD', kept.call())).status).toBe(0);
      expect(await runPlugin('DEL', late.call())).toMatchObject({ status: 0, stdout: '' });
      expect(node.hostLinks().length).toBe(1);
      await node.kill();
      await node.start();
      expect((await runPlugin('DEL', kept.call())).status).toBe(0);
      expect(node.hostLinks()).toEqual([]);
    } finally {
      process.kill(node.etcd.pid, 'SIGCONT');
    }
    await node.nothingLeft();
    // whatever became of the request that nobody waited for: the next ADD works
    const again = await runPlugin('ADD', waiting.call());
    expect(again.status).toBe(0);
    expect((await runPlugin('STATUS', { config: node.node.config() })).status).toBe(0);
    expect((await runPlugin('DEL', waiting.call())).status).toBe(0);
    await node.nothingLeft();
    await node.kill();
  });

  test('an address whose link is still on the node is kept, though its record is lost', async () => {
    await node.start();
    const p = node.pod();
    const added = await runPlugin('ADD', p.call());
    await node.kill();
    run('sh', '-c', `rm -f ${node.node.stateDirectory}/attachments/*`);
    await node.start();
    expect(node.spaces.run('host', 'ip', 'route', 'show', address(added).split('/')[0]!)).toContain('dev cali');
    expect((await node.handles()).length).toBe(1);
    const gc = { ...p.call(), config: node.node.config({ 'cni.dev/valid-attachments': [] }) };
    expect((await runPlugin('GC', gc)).status).toBe(0);
    await node.nothingLeft();
    await node.kill();
  });

  test('after a reboot nothing is held, and the runtime’s DELs of old sandboxes succeed', async () => {
    await node.start();
    const crowd = Array.from({ length: 4 }, () => node.pod());
    for (const p of crowd) expect((await runPlugin('ADD', p.call())).status).toBe(0);
    await node.kill();
    for (const p of crowd) node.spaces.remove(p.short);
    await until('the links are gone', () => node.hostLinks().length === 0);
    await node.start();
    await until('all is given back', async () => (await node.handles()).length === 0);
    for (const p of crowd) expect((await runPlugin('DEL', p.call())).status).toBe(0);
    await node.nothingLeft();
    await node.kill();
  });
});
