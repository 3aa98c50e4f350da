// A move that is disturbed: the command killed at every step, the datastore away, an agent down, a node added. Whatever
// happens, the command that is run next finishes it or takes it back, and no packet between pods is lost meanwhile.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';
import { Moving } from './moving.ts';

const here = have('godwit migrate, disturbed', 'ip', 'nft', 'etcd', 'ping');
const both = ['--network', 'subnets,blocks'];

describe.skipIf(!here)('a move that is disturbed', () => {
  let cluster: Cluster;
  let moving: Moving;
  let pods = 0;
  const blocked = (address: string) => address.startsWith('10.233.');

  /** A command that says what it does; `said` waits for a line of it. */
  function start(...args: string[]) {
    const child = Bun.spawn([...moving.program, 'migrate', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: moving.environment,
    });
    let text = '';
    const reading = (async () => {
      for await (const chunk of child.stderr) text += Buffer.from(chunk).toString();
    })();
    return {
      said: (what: string) => until(`it says ${what}: ${text}`, () => text.includes(what)),
      kill: async () => {
        child.kill('SIGKILL');
        await child.exited;
      },
      ended: async () => {
        await Promise.all([child.exited, reading]);
        return { status: child.exitCode, error: text };
      },
    };
  }
  /** New pods of every node come from there, and reach each other. */
  const allFrom = async (blocks: boolean): Promise<void> => {
    await moving.allAt(blocks ? 'blocks' : 'subnets');
    const names: string[] = [];
    for (const number of cluster.nodes.keys()) {
      names.push(`pod${++pods}`);
      expect([number, blocked(await moving.addPod(names.at(-1)!, number))]).toEqual([number, blocks]);
    }
    await moving.flow(names[0]!, 'first2');
    await moving.flow('first1', names[1]!);
  };
  const recover = (verb: 'run' | 'rollback'): void => {
    const { status, error } = moving.godwit('migrate', verb);
    expect([status, error.includes('godwit:')]).toEqual([0, false]);
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [1, 2] });
    moving = new Moving(cluster);
    await putResource(cluster.store, poolOf('10.233.0.0/16'));
    for (const node of cluster.nodes.values()) node.start(both);
    await moving.allAt('subnets');
    for (const number of [1, 2]) await moving.addPod(`first${number}`, number);
    await moving.flow('first1', 'first2');
  }, 60_000);
  afterAll(async () => {
    moving[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test.each([
    ['run', 'n1: new pods', 0],
    ['run', 'n1: new pods', 15],
    ['run', 'n1: new pods', 60],
    ['run', 'done: n1', 0],
    ['run', 'n2: new pods', 10],
    ['run', 'n2: new pods', 40],
    ['rollback', 'n2: new pods', 0],
    ['rollback', 'n2: new pods', 15],
    ['rollback', 'done: n2', 0],
    ['rollback', 'n1: new pods', 15],
  ] as const)('%s is killed %s + %i ms: then back, then all the way', async (verb, line, delay) => {
    recover(verb === 'run' ? 'rollback' : 'run');
    const command = start(verb);
    await command.said(line);
    await Bun.sleep(delay);
    await command.kill();
    recover('rollback');
    await moving.allAt('subnets');
    recover('run');
    await moving.allAt('blocks');
  });

  test('after all that: pods of every kind reach each other, and nothing was lost', async () => {
    await allFrom(true);
    recover('rollback');
    await allFrom(false);
    await moving.nothingLost();
  });

  test('the datastore goes away: the command says so and ends; agents keep their stages, and the next run goes on', async () => {
    await moving.flow('first1', 'first2');
    const command = start('run');
    await command.said('n1: new pods');
    await cluster.stopEtcd();
    const { status, error } = await command.ended();
    expect([status, error]).toEqual([1, expect.stringMatching(/godwit: datastore unix:.*\n.*--datastore/)]);
    expect(error).not.toMatch(/^\s+at /m);
    await cluster.startEtcd();
    await until('the datastore is back', () => moving.godwit('migrate', 'status').status === 0, 20_000);
    await until(
      'all agents say how they stand',
      () => moving.status().filter(({ ready }) => ready).length === 2,
      30_000,
    );
    recover('run');
    await allFrom(true);
    await moving.nothingLost(100);
  }, 100_000);

  test('an agent is down: the run says which, and goes on when it is back', async () => {
    recover('rollback');
    await allFrom(false);
    await cluster.node(2).stop('SIGKILL');
    const { status, error } = await start('run', '--timeout', '2').ended();
    expect([status, error]).toEqual([1, expect.stringContaining('node n2: new pods still come from subnets')]);
    const waiting = start('run', '--timeout', '60');
    cluster.node(2).start(both);
    expect((await waiting.ended()).status).toBe(0);
    await allFrom(true);
    await moving.nothingLost(100);
  }, 100_000);

  test('a node is added on the way: it is moved as well', async () => {
    recover('rollback');
    await moving.flow('first1', 'first2');
    const running = start('run');
    await running.said('n1: new pods');
    cluster.addNode(3).start(both);
    expect((await running.ended()).status).toBe(0);
    await cluster.node(3).ready();
    await until('it says how it stands', () => moving.status().length === 3);
    recover('run');
    await allFrom(true);
    await moving.nothingLost(100);
    // and after the end another one begins with blocks
    for (const pod of [...moving.pods.keys()])
      if (!blocked(moving.pods.get(pod)!.addresses[0]!)) await moving.removePod(pod);
    await until('no pod is on a bridge', () => moving.status().every(({ bridgeUsers }) => bridgeUsers.length === 0));
    const finishing = start('finish');
    await Bun.sleep(150);
    await finishing.kill();
    expect(moving.godwit('migrate', 'finish').status).toBe(0);
    cluster.addNode(4).start(both);
    await cluster.node(4).ready();
    expect(blocked(await moving.addPod('late', 4))).toBe(true);
    expect(cluster.node(4).dataplane()).not.toMatch(/cni0|10\.244\./);
  }, 100_000);
});
