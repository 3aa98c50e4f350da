import { describe, expect, test } from 'bun:test';
import { MemoryStore } from '../../../tests/support/memory-store.ts';
import { ManualClock, systemClock } from '../../base/mod.ts';
import { parseGiven, ResourceClient } from '../../model/mod.ts';
import type { AnyResource } from '../../model/mod.ts';
import { ip, prefix } from '../../net/mod.ts';
import { decodeBlock } from './block.ts';
import { BlockIpam } from './engine.ts';
import { affinityKey, blockKey, CONFIG_KEY, handleKey, hostOwner } from './keys.ts';
import type { AssignRequest, Want } from './requests.ts';

const resource = (kind: string, name: string, spec: object, labels: Record<string, string> = {}): AnyResource => {
  const parsed = parseGiven({ kind, apiVersion: 'projectcalico.org/v3', metadata: { name, labels }, spec });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
};

async function world(pools: readonly (readonly [string, object])[], labels: Record<string, string> = {}) {
  const memory = new MemoryStore();
  const store = memory.client();
  // the calendar is the test's, pauses between tries are real
  const manual = new ManualClock(0, Date.parse('2026-01-02T03:04:05Z'));
  const clock = { ...systemClock, wallNow: () => manual.wallNow(), advance: (ms: number) => manual.advance(ms) };
  const resources = new ResourceClient(store, { clock, uuid: () => 'uid' });
  for (const [name, spec] of pools) await resources.create(resource('IPPool', name, spec));
  await resources.create(resource('Node', 'n1', {}, labels));
  memory.operations = 0;
  const ipam = (node: string) => new BlockIpam({ store, node, clock, random: () => 0.5 });
  return { memory, store, clock, resources, ipam };
}

const request = (handle: string, ...want: Want[]): AssignRequest => ({
  handle,
  attributes: { pod: handle, namespace: 'default', node: 'n1' },
  want: want.length > 0 ? want : [{ family: 4 }],
});

async function give(ipam: BlockIpam, handle: string, ...want: Want[]): Promise<string[]> {
  const result = await ipam.assign(request(handle, ...want));
  if (!result.ok) throw result.error;
  return result.value.map((assignment) => assignment.address);
}
async function refusal(ipam: BlockIpam, handle: string, ...want: Want[]): Promise<string> {
  const result = await ipam.assign(request(handle, ...want));
  if (result.ok) throw new Error(`gave ${result.value.map((a) => a.address).join()}`);
  return `${result.error.kind}: ${result.error.message}`;
}

const small = [['p', { cidr: '10.0.0.0/28', blockSize: 30 }]] as const;

describe('one node', () => {
  test('the first address claims a block, in one transaction; the next ones take one round trip each', async () => {
    const { memory, ipam, store } = await world([['p', { cidr: '10.0.0.0/24' }]]);
    const n1 = ipam('n1');
    await n1.warmUp();
    memory.operations = 0;
    const [first] = await give(n1, 'a');
    expect(memory.operations).toBe(2); // the list of blocks, the transaction
    memory.operations = 0;
    const [second] = await give(n1, 'b');
    expect(memory.operations).toBe(1);
    memory.operations = 0;
    expect(await n1.release('b')).toEqual({ ok: true, value: [ip(second!)] });
    expect(memory.operations).toBe(1);
    const block = prefix(`${first!.replace(/\d+$/, (n) => String(Number(n) & ~63))}/26`);
    expect((await store.get(affinityKey(hostOwner('n1'), block))).kv?.value).toBe(
      '{"state":"confirmed","deleted":false}',
    );
    expect((await store.get(handleKey('a'))).kv?.value).toBe(`{"block":{"${block}":1},"deleted":false}`);
    expect((await store.get(handleKey('b'))).kv).toBeUndefined();
  });

  test('many at once share transactions', async () => {
    const { memory, ipam } = await world([['p', { cidr: '10.0.0.0/16' }]]);
    const n1 = ipam('n1');
    const all = await Promise.all(Array.from({ length: 150 }, (_, i) => give(n1, `h${i}`)));
    expect(new Set(all.flat()).size).toBe(150);
    expect(memory.operations).toBeLessThan(30);
  });

  test('asking again gives the same, also by a node that starts anew', async () => {
    const { ipam } = await world([['p', { cidr: '10.0.0.0/24' }]]);
    const n1 = ipam('n1');
    const first = await give(n1, 'a');
    expect(await give(n1, 'a')).toEqual(first);
    expect(await give(ipam('n1'), 'a')).toEqual(first);
    expect(await give(n1, 'a', { address: ip(first[0]!) })).toEqual(first);
  });

  test('freed addresses come back last', async () => {
    const { ipam } = await world(small);
    const n1 = ipam('n1');
    const [a] = await give(n1, 'a');
    await n1.release('a');
    const rest = [await give(n1, 'b'), await give(n1, 'c'), await give(n1, 'd')].flat();
    expect(rest).not.toContain(a!);
    expect(await give(n1, 'e')).toEqual([a!]);
  });

  test('both families in one go, all or nothing', async () => {
    const { memory, ipam } = await world([...small, ['q', { cidr: 'fd00::/120', blockSize: 126 }]]);
    const n1 = ipam('n1');
    const both = await give(n1, 'a', { family: 4 }, { family: 6 });
    expect(both.map((address) => address.includes(':'))).toEqual([false, true]);
    memory.operations = 0;
    await give(n1, 'b', { family: 4 }, { family: 6 });
    expect(memory.operations).toBe(1);
    expect(await refusal(n1, 'c', { family: 4 }, { family: 6, pools: ['none'] })).toContain(
      'no-pool: there is no IPv6 pool none',
    );
    expect((await ipam('n1').release('c')).ok).toBe(true);
    expect(await n1.release('a')).toEqual({ ok: true, value: both.map((address) => ip(address)) });
  });

  test('a cool-down holds addresses back', async () => {
    const { store, ipam, clock } = await world([['p', { cidr: '10.0.0.0/30', blockSize: 30 }]]);
    await store.put(CONFIG_KEY, '{"strict_affinity":true,"auto_allocate_blocks":true,"ipCooldownSeconds":60}');
    const n1 = ipam('n1');
    for (const handle of ['a', 'b', 'c', 'd']) await give(n1, handle);
    await n1.release('b');
    expect(await refusal(n1, 'e')).toStartWith('exhausted:');
    expect(await refusal(n1, 'e', { address: ip('10.0.0.1') })).toBe(
      'in-use: 10.0.0.1 is cooling down since 2026-01-02T03:04:05Z',
    );
    clock.advance(61_000);
    expect(await give(n1, 'e')).toEqual(['10.0.0.1']);
  });
});

describe('which pool', () => {
  test('selectors, disabled, manual, uses, requested', async () => {
    const { ipam } = await world(
      [
        ['a-disabled', { cidr: '10.1.0.0/24', disabled: true }],
        ['b-rack', { cidr: '10.2.0.0/24', nodeSelector: "rack == '2'" }],
        ['c-manual', { cidr: '10.3.0.0/24', assignmentMode: 'Manual' }],
        ['d-tunnel', { cidr: '10.4.0.0/24', allowedUses: ['Tunnel'] }],
        ['e-namespace', { cidr: '10.5.0.0/24', namespaceSelector: "team == 'x'", allowedUses: ['Workload'] }],
      ],
      { rack: '1' },
    );
    const n1 = ipam('n1');
    expect(await refusal(n1, 'a')).toBe(
      "no-pool: no IPv4 pool for Workload on node n1: a-disabled is disabled; b-rack does not select the node (rack == '2'); " +
        "c-manual is for manual assignment; e-namespace does not select the namespace (team == 'x'); d-tunnel is not for Workload",
    );
    expect((await give(n1, 'm', { family: 4, pools: ['c-manual'] }))[0]).toStartWith('10.3.0.');
    expect((await give(n1, 'r', { family: 4, pools: ['10.2.0.0/24'] }))[0]).toStartWith('10.2.0.');
    expect(await refusal(n1, 'd', { family: 4, pools: ['a-disabled'] })).toContain('is disabled');
    const inTeam = await n1.assign({ ...request('x'), namespaceLabels: { team: 'x' } });
    expect(inTeam.ok && inTeam.value[0]!.pool).toBe('e-namespace');
    const tunnel = await n1.assign({ ...request('t'), use: 'Tunnel' });
    expect(tunnel.ok && tunnel.value[0]!.pool).toBe('d-tunnel');
  });

  test('a pool that was disabled meanwhile gives nothing, whatever a node remembers', async () => {
    const { ipam, resources } = await world([['p', { cidr: '10.0.0.0/24' }]]);
    const n1 = ipam('n1');
    await give(n1, 'a');
    await resources.apply(resource('IPPool', 'p', { cidr: '10.0.0.0/24', disabled: true }));
    expect(await refusal(n1, 'b')).toContain('p is disabled');
  });

  test('reservations, whole blocks and single addresses', async () => {
    const { ipam, resources } = await world(small);
    await resources.create(
      resource('IPReservation', 'r', { reservedCIDRs: ['10.0.0.0/29', '10.0.0.8', '10.0.0.14/31'] }),
    );
    const n1 = ipam('n1');
    const given = (await Promise.all(['a', 'b', 'c', 'd', 'e'].map((h) => give(n1, h)))).flat().sort();
    expect(given).toEqual(['10.0.0.10', '10.0.0.11', '10.0.0.12', '10.0.0.13', '10.0.0.9']);
    expect(await refusal(n1, 'f')).toStartWith('exhausted:');
    expect(await give(n1, 'g', { address: ip('10.0.0.3') })).toEqual(['10.0.0.3']); // asked for by name, it is given
  });

  test('half of a huge pool reserved', async () => {
    const { ipam, resources } = await world([['p', { cidr: 'fd00::/32' }]]);
    await resources.create(
      resource('IPReservation', 'r', { reservedCIDRs: ['fd00::/33', 'fd00:0:8000::/34', 'fd00:0:c000::/35'] }),
    );
    expect((await give(ipam('n1'), 'a', { family: 6 }))[0]).toStartWith('fd00:0:');
  });
});

describe('two nodes', () => {
  test('borrowing when the pool is full, unless strictAffinity', async () => {
    const { ipam, store } = await world([['p', { cidr: '10.0.0.0/30', blockSize: 30 }]]);
    const [n1, n2] = [ipam('n1'), ipam('n2')];
    expect(await give(n1, 'a')).toEqual(['10.0.0.0']);
    expect(await give(n2, 'b')).toEqual(['10.0.0.1']);
    await store.put(CONFIG_KEY, '{"strict_affinity":true,"auto_allocate_blocks":true}');
    expect(await refusal(n2, 'c')).toContain('strictAffinity forbids borrowing');
    expect(await refusal(n2, 'c', { address: ip('10.0.0.2') })).toContain('is in block 10.0.0.0/30 of host:n1');
    expect(await give(n1, 'c')).toEqual(['10.0.0.2']);
    expect((await n2.release('b')).ok).toBe(true);
  });

  test('a block another node left empty is taken over, but not at once', async () => {
    const { ipam, clock, store } = await world([['p', { cidr: '10.0.0.0/30', blockSize: 30 }]]);
    await store.put(CONFIG_KEY, '{"strict_affinity":true,"auto_allocate_blocks":true}');
    const [n1, n2] = [ipam('n1'), ipam('n2')];
    await give(n1, 'a');
    await n1.release('a');
    expect(await refusal(n2, 'b')).toStartWith('exhausted:');
    clock.advance(61_000);
    expect(await give(n2, 'b')).toHaveLength(1);
    const block = prefix('10.0.0.0/30');
    expect((await store.get(affinityKey(hostOwner('n1'), block))).kv).toBeUndefined();
    expect((await store.get(affinityKey(hostOwner('n2'), block))).kv).toBeDefined();
    expect(await refusal(n1, 'c')).toStartWith('exhausted:');
  });

  test('an address in use is refused, and said by whom', async () => {
    const { ipam } = await world(small);
    const [n1, n2] = [ipam('n1'), ipam('n2')];
    await give(n1, 'a', { address: ip('10.0.0.5') });
    expect(await refusal(n2, 'b', { address: ip('10.0.0.5') })).toBe('in-use: 10.0.0.5 is in use by pod default/a');
    expect(await refusal(n2, 'b', { address: ip('10.9.0.5') })).toBe('not-in-pool: 10.9.0.5 is in no enabled pool');
  });

  test('no more blocks than allowed', async () => {
    const { ipam, store } = await world(small);
    await store.put(CONFIG_KEY, '{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":2}');
    const n1 = ipam('n1');
    await Promise.all(Array.from({ length: 8 }, (_, i) => give(n1, `h${i}`)));
    expect(await refusal(n1, 'x')).toContain('block-limit: node n1 has 2 IPv4 blocks and may have 2');
  });

  test('exactly what was seen is taken back, or nothing', async () => {
    const { ipam, store } = await world([['p', { cidr: '10.0.0.0/30', blockSize: 30 }]]);
    const [n1, n2] = [ipam('n1'), ipam('n2')];
    const [address] = await give(n1, 'a');
    const block = prefix('10.0.0.0/30');
    const look = async () => {
      const decoded = decodeBlock((await store.get(blockKey(block))).kv!.value);
      if (!decoded.ok) throw new Error(decoded.error);
      return decoded.value;
    };
    const given = { block, ordinal: 0, handle: 'a', sequenceNumber: (await look()).sequenceNumbers.get(0)! };
    await n1.release('a');
    for (const handle of ['b', 'c', 'd']) await give(n1, handle);
    expect(await give(n1, 'a')).toEqual([address!]); // the same handle again, another giving
    expect(await n2.takeBack(given)).toEqual({ ok: true, value: false });
    expect(await give(n1, 'a')).toEqual([address!]);
    const now = { ...given, sequenceNumber: (await look()).sequenceNumbers.get(0)! };
    expect(await n2.takeBack(now)).toEqual({ ok: true, value: true });
    expect((await store.get(handleKey('a'))).kv).toBeUndefined();
  });
});

describe('what an interrupted Calico leaves behind', () => {
  const cidr = prefix('10.0.0.0/30');
  const affinity = affinityKey(hostOwner('n1'), cidr);
  const one = [['p', { cidr: '10.0.0.0/30', blockSize: 30 }]] as const;

  test.each(['pending', 'pendingDeletion', 'confirmed'])('an affinity %s without its block', async (state) => {
    const { ipam, store } = await world(one);
    await store.put(affinity, `{"state":"${state}","deleted":false}`);
    expect(await give(ipam('n1'), 'a')).toEqual(['10.0.0.0']);
    expect((await store.get(affinity)).kv?.value).toBe('{"state":"confirmed","deleted":false}');
  });

  test('an affinity pending beside its block', async () => {
    const { ipam, store } = await world(one);
    await give(ipam('n1'), 'a');
    await store.put(affinity, '{"state":"pending","deleted":false}');
    expect(await give(ipam('n1'), 'b')).toEqual(['10.0.0.1']);
    expect((await store.get(affinity)).kv?.value).toBe('{"state":"confirmed","deleted":false}');
  });

  test('an affinity to a block of another node goes', async () => {
    const { ipam, store } = await world(one);
    await give(ipam('n2'), 'a');
    await store.put(affinity, '{"state":"pending","deleted":false}');
    expect(await give(ipam('n1'), 'b')).toEqual(['10.0.0.1']); // borrowed
    expect((await store.get(affinity)).kv).toBeUndefined();
  });

  test('a block of ours without an affinity', async () => {
    const { ipam, store } = await world(one);
    await give(ipam('n1'), 'a');
    await store.delete(affinity);
    expect(await give(ipam('n1'), 'b')).toEqual(['10.0.0.1']);
    expect((await store.get(affinity)).kv).toBeDefined();
  });

  test('a handle that counts addresses it does not have', async () => {
    const { ipam, store } = await world(one);
    await store.put(handleKey('a'), '{"block":{"10.0.0.0/30":1,"10.9.0.0/30":2},"deleted":false}');
    expect(await give(ipam('n1'), 'a')).toEqual(['10.0.0.0']);
    expect((await store.get(handleKey('a'))).kv?.value).toBe('{"block":{"10.0.0.0/30":1},"deleted":false}');
    await store.put(handleKey('b'), '{"block":{"10.9.0.0/30":2},"deleted":false}');
    expect(await ipam('n1').release('b')).toEqual({ ok: true, value: [] });
    expect((await store.get(handleKey('b'))).kv).toBeUndefined();
  });

  test('an empty value is a confirmed affinity, a broken block is left alone', async () => {
    const { ipam, store } = await world(small);
    const n1 = ipam('n1');
    const [address] = await give(n1, 'a');
    const own = prefix(`10.0.0.${Number(address!.split('.')[3]) & ~3}/30`);
    await store.put(affinityKey(hostOwner('n1'), own), '');
    expect((await give(ipam('n1'), 'b'))[0]).toStartWith('10.0.0.');
    await store.put(blockKey(own), '{"cidr":"garbage"}');
    const elsewhere = await give(ipam('n1'), 'c');
    expect(Number(elsewhere[0]!.split('.')[3]) & ~3).not.toBe(Number(own.split('/')[0]!.split('.')[3]));
    expect((await store.get(blockKey(own))).kv?.value).toBe('{"cidr":"garbage"}');
  });
});
