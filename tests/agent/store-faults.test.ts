// The datastore fails, forgets or tells nonsense under a running agent (F01, F02, F25, F35 in part), and the lease is lost.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { have } from '../support/peers.ts';
import { run, until } from '../support/netns.ts';
import { Cluster, PREFIX } from './cluster.ts';
import type { Node } from './cluster.ts';

const here = have('the agent against faults of the datastore', 'ip', 'etcd', 'etcdctl');

describe.skipIf(!here)('faults of the datastore', () => {
  let cluster: Cluster;
  let node: Node;
  const route = (n: number) => `10.244.${n}.0/24 via 10.168.0.${n} dev eth0`;
  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2] });
    for (const n of [201, 202]) await cluster.putLease(`10.244.${n}.0/24`, `10.168.0.${n}`);
    node = cluster.node(2);
    await node.up();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const state = async () => (await node.status()).datastore.state;

  test('F01: it hangs: no route changes, repair goes on, what was missed comes after', async () => {
    const monitor = await node.monitor('route', 'address');
    cluster.signalEtcd('SIGSTOP');
    const ticks = () => {
      const fields = readFileSync(`/proc/${node.process!.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
      return Number(fields[11]) + Number(fields[12]);
    };
    const before = ticks();
    await Bun.sleep(4_000);
    expect(await monitor.stop()).toBe('');
    // not a matter of speed: a loop that spins would use all of it
    expect(ticks() - before).toBeLessThan(200);
    node.run('ip', 'route', 'del', '10.244.202.0/24');
    await node.hasRoutes(route(201), route(202));
    expect((await node.status()).ready).toBe(true);
    cluster.signalEtcd('SIGCONT');
    await cluster.putLease('10.244.203.0/24', '10.168.0.203');
    await node.hasRoutes(route(201), route(202), route(203));
  });

  test('F01: it dies and comes back', async () => {
    const monitor = await node.monitor('route', 'address');
    await cluster.stopEtcd();
    const status = await until('the agent knows', async () => {
      const now = await node.status();
      return now.datastore.state === 'stale' && now;
    });
    expect(status).toMatchObject({ ready: true, reasons: [] });
    expect(status.warnings.join()).toContain('datastore');
    expect(status.lease?.state).toBe('held');
    await cluster.startEtcd();
    await until('in sync again', async () => (await state()) === 'in-sync', 30_000);
    expect(await monitor.stop()).toBe('');
    await cluster.deleteLease('10.244.203.0/24');
    await node.hasRoutes(route(201), route(202));
  });

  test('F02: compacted while the agent could not watch: the difference is applied, nothing else moves', async () => {
    node.process?.kill('SIGSTOP');
    await cluster.stopEtcd();
    await cluster.startEtcd();
    await until('etcd is back', () => cluster.store.get('x').catch(() => undefined), 20_000);
    for (let i = 0; i < 200; i++) await cluster.store.put(`${PREFIX}/subnets/churn`, String(i));
    await cluster.store.delete(`${PREFIX}/subnets/churn`);
    await cluster.deleteLease('10.244.202.0/24');
    await cluster.putLease('10.244.204.0/24', '10.168.0.204');
    const { revision } = await cluster.store.get('x');
    run('etcdctl', '--endpoints', cluster.url, 'compact', String(revision));
    const monitor = await node.monitor('route');
    node.process?.kill('SIGCONT');
    await until('both changes', () => node.routes().join() === [route(201), route(204)].join(), 30_000);
    const told = await monitor.stop();
    expect(told).toContain('Deleted 10.244.202.0/24');
    expect(told).toContain('10.244.204.0/24');
    expect(told).not.toContain('10.244.201.0/24');
    await node.ready();
  });

  test('F25: a node’s lease moves to another address, goes, comes back', async () => {
    await cluster.putLease('10.244.201.0/24', '10.168.0.99');
    await node.hasRoutes('10.244.201.0/24 via 10.168.0.99 dev eth0', route(204));
    await cluster.deleteLease('10.244.201.0/24');
    await node.hasRoutes(route(204));
    await cluster.putLease('10.244.201.0/24', '10.168.0.201');
    await node.hasRoutes(route(201), route(204));
  });

  test('a node that is not on this segment: not routed, told, not ready', async () => {
    await cluster.putLease('10.244.205.0/24', '192.168.9.13');
    const reasons = await until('it is told', async () => {
      const now = await node.status();
      return !now.ready && now.reasons;
    });
    expect(reasons).toEqual([expect.stringContaining('192.168.9.13 is on no subnet that is connected to this node')]);
    await node.hasRoutes(route(201), route(204));
    await cluster.deleteLease('10.244.205.0/24');
    await node.ready();
  });

  test('F35: garbage is set aside key by key, told, and takes nothing with it', async () => {
    const keys = {
      '10.244.210.0-24': '{"PublicIP": 7}',
      '10.244.211.0-24': 'not JSON \u001b[31m',
      nonsense: '{}',
      '0.0.0.0-0': '{"PublicIP":"10.168.0.9","BackendType":"host-gw"}',
      '10.99.0.0-24': '{"PublicIP":"10.168.0.9","BackendType":"host-gw"}',
      '10.244.212.0-24': '{"__proto__":{"PublicIP":"1.2.3.4"},"PublicIP":"10.244.1.1","BackendType":"host-gw"}',
    };
    for (const [key, value] of Object.entries(keys)) await cluster.store.put(`${PREFIX}/subnets/${key}`, value);
    await cluster.store.put(`${PREFIX}/config`, '{"Network": "everything"}');
    const status = await until('it is told', async () => {
      const now = await node.status();
      return now.warnings.length >= 6 && now;
    });
    expect(status.ready).toBe(true);
    expect(JSON.stringify(status)).not.toContain('\u001b');
    await node.hasRoutes(route(201), route(204));
    for (const key of Object.keys(keys)) await cluster.store.delete(`${PREFIX}/subnets/${key}`);
    await cluster.store.delete(`${PREFIX}/config`);
    await until('the deleted configuration is told', async () =>
      (await node.status()).warnings.some((w) => w.includes('the last one still holds')),
    );
    await cluster.store.put(`${PREFIX}/config`, '{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}');
    await until('all is well', async () => (await node.status()).warnings.length === 0);
  });

  test('the own lease is revoked under a live node: taken again, the same subnet, pods’ bridge untouched', async () => {
    const { lease } = await node.status();
    const monitor = await node.monitor('link', 'address');
    await cluster.store.delete(`${PREFIX}/subnets/${lease!.name}`);
    await until('it is there again', async () => (await cluster.store.get(`${PREFIX}/subnets/${lease!.name}`)).kv);
    await node.ready();
    expect((await node.status()).lease).toMatchObject({ state: 'held', subnets: lease!.subnets });
    expect(await monitor.stop()).toBe('');
  });

  test('this node’s own address changes: the lease follows, the subnet stays', async () => {
    const { lease } = await node.status();
    node.run('sh', '-c', 'ip address del 10.168.0.2/24 dev eth0; ip address add 10.168.0.22/24 dev eth0');
    await until(
      'the lease carries the new address',
      async () => (await cluster.store.get(`${PREFIX}/subnets/${lease!.name}`)).kv?.value.includes('10.168.0.22'),
      30_000,
    );
    await node.ready();
    const status = await node.status();
    expect(status.addresses[0]?.address).toBe('10.168.0.22/24');
    expect(status.lease).toMatchObject({ state: 'held', subnets: lease!.subnets });
    await node.hasRoutes(route(201), route(204));
  });
});
