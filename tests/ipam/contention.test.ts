// Forty nodes at once on Debian's etcd, each with its own connection: no address twice, none lost, and every rule kept.
import { describe, expect, test } from 'bun:test';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import { audit, BlockIpam, readPicture, settingsFrom } from '../../src/ipam/blocks/mod.ts';
import { familyOf, parsePrefix, prefixContains } from '../../src/net/mod.ts';
import type { Family, IpAddress } from '../../src/net/mod.ts';
import { putResource, recorded } from '../support/calico.ts';
import { startEtcd } from '../support/datastores.ts';
import { have } from '../support/peers.ts';

const here = have('contention for addresses', 'etcd');

const put = (store: Datastore, kind: string, name: string, spec: object) =>
  putResource(store, { kind, metadata: { name }, spec });
const pool = (store: Datastore, name: string, spec: object) => put(store, 'IPPool', name, spec);

interface Crowd {
  readonly store: Datastore;
  /** One engine a node, each with a connection of its own. */
  readonly nodes: readonly BlockIpam[];
  readonly close: () => Promise<void>;
}
async function crowd(url: string, count: number): Promise<Crowd> {
  const stores = await Promise.all(Array.from({ length: count }, () => openDatastore(url)));
  const nodes = stores.map(
    (store, i) => new BlockIpam({ store, node: `node${i}`, settings: settingsFrom(store), patienceMs: 60_000 }),
  );
  return {
    store: stores[0]!,
    nodes,
    close: async () => void (await Promise.all(stores.map((s) => s[Symbol.asyncDispose]()))),
  };
}

/** Every node asks for so many pods at once; gives what was given, and the kinds of the refusals. */
async function all(nodes: readonly BlockIpam[], pods: number, families: readonly Family[] = [4]) {
  const want = families.map((family) => ({ family }));
  const results = await Promise.all(
    nodes.flatMap(({ node }, i) =>
      Array.from({ length: pods }, (_, pod) => {
        const handle = `${node}.${pod}`;
        const attributes = { pod: handle, namespace: 'default', node };
        return nodes[i]!.assign({ handle, attributes, want });
      }),
    ),
  );
  const given = results.flatMap((result) => (result.ok ? result.value.map(({ address }) => address) : []));
  const refused = new Set(results.flatMap((result) => (result.ok ? [] : [result.error.kind])));
  expect(new Set(given).size).toBe(given.length);
  return { given, refused: [...refused] };
}

/** What was given is what the blocks record, and nothing is half done. */
async function inOrder(store: Datastore, given: readonly IpAddress[]) {
  expect([...(await recorded(store)).keys()].sort()).toEqual(given.toSorted());
  const found = audit(await readPicture(store, Date.now()));
  const { affinityFaults, brokenBlocks, leakedHandles, missingHandles } = found;
  expect([affinityFaults, brokenBlocks, leakedHandles, missingHandles]).toEqual([[], [], [], []]);
  return found;
}

async function giveBack(store: Datastore, nodes: readonly BlockIpam[], pods: number): Promise<void> {
  await Promise.all(nodes.flatMap((ipam) => Array.from({ length: pods }, (_, i) => ipam.release(`${ipam.node}.${i}`))));
  expect((await recorded(store)).size).toBe(0);
  expect((await store.list('/calico/ipam/v2/handle/')).kvs).toEqual([]);
}

describe.skipIf(!here)('forty nodes at once', () => {
  test.each<[string, readonly Family[], object[]]>([
    ['IPv4', [4], [{ cidr: '10.233.0.0/18' }]],
    ['IPv6', [6], [{ cidr: 'fd00:233::/112' }]],
    ['both families', [4, 6], [{ cidr: '10.233.0.0/18' }, { cidr: 'fd00:233::/112' }]],
  ])(
    '50 parallel ADDs each, %s: 2,000 addresses, no leak, no lost block',
    async (_name, families, pools) => {
      await using etcd = await startEtcd();
      const { store, nodes, close } = await crowd(etcd.url, 40);
      for (const [i, spec] of pools.entries()) await pool(store, `p${i}`, spec);
      const { given, refused } = await all(nodes, 50, families);
      expect(refused).toEqual([]);
      for (const family of families) expect(given.filter((a) => familyOf(a) === family)).toHaveLength(2000);
      const found = await inOrder(store, given);
      expect(found.allocations.filter((a) => a.borrowed)).toEqual([]);
      await giveBack(store, nodes, 50);
      await close();
    },
    110_000,
  );

  test.each<[string, Family, string, number]>([
    ['IPv4', 4, '10.233.0.0/24', 28],
    ['IPv6', 6, 'fd00:233::/120', 124],
  ])(
    'a pool of 256, %s: every address once, borrowed or not, the rest is told why',
    async (_n, family, cidr, size) => {
      await using etcd = await startEtcd();
      const { store, nodes, close } = await crowd(etcd.url, 40);
      await pool(store, 'p', { cidr, blockSize: size });
      const { given, refused } = await all(nodes, 50, [family]);
      expect([given.length, refused]).toEqual([256, ['exhausted']]);
      expect((await store.list('/calico/ipam/v2/handle/')).kvs).toHaveLength(256);
      await inOrder(store, given);
      await close();
    },
    110_000,
  );

  test('strictAffinity: nobody has an address of another node’s block', async () => {
    await using etcd = await startEtcd();
    const { store, nodes, close } = await crowd(etcd.url, 40);
    for (const [name, cidr, blockSize] of [
      ['p4', '10.233.0.0/24', 28],
      ['p6', 'fd00:233::/120', 124],
    ] as const)
      await pool(store, name, { cidr, blockSize });
    await store.put('/calico/ipam/v2/config', '{"strict_affinity":true,"auto_allocate_blocks":true}');
    const { given, refused } = await all(nodes, 20, [4, 6]);
    const found = await inOrder(store, given);
    expect(found.allocations.filter((a) => a.borrowed)).toEqual([]);
    // 16 blocks of 16 addresses for 40 nodes: whoever has one of each family fills them
    expect(given.length).toBeGreaterThan(100);
    expect(refused.length).toBeGreaterThan(0);
    await close();
  }, 110_000);

  test('reservations, and no more blocks a node than allowed', async () => {
    await using etcd = await startEtcd();
    const { store, nodes, close } = await crowd(etcd.url, 40);
    await pool(store, 'p', { cidr: '10.233.0.0/20', blockSize: 28 });
    const reserved = ['10.233.0.0/22', '10.233.4.7/32', '10.233.5.0/27'];
    await put(store, 'IPReservation', 'r', { reservedCIDRs: reserved });
    await store.put(
      '/calico/ipam/v2/config',
      '{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":2}',
    );
    const { given, refused } = await all(nodes, 50);
    expect(refused).toEqual(['block-limit']);
    for (const address of given) {
      for (const cidr of reserved)
        expect([address, prefixContains(parsePrefix(cidr)!, address)]).toEqual([address, false]);
    }
    await inOrder(store, given);
    for (const { node } of nodes) {
      const { kvs } = await store.list(`/calico/ipam/v2/host/${node}/`);
      expect([node, kvs.length]).toEqual([node, 2]);
    }
    // two blocks of 16 each, less what is reserved in them
    expect(given.length).toBeGreaterThan(40 * 32 - 64);
    await giveBack(store, nodes, 50);
    await close();
  }, 110_000);
});
