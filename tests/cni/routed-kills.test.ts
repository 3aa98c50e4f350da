// The agent of routed pods, killed at each of its steps: what was given is in use or comes back.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { runPlugin } from '../support/cni.ts';
import { MortalNode } from '../support/mortal-node.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('routed pods under SIGKILL', 'ip', 'strace', 'etcd');

describe.skipIf(!here)('routed pods under SIGKILL', () => {
  let node: MortalNode;
  beforeAll(async () => {
    node = await MortalNode.make();
  }, 30_000);
  afterAll(() => node[Symbol.asyncDispose]());

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
      await node.start();
      const p = node.pod();
      const first = verb === 'DEL' ? await runPlugin('ADD', p.call()) : undefined;
      const inject = ['-e', `trace=${step}`, '-e', `inject=${step}:signal=SIGKILL:when=${when}`];
      const tracer = Bun.spawn(['strace', '-f', '-qq', '-o', '/dev/null', ...inject, '-p', String(node.agent!.pid)], {
        stdio: ['ignore', 'ignore', 'ignore'],
      });
      const traced = () => !/TracerPid:\t0/.test(readFileSync(`/proc/${node.agent!.pid}/status`, 'utf8'));
      await until('strace is attached', () => tracer.exitCode !== null || traced());
      await runPlugin(verb, p.call());
      // the tracer first, and hard: one that detaches from a process as that is killed may wait for ever
      tracer.kill('SIGKILL');
      await tracer.exited;
      await node.kill();
      await node.start();
      const what = [verb, step, when];
      expect([...what, node.hostLinks().length]).toEqual([...what, node.files('attachments').length]);
      // what is attached has what it was given; all else comes back by itself
      await until(
        'what is not attached is given back',
        async () => (await node.handles()).length === node.hostLinks().length,
      );
      if (verb === 'ADD') {
        const retried = await runPlugin('ADD', p.call());
        expect([...what, retried.status]).toEqual([...what, 0]);
        const call = { ...p.call(), config: node.node.config({ prevResult: retried.json }) };
        expect((await runPlugin('CHECK', call)).stdout).toBe('');
      } else expect(first!.status).toBe(0);
      expect((await runPlugin('DEL', p.call())).status).toBe(0);
      await node.nothingLeft();
      await node.kill();
    }
  }, 110_000);
});
