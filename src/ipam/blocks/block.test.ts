import { expect, test } from 'bun:test';
import { ip, prefix } from '../../net/mod.ts';
import { addressOf, decodeBlock, encodeBlock, ordinalOf } from './block.ts';
import type { Block } from './block.ts';
import { affinityKey, blockKey, hostOwner, isHandle, parseAffinityKey, parseBlockKey } from './keys.ts';
import { collectCooled, freeOrdinals, give, isEmpty, newBlock, ordinalsOf, takeBack, written } from './operations.ts';
import { decodeAffinity, decodeConfig, decodeHandle, encodeAffinity, encodeConfig, encodeHandle } from './records.ts';

/** As Calico stores a block of four addresses, one of them a pod's, one a tunnel's. */
const stored =
  '{"cidr":"10.233.1.0/30","affinity":"host:node1","affinity_claim_time":"2026-01-02T03:04:05Z",' +
  '"allocations":[0,null,1,null],"unallocated":[3,1],"attributes":[' +
  '{"handle_id":"ipip-tunnel-addr-node1","secondary":{"node":"node1","type":"ipipTunnelAddress"}},' +
  '{"handle_id":"k8s-pod-network.0123","secondary":{"namespace":"default","node":"node1","pod":"a\\u0026b","timestamp":"2026-01-02 03:04:05 +0000 UTC"}}],' +
  '"sequenceNumber":1767323045000000007,"sequenceNumberForAllocation":{"0":1767323045000000000,"2":1767323045000000006},"deleted":false}';

function decode(text: string): Block {
  const block = decodeBlock(text);
  if (!block.ok) throw new Error(block.error);
  return block.value;
}

test('reads and writes the same bytes, sequence numbers exact', () => {
  const block = decode(stored);
  expect(encodeBlock(block)).toBe(stored);
  expect(block.sequenceNumber).toBe(1767323045000000007n);
  expect([ordinalsOf(block, 'k8s-pod-network.0123'), freeOrdinals(block, undefined)]).toEqual([[2], [3, 1]]);
});

test('sequence numbers of many ordinals are in the order of Go’s maps, fields of others stay', () => {
  let block: Block = newBlock(prefix('10.0.0.0/28'), hostOwner('n'), 1_700_000_000_123);
  for (let n = 0; n < 12; n++) block = give(block, n, 'h', {});
  expect(encodeBlock(block)).toContain(
    '"sequenceNumberForAllocation":{"0":1700000000123000000,"1":1700000000123000000,"10":',
  );
  const text = stored
    .replace('"deleted":false', '"deleted":false,"future":{"a":1}')
    .replace('{"node"', '{"a":"","node"');
  expect(encodeBlock(decode(text))).toBe(text);
});

test('older forms', () => {
  const old = decode(
    '{"cidr":"fd00::/127","hostAffinity":"n1","strictAffinity":false,"allocations":[0,null],"unallocated":[1],' +
      '"attributes":[{"handle_id":"a\\r\\neth0","secondary":null}]}',
  );
  expect(old).toMatchObject({ affinity: 'host:n1', sequenceNumber: 0n });
  expect(ordinalsOf(old, 'a')).toEqual([0]);
  expect(
    decode('{"cidr":"10.0.0.0/31","affinity":null,"allocations":[null,null],"unallocated":[0,1],"attributes":null}')
      .affinity,
  ).toBeUndefined();
});

test.each<[string, string]>([
  ['', 'is not JSON'],
  ['[]', 'is not an object'],
  ['{"cidr":"10.0.0.1/30"}', 'has no valid cidr'],
  ['{"cidr":"10.0.0.0/8","allocations":[]}', 'larger than any block'],
  [stored.replace('[0,null,1,null]', '[0,null,1]'), 'has no 4 allocations'],
  [stored.replace('[3,1]', '[3]'), 'ordinal 1 is neither'],
  [stored.replace('[3,1]', '[3,1,1]'), 'ordinal 1 is unallocated twice'],
  [stored.replace('[3,1]', '[3,1,0]'), 'ordinal 0 is both'],
  [stored.replace('[3,1]', '[3,1,9]'), 'ordinal 9 is unallocated and outside'],
  [stored.replace('[0,null,1,null]', '[0,null,2,null]'), 'ordinal 2 refers to attribute 2'],
  [stored.replace('"deleted":false', '"deleted":true'), 'is marked as deleted'],
  [stored.replace('{"0":', '{"x":'), 'sequence numbers of no known form'],
  [stored.replace('"pod":"a\\u0026b"', '"pod":1'), 'attributes of no known form'],
])('a broken block says what is wrong: %#', (text, fault) => {
  const block = decodeBlock(text);
  expect(block.ok ? '' : block.error).toContain(fault);
});

test('an owner’s addresses share one attribute, which goes with the last of them', () => {
  let block = newBlock(prefix('10.0.0.0/30'), hostOwner('n'), 1_700_000_000_000);
  block = give(give(give(block, 0, 'a', { pod: 'x' }), 1, 'b', {}), 2, 'a', { pod: 'x' });
  expect(block.attributes).toHaveLength(2);
  block = takeBack(block, [0], 0, 0);
  expect([block.attributes.length, block.unallocated]).toEqual([2, [3, 0]]);
  block = takeBack(block, [2], 0, 0);
  expect(block.attributes.map((attribute) => attribute.handle)).toEqual(['b']);
  expect([block.allocations, block.unallocated, isEmpty(block)]).toEqual([[null, 0, null, null], [3, 0, 2], false]);
  expect(isEmpty(takeBack(block, [1], 0, 0))).toBe(true);
  expect(written(block).sequenceNumber).toBe(block.sequenceNumber + 1n);
  expect(() => give(block, 1, 'c', {})).toThrow('10.0.0.1 is not free');
});

test('cooling down', () => {
  const now = Date.parse('2026-01-02T03:04:05Z');
  let block = give(newBlock(prefix('10.0.0.0/30'), hostOwner('n'), now), 1, 'a', {});
  block = takeBack(block, [1], 60, now);
  expect(encodeBlock(block)).toContain('"attributes":[{"releasedAt":"2026-01-02T03:04:05Z"}]');
  expect([ordinalsOf(block, 'a'), isEmpty(block), block.unallocated]).toEqual([[], false, [0, 2, 3]]);
  expect(takeBack(block, [1], 60, now + 5)).toBe(block);
  expect(collectCooled(block, 60, now + 59_000)).toBe(block);
  const collected = collectCooled(block, 60, now + 60_000);
  expect([collected.unallocated, collected.attributes.length, isEmpty(collected)]).toEqual([[0, 2, 3, 1], 0, true]);
});

test('ordinals and addresses', () => {
  const block = newBlock(prefix('fd00::1:0/122'), hostOwner('n'), 0);
  expect(addressOf(block, 63)).toBe(ip('fd00::1:3f'));
  expect([ordinalOf(block, ip('fd00::1:3f')), ordinalOf(block, ip('fd00::1:40'))]).toEqual([63, undefined]);
});

test('keys', () => {
  const cidr = prefix('fd00::/122');
  expect(blockKey(cidr)).toBe('/calico/ipam/v2/assignment/ipv6/block/fd00::-122');
  expect(parseBlockKey(blockKey(cidr))).toBe(cidr);
  expect(affinityKey(hostOwner('node1'), prefix('10.0.0.0/26'))).toBe(
    '/calico/ipam/v2/host/node1/ipv4/block/10.0.0.0-26',
  );
  expect(parseAffinityKey('/calico/ipam/v2/virtual/load-balancer/ipv4/block/10.0.0.0-26')).toMatchObject({
    owner: 'virtual:load-balancer',
  });
  for (const key of [
    '/calico/ipam/v2/assignment/ipv4/block/fd00::-122',
    '/calico/ipam/v2/assignment/ipv4/block/x',
    '/x',
  ]) {
    expect(parseBlockKey(key)).toBeUndefined();
  }
  expect(['a', 'k8s-pod-network.0/1', '', 'x y', 'a\n'].map(isHandle)).toEqual([true, false, false, false, false]);
});

test('affinities, handles and the configuration', () => {
  expect(['', '{}', '{"state":"pending"}', '{"state":"","deleted":false}', 'x'].map(decodeAffinity)).toEqual([
    'confirmed',
    'confirmed',
    'pending',
    'confirmed',
    undefined,
  ]);
  expect(encodeAffinity('confirmed')).toBe('{"state":"confirmed","deleted":false}');
  const handle = '{"block":{"10.0.0.0/26":1,"fd00::/122":2},"deleted":false}';
  expect(encodeHandle(decodeHandle(handle))).toBe(handle);
  expect(decodeHandle('garbage').size).toBe(0);
  const config =
    '{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":4,"ipCooldownSeconds":30,"future":1}';
  const decoded = decodeConfig(config);
  expect(decoded.ok && encodeConfig(decoded.value)).toBe(config);
  expect(decodeConfig('{}')).toMatchObject({ value: { strictAffinity: false, autoAllocateBlocks: false } });
  expect(decodeConfig('{"strict_affinity":"yes"}').ok).toBe(false);
});
