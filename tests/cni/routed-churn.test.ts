// Agent, executables and datastore of routed pods, killed at random: no address has two owners, nothing leaks.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pluginFromSource, runPlugin } from '../support/cni.ts';
import { MortalNode } from '../support/mortal-node.ts';
import { have } from '../support/peers.ts';

const here = have('routed pods under churn and SIGKILL', 'ip', 'etcd', 'timeout');

describe.skipIf(!here)('routed pods under churn and SIGKILL', () => {
  let node: MortalNode;
  beforeAll(async () => {
    node = await MortalNode.make();
  }, 30_000);
  afterAll(() => node[Symbol.asyncDispose]());

  test('agent, executables and etcd killed at random under churn: no address has two owners, nothing leaks', async () => {
    await node.start();
    // sandboxes of six pods, two each: the new one comes before the old one's DEL, or after
    const crowd = Array.from({ length: 12 }, (_, i) => node.pod(`churn-${i % 6}`));
    const mortal = join(node.node.directory, 'mortal');
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
      const owners = crowd.flatMap((p) => node.inside(p.short));
      expect(new Set(owners).size).toBe(owners.length);
      seen += owners.length;
    };
    for (let kills = 0; kills < 7; kills++) {
      await Bun.sleep(250 + 60 * (kills % 3));
      if (kills === 4) await node.etcd.killAndRestart();
      else await node.kill();
      check();
      if (kills !== 4) await node.start();
    }
    over = true;
    await Promise.all(churn);
    expect(seen).toBeGreaterThan(0);
    check();
    for (const p of crowd) expect((await runPlugin('DEL', p.call())).status).toBe(0);
    await node.nothingLeft();
    await node.kill();
  }, 110_000);
});
