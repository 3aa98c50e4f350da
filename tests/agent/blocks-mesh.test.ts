// Calico's network under the agent: nodes that know each other from the datastore alone, and routes that come by BGP.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ip, prefix } from '../../src/net/mod.ts';
import { parsePublished, statusKey } from '../../src/status/mod.ts';
import type { PublishedStatus, Readiness } from '../../src/status/mod.ts';
import { claim, giveUp, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';

const here = have('Calico’s network under the agent', 'ip', 'nft', 'etcd');
const blocks = ['--network', 'blocks'];
const own = (n: number) => `10.233.${n}.0/26`;
const to = (n: number) => `${own(n)} via 10.168.0.${n} dev eth0`;
const blackhole = (n: number) => `blackhole ${own(n)}`;

describe.skipIf(!here)('three nodes with blocks', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [1, 2, 3] });
    await putResource(cluster.store, poolOf('10.233.0.0/16'));
    for (const n of [1, 2, 3]) await claim(cluster.store, `n${n}`, own(n));
    for (const node of cluster.nodes.values()) node.start(blocks);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('each makes its Node resource as Calico writes it', async () => {
    const { kv } = await until('the resource', async () => {
      const got = await cluster.store.get('/calico/resources/v3/projectcalico.org/nodes/n1');
      return got.kv && got;
    });
    expect(JSON.parse(kv!.value)).toMatchObject({
      kind: 'Node',
      apiVersion: 'projectcalico.org/v3',
      metadata: { name: 'n1' },
      spec: { bgp: { ipv4Address: '10.168.0.1/24' } },
    });
  });

  test('each has the routes to the others’ blocks by BGP, and an end for its own', async () => {
    for (const node of cluster.nodes.values()) await node.ready();
    for (const n of [1, 2, 3]) {
      const others = [1, 2, 3].filter((other) => other !== n);
      await cluster.node(n).hasRoutes(blackhole(n), ...others.map(to));
    }
    const { blocks: status } = await cluster.node(1).status();
    expect(status?.blocks).toEqual([own(1)] as never);
    expect(status?.bgp?.sessions.map(({ name, state, accepted }) => [name, state, accepted])).toEqual([
      ['Mesh_10_168_0_2', 'Established', 1],
      ['Mesh_10_168_0_3', 'Established', 1],
    ]);
  });

  test('a new block is routed by all, a block given up by none', async () => {
    await claim(cluster.store, 'n1', '10.233.1.64/26');
    await cluster.node(2).hasRoutes(blackhole(2), to(1), to(3), '10.233.1.64/26 via 10.168.0.1 dev eth0');
    await giveUp(cluster.store, 'n1', '10.233.1.64/26');
    await cluster.node(2).hasRoutes(blackhole(2), to(1), to(3));
    await cluster.node(1).hasRoutes(blackhole(1), to(2), to(3));
  });

  test('a filter’s rule about an interface holds for the way to the next hop', async () => {
    const mesh = (nodeToNodeMeshEnabled: boolean) =>
      putResource(cluster.store, {
        ...{ kind: 'BGPConfiguration', metadata: { name: 'default' }, spec: { nodeToNodeMeshEnabled } },
      });
    const rejected = (name: string) =>
      putResource(cluster.store, {
        ...{ kind: 'BGPFilter', metadata: { name: 'f' } },
        spec: { importV4: [{ interface: name, cidr: own(2), matchOperator: 'Equal', action: 'Reject' }] },
      });
    await rejected('eth*');
    await putResource(cluster.store, {
      ...{ kind: 'BGPPeer', metadata: { name: 'all' } },
      spec: { nodeSelector: 'all()', peerSelector: 'all()', filters: ['f'] },
    });
    await mesh(false);
    await cluster.node(1).hasRoutes(blackhole(1), to(3));
    await cluster.node(3).hasRoutes(blackhole(3), to(1));
    await rejected('*.calico');
    await cluster.node(1).hasRoutes(blackhole(1), to(2), to(3));
    await cluster.store.delete('/calico/resources/v3/projectcalico.org/bgppeers/all');
    await mesh(true);
    for (const n of [1, 2, 3]) {
      await cluster.node(n).ready();
      await cluster.node(n).hasRoutes(blackhole(n), ...[1, 2, 3].filter((other) => other !== n).map(to));
    }
  }, 60_000);

  test('a route deleted by hand is back; one of somebody else is left alone (F17, F18)', async () => {
    const node = cluster.node(1);
    node.run('ip', 'route', 'del', own(2));
    await node.hasRoutes(blackhole(1), to(2), to(3));
    node.run('ip', 'route', 'flush', 'proto', '71');
    await node.hasRoutes(blackhole(1), to(2), to(3));
    node.run('ip', 'route', 'add', '10.233.7.0/26', 'via', '10.168.0.3', 'proto', 'static');
    await claim(cluster.store, 'n2', '10.233.7.0/26');
    await until('the conflict is told', async () =>
      (await node.status()).problems.some(
        ({ kind, object }) => kind === 'conflict' && object.includes('10.233.7.0/26'),
      ),
    );
    expect(node.run('ip', 'route', 'show', '10.233.7.0/26')).toContain('via 10.168.0.3 dev eth0 proto static');
    node.run('ip', 'route', 'del', '10.233.7.0/26');
    await node.hasRoutes(blackhole(1), to(2), to(3), '10.233.7.0/26 via 10.168.0.2 dev eth0');
    await giveUp(cluster.store, 'n2', '10.233.7.0/26');
  });

  test('each says in the datastore, under a lease, what it has: others act on it', async () => {
    const said = async (n: number) => {
      const { kv } = await cluster.store.get(statusKey(`n${n}`));
      return kv && { lease: kv.lease, status: parsePublished(kv.value), json: JSON.parse(kv.value) as PublishedStatus };
    };
    // a session that was made anew may have to be dialled twice
    const first = await until('its sessions are up and its neighbours’ blocks told', async () => {
      const now = await said(1);
      const theirs = now?.status?.installed.get('10.168.0.2') ?? [];
      const complete = now?.status?.ready === true && now.json.blocks?.sessions.down.length === 0;
      return complete && theirs.join() === own(2) ? now : undefined;
    });
    expect(first.lease).not.toBe('0' as never);
    expect(first.json.blocks?.blocks).toEqual([prefix(own(1))]);
    expect(first.json).toMatchObject({
      ...{ node: 'n1', ready: true, addresses: [{ family: 4, address: ip('10.168.0.1') }] },
      blocks: { sessions: { wanted: 2, established: 2, down: [] } },
    });
    await cluster.node(2).stop('SIGKILL');
    // one neighbour of two: that is the neighbour's trouble
    const without = await until('a session is down', async () => {
      const now = await said(1);
      return now?.json.blocks?.sessions.down.includes('Mesh_10_168_0_2') === true ? now.json : undefined;
    });
    expect(without).toMatchObject({ ready: true, warnings: [expect.stringContaining('session Mesh_10_168_0_2')] });
    await cluster.node(3).stop('SIGKILL');
    await until('it is not ready: nobody is there', async () => (await said(1))?.status?.ready === false);
    cluster.node(3).start(blocks);
    cluster.node(2).start(blocks);
    await cluster.node(2).ready();
    await until('it is ready again', async () => (await said(1))?.status?.ready);
  });

  test('not ready before a neighbour has its blocks in its kernel', async () => {
    // somebody else's route keeps node 2 from having it
    await cluster.node(1).stop();
    await giveUp(cluster.store, 'n1', own(1));
    cluster.node(1).run('ip', 'route', 'flush', 'proto', '71');
    for (const n of [2, 3])
      cluster.node(n).run('ip', 'route', 'replace', '10.233.8.0/26', 'dev', 'lo', 'proto', 'static');
    await claim(cluster.store, 'n1', '10.233.8.0/26');
    cluster.node(1).start(blocks);
    const waits = await until('it says so', async () => {
      const { reasons } = (await cluster.node(1).ask<Readiness>('/readyz')) ?? { reasons: [] };
      return reasons.find((reason) => reason.includes('does not have 10.233.8.0/26 in its kernel yet'));
    });
    expect(waits).toMatch(/^bgp: n[23] /);
    for (const n of [2, 3]) cluster.node(n).run('ip', 'route', 'del', '10.233.8.0/26', 'proto', 'static');
    await cluster.node(1).ready();
    await claim(cluster.store, 'n1', own(1));
    await giveUp(cluster.store, 'n1', '10.233.8.0/26');
  });

  test('the dry run says what would be done', async () => {
    const node = cluster.node(3);
    await node.stop();
    const text = node.run(...node.command(...node.arguments([...blocks, '--dry-run'])).slice(4));
    expect(text).toContain(`# blocks: ${own(3)}`);
    expect(text).toContain('# session: Mesh_10_168_0_1 AS 64512');
    node.start(blocks);
    await node.ready();
  });
});
