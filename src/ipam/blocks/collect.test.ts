import { expect, test } from 'bun:test';
import { MemoryStore } from '../../../tests/support/memory-store.ts';
import { ManualClock, systemClock } from '../../base/mod.ts';
import { parseGiven, resourceKey, ResourceClient } from '../../model/mod.ts';
import type { AnyResource } from '../../model/mod.ts';
import { ip, prefix } from '../../net/mod.ts';
import { affinitiesOf, releaseAffinity, releaseEmptyBlocks } from './affinities.ts';
import { audit } from './audit.ts';
import { BrokenUsersError, LeakCollector, readPicture } from './collect.ts';
import { BlockIpam } from './engine.ts';
import { affinityKey, blockKey, CONFIG_KEY, handleKey, hostOwner } from './keys.ts';
import { Ownership } from './ownership.ts';
import { ensureTunnelAddress } from './tunnels.ts';

const resource = (kind: string, name: string, spec: object, namespace?: string): AnyResource => {
  const parsed = parseGiven({ kind, apiVersion: 'projectcalico.org/v3', metadata: { name, namespace }, spec });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
};

async function world() {
  const memory = new MemoryStore();
  const store = memory.client();
  const manual = new ManualClock(0, Date.parse('2026-01-02T03:04:05Z'));
  const clock = { ...systemClock, wallNow: () => manual.wallNow() };
  const resources = new ResourceClient(store, { clock, uuid: () => 'uid' });
  await resources.create(resource('IPPool', 'p', { cidr: '10.0.0.0/28', blockSize: 30 }));
  await resources.create(resource('Node', 'n1', {}));
  const ipam = new BlockIpam({ store, node: 'n1', clock });
  const give = async (pod: string) => {
    const attributes = { pod, namespace: 'default', node: 'n1' };
    const result = await ipam.assign({ handle: `net.${pod}`, attributes, want: [{ family: 4 }] });
    if (!result.ok) throw result.error;
    return result.value[0]!.address;
  };
  const endpoint = (pod: string, address: string) =>
    resource(
      'WorkloadEndpoint',
      `n1-k8s-${pod}-eth0`,
      { node: 'n1', orchestrator: 'k8s', pod, endpoint: 'eth0', ipNetworks: [`${address}/32`] },
      'default',
    );
  return {
    memory,
    store,
    resources,
    ipam,
    give,
    endpoint,
    now: () => manual.wallNow(),
    advance: (ms: number) => manual.advance(ms),
  };
}

test('only what is unused for the whole grace is freed, and only that giving of it', async () => {
  const w = await world();
  const collector = new LeakCollector(w.store, w.ipam, 60_000);
  const used = await w.give('used');
  await w.resources.create(w.endpoint('used', used));
  const leaked = await w.give('leaked');
  const young = await w.give('young');
  expect(await collector.pass(w.now())).toEqual([]);
  w.advance(30_000);
  await w.ipam.release('net.young');
  for (const pod of ['x', 'y']) await w.give(pod);
  await w.ipam.release('net.y');
  await w.ipam.release('net.x');
  expect(await w.give('young')).toBe(young); // the same pod again: another giving of the same address
  expect(await collector.pass(w.now())).toEqual([]);
  w.advance(31_000);
  expect((await collector.pass(w.now())).map((a) => a.address)).toEqual([leaked]);
  expect((await w.store.get(handleKey('net.leaked'))).kv).toBeUndefined();
  expect(await w.give('young')).toBe(young);
  expect(await w.give('used')).toBe(used);
});

test('a pod that appears between the last look and the transaction keeps its address', async () => {
  const w = await world();
  const address = await w.give('late');
  const suspect = audit(await readPicture(w.store, w.now())).leaked[0]!;
  await w.resources.create(w.endpoint('late', address));
  const absent = [resourceKey('WorkloadEndpoint', 'n1-k8s-late-eth0', 'default')];
  expect(await w.ipam.takeBack({ ...suspect, absent })).toEqual({ ok: true, value: false });
  await w.resources.delete({ kind: 'WorkloadEndpoint', name: 'n1-k8s-late-eth0', namespace: 'default' });
  expect(await w.ipam.takeBack({ ...suspect, absent })).toEqual({ ok: true, value: true });
});

test('what a live node claims is in use; a handle’s addresses stay together', async () => {
  const w = await world();
  const collector = new LeakCollector(w.store, w.ipam, 0);
  const address = await w.give('local');
  const result = await w.ipam.assign({
    handle: 'net.two',
    attributes: { node: 'n1' },
    want: [{ family: 4 }, { family: 4 }],
  });
  const [first] = result.ok ? result.value.map((a) => a.address) : [];
  const claims = () =>
    Promise.resolve(
      new Map([
        [address, 'Node(n1)'],
        [first!, 'Node(n1)'],
      ]),
    );
  for (let pass = 0; pass < 3; pass++) expect(await collector.pass(w.now(), claims)).toEqual([]);
  expect(await collector.pass(w.now())).toHaveLength(1); // long suspected, and now nothing speaks for it
  expect(await collector.pass(w.now())).toHaveLength(2);
});

test('a node that is gone: its live addresses stay, its blocks go after the grace, empty and not before', async () => {
  const w = await world();
  const collector = new LeakCollector(w.store, w.ipam, 60_000);
  const address = await w.give('alive');
  await w.resources.create(w.endpoint('alive', address));
  await w.give('dead');
  await w.resources.delete({ kind: 'Node', name: 'n1' });
  for (let pass = 0; pass < 3; pass++) {
    await collector.pass(w.now());
    w.advance(61_000);
  }
  const audited = audit(await readPicture(w.store, w.now()));
  expect(audited.allocations.map((a) => a.address)).toEqual([address]); // the other one was nobody's
  expect(audited.orphans).toHaveLength(1);
  await w.resources.delete({ kind: 'WorkloadEndpoint', name: 'n1-k8s-alive-eth0', namespace: 'default' });
  for (let pass = 0; pass < 3; pass++) {
    await collector.pass(w.now());
    w.advance(61_000);
  }
  expect((await w.store.list('/calico/ipam/v2/')).kvs).toEqual([]);
});

test('a node that comes back within the grace finds its block', async () => {
  const w = await world();
  const collector = new LeakCollector(w.store, w.ipam, 60_000);
  await w.give('a');
  await w.ipam.release('net.a');
  await w.resources.delete({ kind: 'Node', name: 'n1' });
  await collector.pass(w.now());
  w.advance(59_000);
  await collector.pass(w.now());
  await w.resources.create(resource('Node', 'n1', {}));
  w.advance(59_000);
  await collector.pass(w.now());
  expect(await affinitiesOf(w.store, hostOwner('n1'))).toHaveLength(1);
});

test('the block of a node that is gone stays while an address in it cools down', async () => {
  const w = await world();
  await w.store.put(CONFIG_KEY, '{"strict_affinity":false,"auto_allocate_blocks":true,"ipCooldownSeconds":600}');
  const collector = new LeakCollector(w.store, w.ipam, 60_000);
  await w.give('a');
  await w.ipam.release('net.a');
  await w.resources.delete({ kind: 'Node', name: 'n1' });
  const blocks = async () => {
    await collector.pass(w.now());
    w.advance(61_000);
    await collector.pass(w.now());
    return (await w.store.list('/calico/ipam/v2/assignment/')).kvs.length;
  };
  expect(await blocks()).toBe(1);
  w.advance(600_000);
  expect(await blocks()).toBe(0);
});

test('nothing is freed while it cannot be told what is in use', async () => {
  const w = await world();
  await w.give('a');
  await w.store.put(resourceKey('WorkloadEndpoint', 'x', 'default'), '{"garbage":1}');
  const collector = new LeakCollector(w.store, w.ipam, 0);
  expect(collector.pass(w.now())).rejects.toBeInstanceOf(BrokenUsersError);
});

test('the audit finds what is wrong', async () => {
  const w = await world();
  const used = await w.give('used');
  await w.resources.create(w.endpoint('used', used));
  await w.resources.create(w.endpoint('unrecorded', '10.0.0.15'));
  await w.resources.create(w.endpoint('elsewhere', '192.168.0.1'));
  const leaked = await w.give('leaked');
  await w.store.put(handleKey('nobody'), '{"block":{"10.0.0.0/30":1},"deleted":false}');
  await w.store.delete(handleKey('net.used'));
  await w.store.put(affinityKey(hostOwner('n9'), prefix('10.0.0.12/30')), '{"state":"pending","deleted":false}');
  await w.store.put(blockKey(prefix('10.9.0.0/30')), 'x');
  const found = audit(await readPicture(w.store, w.now()));
  expect(found.leaked.map((a) => a.address)).toEqual([leaked]);
  expect(found.unrecorded.map((a) => a.address)).toEqual([ip('10.0.0.15')]);
  expect(found.foreign.map((a) => a.address)).toEqual([ip('192.168.0.1')]);
  expect(found.leakedHandles.map((h) => h.handle)).toEqual(['nobody']);
  expect(found.missingHandles).toEqual(['net.used']);
  expect(found.brokenBlocks).toHaveLength(1);
  expect(found.affinityFaults).toHaveLength(1);
  expect(found.orphans.map((o) => o.owner as string)).toEqual(['host:n9']);
  expect(found.problems).toBe(8);
  expect(found.allocations.find((a) => a.address === used)?.owners).toEqual(['Workload(default/n1-k8s-used-eth0)']);
});

test('giving blocks up: empty ones go after two looks, one stays; a full one loses its owner only', async () => {
  const w = await world();
  const pods = Array.from({ length: 9 }, (_, i) => `p${i}`);
  for (const pod of pods) await w.give(pod);
  const owner = hostOwner('n1');
  expect(await affinitiesOf(w.store, owner)).toHaveLength(3);
  for (const pod of pods) await w.ipam.release(`net.${pod}`);
  const since = new Map();
  const options = () => ({ cooldownSeconds: 0, now: w.now(), minAgeMs: 60_000 });
  expect(await releaseEmptyBlocks(w.store, owner, since, options())).toEqual([]);
  w.advance(61_000);
  expect(await releaseEmptyBlocks(w.store, owner, since, options())).toHaveLength(2);
  const [left] = await affinitiesOf(w.store, owner);
  const address = await w.give('again');
  expect(address).toStartWith(left!.split('/')[0]!.replace(/\d+$/, ''));
  const release = { cooldownSeconds: 0, now: w.now() };
  expect(await releaseAffinity(w.store, owner, left!, { ...release, requireEmpty: true })).toBe('in-use');
  expect(await releaseAffinity(w.store, owner, left!, { ...release, requireEmpty: false })).toBe('released');
  expect(await releaseAffinity(w.store, owner, left!, { ...release, requireEmpty: false })).toBe('gone');
  expect((await w.store.get(blockKey(left!))).kv?.value).toContain('"affinity":null,"allocations"');
  expect((await w.ipam.release('net.again')).ok).toBe(true);
  expect((await w.store.get(blockKey(left!))).kv).toBeUndefined(); // empty and nobody's
});

test('a tunnel’s address stays the same while its pool does', async () => {
  const w = await world();
  const first = await ensureTunnelAddress(w.ipam, { kind: 'ipip', family: 4, pools: ['p'] });
  expect(await ensureTunnelAddress(w.ipam, { kind: 'ipip', family: 4, pools: ['p'] })).toEqual(first);
  const [allocation] = audit(await readPicture(w.store, w.now())).allocations;
  expect(allocation).toMatchObject({ handle: 'ipip-tunnel-addr-n1', type: 'ipipTunnelAddress', node: 'n1' });
});

test('ownership counts confirmed claims only, and knows who borrowed', () => {
  const ownership = new Ownership();
  const cidr = prefix('10.0.0.0/30');
  const put = (key: string, value: string) =>
    ownership.apply({
      type: 'put',
      kv: { key, value, createRevision: 1, modRevision: 1, version: 1, lease: '0' as never },
    });
  put(affinityKey(hostOwner('n1'), cidr), '{"state":"pending","deleted":false}');
  expect([...ownership.owned()]).toEqual([]);
  put(
    blockKey(cidr),
    '{"cidr":"10.0.0.0/30","affinity":"host:n1","allocations":[0,1,null,null],"unallocated":[2,3],"attributes":[{"handle_id":"a","secondary":{"node":"n1"}},{"handle_id":"b","secondary":{"node":"n2"}}],"sequenceNumber":1,"sequenceNumberForAllocation":{},"deleted":false}',
  );
  put(affinityKey(hostOwner('n1'), cidr), '{"state":"confirmed","deleted":false}');
  put(affinityKey(hostOwner('n3'), cidr), '{"state":"confirmed","deleted":false}'); // stale: the block says n1
  expect([...ownership.owned()]).toEqual([[cidr, 'n1']]);
  expect(ownership.borrowed(cidr)).toEqual([{ address: ip('10.0.0.1'), node: 'n2' }]);
  ownership.apply({ type: 'delete', key: affinityKey(hostOwner('n1'), cidr) });
  expect(ownership.ownerOf(cidr)).toBeUndefined();
});
