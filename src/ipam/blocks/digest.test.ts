import { expect, test } from 'bun:test';
import { prefix } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import { encodeBlock } from './block.ts';
import { readDigest, scanDigest } from './digest.ts';
import { hostOwner } from './keys.ts';
import type { Owner } from './keys.ts';
import { give, newBlock } from './operations.ts';

/** A space is enough for the long way. */
const longWay = (text: string, cidr: Prefix) => readDigest(` ${text}`, cidr);
const random = (n: number): number => Math.floor(Math.random() * n);
const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;

function someBlock(cidr: Prefix, size: number): string {
  const owners = [hostOwner('n1'), hostOwner('näme'), hostOwner(''), 'virtual:load-balancer' as Owner];
  let block = newBlock(cidr, pick(owners), 1_700_000_000_000 + random(1000));
  for (let i = 0; i < random(20); i++) {
    const ordinal = random(size);
    if (block.allocations[ordinal] !== null) continue;
    const node = pick(['n1', 'n1', 'n2', 'näme', '', undefined]);
    block = give(block, ordinal, `net.${i % 7}`, { pod: `p${i}`, ...(node !== undefined && { node }) });
  }
  return encodeBlock(Math.random() < 0.1 ? { ...block, affinity: undefined } : block);
}

test('the short way gives what the long way gives, for all that is written by us', () => {
  for (const [text, size] of [
    ['10.0.0.64/26', 64],
    ['10.0.16.0/20', 4096],
    ['fd00:1::/122', 64],
    ['10.1.1.1/32', 1],
  ] as const) {
    const cidr = prefix(text);
    for (let i = 0; i < (size > 64 ? 10 : 200); i++) {
      const block = someBlock(cidr, size);
      const scanned = scanDigest(block, cidr);
      expect(scanned).toBeDefined();
      expect(longWay(block, cidr)).toEqual({ ok: true, value: scanned! });
    }
  }
});

test('what differs in a few characters is read alike or goes the long way', () => {
  const cidr = prefix('10.0.0.64/26');
  const other = prefix('10.0.0.0/26');
  const words = [
    ...['null', 'true', 'false', '{', '}', '[', ']', ',', ':', '"', ' ', '0', '-', '1', '63', '64', '1e1', '007', '.'],
    ...['\\', '\\u0041', '\n', '"deleted":true,', '"deleted":false,', '"cidr":"10.0.0.0/26",', '"secondary":{},'],
    ...['"secondary":{"node":"n3"},', '"node":"n9",', '"__proto__":"x",', '"hostAffinity":"n1",', '"affinity":null,'],
    ...['"handle_id":null,', '"more":1,', '"unallocated":[],', '"releasedAt":"2024-01-01T00:00:00Z",', 'null,', '5,'],
  ];
  let short = 0;
  for (let i = 0; i < 20_000; i++) {
    let text = someBlock(cidr, 64);
    for (let edits = 1 + random(2); edits > 0; edits--) {
      // mostly where a value or member begins
      const at =
        Math.random() < 0.3 ? random(text.length) : text.indexOf(pick([':', ',', '{', '[']), random(text.length)) + 1;
      const end = at + (Math.random() < 0.5 ? 0 : random(8));
      text = text.slice(0, at) + (Math.random() < 0.2 ? '' : pick(words)) + text.slice(end);
    }
    const asked = Math.random() < 0.05 ? other : cidr;
    const scanned = scanDigest(text, asked);
    if (!scanned) continue;
    short++;
    expect([text, longWay(text, asked)]).toEqual([text, { ok: true, value: scanned }]);
  }
  // most edits break it; those that do not must be worth the name of a test
  expect(short).toBeGreaterThan(100);
});
