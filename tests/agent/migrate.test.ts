// From subnet leases to blocks with real agents, the real plugin and the real command: the plan comes true, every pod
// reaches every other throughout, back and forth, and no packet between them is lost.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster, PREFIX } from './cluster.ts';
import { Moving } from './moving.ts';

const here = have('godwit migrate', 'ip', 'nft', 'etcd', 'ping');
const numbers = [1, 2, 3];
const both = ['--network', 'subnets,blocks'];

describe.skipIf(!here)('three nodes from leases to blocks', () => {
  let cluster: Cluster;
  let moving: Moving;
  const godwit = (...args: string[]) => moving.godwit(...args);
  const addPod = (name: string, number: number) => moving.addPod(name, number);
  const removePod = (name: string) => moving.removePod(name);
  const flow = (...names: string[]) => moving.flow(...names);
  const nothingLost = () => moving.nothingLost();
  const status = () => moving.status();
  const plan = (...args: string[]) => moving.plan(...args);
  const subnetOf = (address: string) => address.startsWith('10.244.');
  const blockOf = (address: string) => address.startsWith('10.233.');

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: numbers });
    moving = new Moving(cluster);
    for (const node of cluster.nodes.values()) await node.up();
    for (const n of numbers) expect(subnetOf(await addPod(`old${n}`, n))).toBe(true);
  }, 60_000);
  afterAll(async () => {
    moving[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test('the plan says what is missing, and nothing can be run before', async () => {
    const { status: code, error } = godwit('migrate', 'plan');
    expect(code).toBe(1);
    expect(error).toContain('there is no IPPool that blocks could come from');
    await putResource(cluster.store, poolOf('10.244.128.0/17', { natOutgoing: true }));
    expect(godwit('migrate', 'run').error).toContain('overlaps the network of leases (10.244.0.0/16)');
    godwit('delete', 'pool', 'pool-10-244-128-0-17');
    await putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true }));
    expect(godwit('migrate', 'run').error).toContain('every node must run godwit agent with both networks');
  });

  test('agents are restarted with both networks: nothing changes for pods', async () => {
    await flow('old1', 'old2', 'old3');
    await moving.restart(...both);
    await moving.allAt('subnets');
    expect(subnetOf(await addPod('still1', 1))).toBe(true);
  }, 60_000);

  test('one node: the routes are those of the plan; pods of both kinds reach each other', async () => {
    const made = plan('--nodes', 'n1');
    expect(made.problems).toEqual([]);
    expect(made.steps.map(({ node, claims }) => [node, claims.length])).toEqual([['n1', 1]]);
    const [block] = made.steps[0]!.claims;
    expect(made.steps[0]!.changes).toEqual([
      { node: 'n1', added: [`blackhole ${block} proto 71`], removed: [] },
      { node: 'n2', added: [`${block} via 10.168.0.1 dev eth0 proto 71`], removed: [] },
      { node: 'n3', added: [`${block} via 10.168.0.1 dev eth0 proto 71`], removed: [] },
    ]);
    const ran = godwit('migrate', 'run', '--nodes', 'n1');
    expect([ran.status, ran.out]).toEqual([0, '1 node moved to blocks']);
    for (const { node, after } of made.tables) {
      const wanted = after
        .filter((route) => route.endsWith(' proto 71'))
        .map((route) => route.replace(' proto 71', ''));
      await cluster.node(Number(node.slice(1))).hasRoutes(...wanted);
    }
    const address = await addPod('new1', 1);
    expect(address.startsWith(block!.split('.').slice(0, 3).join('.'))).toBe(true);
    await flow('new1', 'old2');
    await flow('new1', 'old1');
    await flow('new1', 'still1');
    expect(subnetOf(await addPod('still2', 2))).toBe(true);
    await flow('new1', 'still2');
  }, 60_000);

  test('back in the middle: new pods come from the lease again, the others keep what they have', async () => {
    expect(godwit('migrate', 'run', '--nodes', 'n2').status).toBe(0);
    expect(blockOf(await addPod('new2', 2))).toBe(true);
    await flow('new1', 'new2');
    await flow('new2', 'old3');
    const back = godwit('migrate', 'rollback');
    expect([back.status, back.out]).toEqual([0, '2 nodes moved to subnets']);
    expect(subnetOf(await addPod('again1', 1))).toBe(true);
    await flow('again1', 'new2');
    await until('pods are told', () => status().reduce((sum, { pods: { blocks } }) => sum + blocks, 0) === 2);
    expect(status().map(({ stage, pods: { blocks } }) => [stage, blocks])).toEqual([
      ['subnets', 1],
      ['subnets', 1],
      ['subnets', 0],
    ]);
  }, 60_000);

  test('all the way, an agent killed on the way: no packet was lost since the beginning', async () => {
    await cluster.node(3).stop('SIGKILL');
    cluster.node(3).start(both);
    await cluster.node(3).ready();
    const ran = godwit('migrate', 'run');
    expect([ran.status, ran.out]).toEqual([0, '3 nodes moved to blocks']);
    expect(blockOf(await addPod('new3', 3))).toBe(true);
    await flow('new3', 'old1');
    await flow('new3', 'new2');
    expect(godwit('migrate', 'run').out).toBe('nothing to do: new pods come from blocks on every node');
    await nothingLost();
  }, 90_000);

  test('not finished while a pod is on a bridge: every one is named', () => {
    const refused = godwit('migrate', 'finish');
    expect(refused.status).toBe(1);
    for (const pod of ['old1', 'old2', 'old3', 'still1', 'still2', 'again1'])
      expect(refused.error).toContain(`shop/${pod}`);
    expect(refused.error).toContain('Nothing was changed now.');
  });

  test('old pods are recreated, then it is finished: what was told goes, and nothing else', async () => {
    for (const name of ['old1', 'old2', 'old3', 'still1', 'still2', 'again1']) await removePod(name);
    await until('none is left', () => status().every(({ bridgeUsers }) => bridgeUsers.length === 0));
    // somebody else's interface keeps a bridge as well
    cluster
      .node(2)
      .run('sh', '-c', 'ip link add foreign0 type veth peer name foreign1 && ip link set foreign0 master cni0 up');
    await until('it is seen', () => status().some(({ bridgeUsers }) => bridgeUsers.length === 1));
    expect(godwit('migrate', 'finish').error).toContain('node n2: its bridge is used by interface foreign0');
    cluster.node(2).run('ip', 'link', 'del', 'foreign0');
    await until('it is gone', () => status().every(({ bridgeUsers }) => bridgeUsers.length === 0));
    const told = godwit('migrate', 'finish', '--dry-run');
    expect([told.status, told.error]).toEqual([0, '']);
    expect(told.out).toContain('There is no way back after that');
    const { afterwards } = plan();
    await flow('new1', 'new2', 'new3');
    const before = new Map(numbers.map((n) => [n, cluster.node(n).routes()]));
    // one agent is down: it does its part when it is back
    await cluster.node(3).stop('SIGKILL');
    const waited = godwit('migrate', 'finish', '--timeout', '10');
    expect([waited.status, waited.error]).toEqual([1, expect.stringContaining('node n3: ')]);
    expect(waited.error).not.toContain('node n1: ');
    cluster.node(3).start(both);
    const done = godwit('migrate', 'finish', '--timeout', '30');
    expect([done.status, done.error]).toEqual([0, '']);
    for (const n of numbers) {
      const { removed } = afterwards.find(({ node }) => node === `n${n}`)!;
      expect(removed).toHaveLength(3);
      const gone = removed.map((route) => route.replace(' proto 71', ''));
      await cluster.node(n).hasRoutes(...before.get(n)!.filter((route) => !gone.includes(route)));
      const left = cluster.node(n).dataplane();
      for (const text of ['cni0', '10.244.']) expect(left).not.toContain(text);
      expect(existsSync(`${cluster.node(n).directory}/subnet.env`)).toBe(false);
    }
    expect((await cluster.store.list(`${PREFIX}/subnets/`)).kvs).toEqual([]);
    expect(godwit('migrate', 'rollback').error).toContain('the migration is finished');
    expect(godwit('migrate', 'finish').status).toBe(0);
    await nothingLost();
  }, 90_000);

  test('agents are restarted, with both networks or with blocks alone: nothing comes back', async () => {
    await flow('new1', 'new2', 'new3');
    for (const n of numbers) {
      await cluster.node(n).stop();
      cluster.node(n).start(n === 1 ? both : ['--network', 'blocks']);
    }
    for (const n of numbers) await cluster.node(n).ready();
    expect(blockOf(await addPod('newer1', 1))).toBe(true);
    await flow('newer1', 'new3');
    for (const n of numbers) {
      expect(cluster.node(n).dataplane()).not.toContain('10.244.');
      await until('all is well', async () => (await cluster.node(n).status()).warnings.length === 0);
    }
    expect((await cluster.store.list(`${PREFIX}/subnets/`)).kvs).toEqual([]);
    await cluster.node(1).stop();
    // neither does it come back in what is told
    const node = cluster.node(1);
    const dry = node.run(...node.command(...node.arguments([...both, '--dry-run'])).slice(4));
    expect(dry).toContain('routes: nothing to change');
    expect(dry).not.toMatch(/lease|cni0/);
    node.start(both);
    await node.ready();
    const shown = node.run(...node.command('node', 'status', '--socket', `${node.directory}/run/agent.sock`).slice(4));
    expect(shown).not.toMatch(/^lease |cni0/m);
    await nothingLost();
  }, 60_000);
});
