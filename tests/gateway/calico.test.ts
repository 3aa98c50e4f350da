// Way two with Calico's blocks in a real etcd: two announcers in two racks, FRR and BIRD as the racks' gateways; what each
// gateway gets, aggregates of the other rack, and nodes that are cordoned, not ready, or lend an address.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { blockKey, encodeBlock, give, hostOwner, newBlock } from '../../src/ipam/blocks/mod.ts';
import { prefix } from '../../src/net/mod.ts';
import { birdPrograms, frrPrograms } from '../support/bgp/mod.ts';
import type { Daemon } from '../support/bgp/daemon.ts';
import { claim, giveUp, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { startGateway } from './gateways.ts';
import { main, Racks, racks } from './racks.ts';
import type { Rack } from './racks.ts';

const here = have('gateway announcer with Calico’s blocks', '/usr/sbin/ip', 'etcd', ...frrPrograms, ...birdPrograms);
const announcers = { a: '192.168.1.250', b: '192.168.2.250' } as const;
const nodes = { n1: ['a', 11], n2: ['a', 12], n3: ['b', 11] } as const;
type NodeName = keyof typeof nodes;
const addressOf = (name: NodeName) => `${racks[nodes[name][0]].subnet}.${nodes[name][1]}`;

const configOf = (rack: Rack) => ({
  source: 'calico',
  announce: {
    within: ['10.233.0.0/16'],
    ...{ notReady: 'exclude', cordoned: 'drain' },
    aggregate: [{ to: 'rack', label: 'rack', nextHop: { a: '192.168.1.1', b: '192.168.2.1' } }],
  },
  guard: { alwaysWithdraw: 10 },
  gateways: (['a', 'b'] as const).map((gateway) => ({
    ...{
      name: racks[gateway].gateway,
      address: `${racks[gateway].subnet}.1`,
      as: racks[gateway].gatewayAs,
      multihop: 5,
    },
    ...(gateway === 'a' && { segment: ['192.168.1.0/24'], send: 'aggregates', communities: ['64999:7'], med: 10 }),
    timers: { connectRetry: 1, idleHold: 0.2, idleHoldMax: 1 },
  })),
  bgp: { routerId: announcers[rack], as: 64_999, listen: [announcers[rack]] },
});

describe.skipIf(!here)('announcers with Calico’s blocks', () => {
  let all: Racks;
  let frr: Daemon;
  let bird: Daemon;

  const putNode = (name: NodeName, labels: Record<string, string> = {}) =>
    putResource(all.store, {
      ...{ kind: 'Node', metadata: { name, labels: { rack: nodes[name][0], ...labels } } },
      spec: { bgp: { ipv4Address: `${addressOf(name)}/24` } },
    });
  const putStatus = (name: NodeName, ready: boolean) =>
    all.store.put(`/godwit/v1/status/nodes/${name}`, JSON.stringify({ node: name, ready, addresses: [] }));
  // to the other rack by the link between the gateways: both resolve next hops through their kernel's routes
  const rackA = ['10.233.0.0/26 via 192.168.1.11', '10.233.1.0/26 via 192.168.1.12'];
  const poolB = '10.233.16.0/20 via 10.0.0.2';
  const atB = ['10.233.0.0/26 via 10.0.0.1', '10.233.1.0/26 via 10.0.0.1', '10.233.16.0/26 via 192.168.2.11'];

  beforeAll(async () => {
    all = await Racks.start('etcd');
    for (const cidr of ['10.233.0.0/20', '10.233.16.0/20', '10.99.0.0/24']) await putResource(all.store, poolOf(cidr));
    for (const name of Object.keys(nodes) as NodeName[]) await putNode(name);
    await claim(all.store, 'n1', '10.233.0.0/26');
    await claim(all.store, 'n2', '10.233.1.0/26');
    await claim(all.store, 'n3', '10.233.16.0/26');
    await claim(all.store, 'n3', '10.99.0.0/26');
    for (const rack of ['a', 'b'] as const) {
      all.plug(`ann${rack}`, rack, 250);
      all.shell(`ann${rack}`, `ip route add default via ${racks[rack].subnet}.1`);
      const directory = all.of(`ann${rack}`);
      mkdirSync(directory);
      writeFileSync(join(directory, 'gateway.yaml'), JSON.stringify(configOf(rack)));
      const files = ['--config', join(directory, 'gateway.yaml'), '--socket', join(directory, 'sock')];
      const command = ['gateway', ...files, '--datastore', all.url];
      all.daemon(`ann${rack}`, `ann${rack}`).spawn([process.execPath, main, ...command]);
    }
    const options = { announcers: Object.values(announcers) };
    frr = await startGateway(all, 'FRR', 'a', 'eBGP for each rack', options);
    bird = await startGateway(all, 'BIRD', 'b', 'eBGP for each rack', options);
  });
  afterAll(() => all[Symbol.asyncDispose]());

  test('one gateway gets its own nodes and the other rack as one route, the other every node', async () => {
    await all.hasRoutes('gwa', ...rackA, poolB);
    await all.hasRoutes('gwb', ...atB);
    const vtysh = ['vtysh', '--vty_socket', frr.directory, '-c', 'show bgp ipv4 unicast 10.233.0.0/26 json'];
    type Told = { paths?: { metric: number; community: { string: string } }[] } | undefined;
    // a path of each announcer, the same from both
    const paths = await until('both announcers tell it', () => {
      const told = frr.askJson(...vtysh) as Told;
      return told?.paths?.length === 2 && told.paths;
    });
    expect(paths.map(({ metric, community }) => [metric, community.string])).toEqual([
      [10, '64999:7'],
      [10, '64999:7'],
    ]);
  }, 60_000);

  test('a rack that takes a block in another’s pool: its parts in place of the whole', async () => {
    await claim(all.store, 'n1', '10.233.16.64/26');
    const parts = ['10.233.16.0/26 via 10.0.0.2', '10.233.16.64/26 via 192.168.1.11'];
    await all.hasRoutes('gwa', ...rackA, ...parts);
    await giveUp(all.store, 'n1', '10.233.16.64/26');
    await all.hasRoutes('gwa', ...rackA, poolB);
  });

  test('an address that a node has from another’s block goes its own way', async () => {
    const block = newBlock(prefix('10.233.0.0/26'), hostOwner('n1'), Date.now());
    const lent = give(block, 9, 'k8s-pod-network.x', { namespace: 'default', node: 'n3', pod: 'p' });
    await all.store.put(blockKey(block.cidr), encodeBlock(lent));
    await all.hasRoutes('gwb', ...atB, '10.233.0.9 via 192.168.2.11');
    await all.store.put(blockKey(block.cidr), encodeBlock(block));
    await all.hasRoutes('gwb', ...atB);
  });

  test('a cordoned node’s routes carry GRACEFUL_SHUTDOWN', async () => {
    const marked = () =>
      (bird.ask('birdc', '-s', bird.file('ctl'), 'show', 'route', 'all', '10.233.1.0/26') ?? '').includes('(65535,0)');
    await putNode('n2', { 'godwit.io/cordoned': 'true' });
    await until('the community is there', marked);
    await putNode('n2');
    await until('it is gone', () => !marked());
    await all.hasRoutes('gwb', ...atB);
  });

  test('a node that is not ready is left out until it is, or until nobody says anything of it', async () => {
    await putStatus('n2', false);
    await all.hasRoutes('gwb', ...atB.filter((route) => !route.startsWith('10.233.1.')));
    await putStatus('n2', true);
    await all.hasRoutes('gwb', ...atB);
    await putStatus('n2', false);
    await all.hasRoutes('gwb', ...atB.filter((route) => !route.startsWith('10.233.1.')));
    await all.store.delete('/godwit/v1/status/nodes/n2');
    await all.hasRoutes('gwb', ...atB);
  });

  test('a pool that is not exported', async () => {
    const keep = (disableBGPExport: boolean) => putResource(all.store, poolOf('10.233.16.0/20', { disableBGPExport }));
    await keep(true);
    await all.hasRoutes('gwb', ...atB.slice(0, 2));
    await all.hasRoutes('gwa', ...rackA);
    await keep(false);
    await all.hasRoutes('gwb', ...atB);
  });
});
