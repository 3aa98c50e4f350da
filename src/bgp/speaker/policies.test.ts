import { expect, test } from 'bun:test';
import { parseConfig } from '../config/yaml/mod.ts';
import type { BgpConfig } from '../config/mod.ts';
import { PolicyBook } from './policies.ts';

function config(prefix: string, med: number): BgpConfig {
  const parsed = parseConfig(`
routerId: 10.0.0.1
as: 65001
prefixLists: { pods: [${prefix}], other: [10.9.0.0/16] }
policies:
  listed: [{ match: { prefixLists: [pods] }, then: accept }]
  set: [{ set: { med: ${med} }, then: accept }]
neighbors: [{ address: 10.0.0.2, as: 65002, import: set, export: listed }]`);
  if (!parsed.ok) throw new Error(parsed.error.join('\n'));
  return parsed.value;
}

function familyOf(book: PolicyBook, from: BgpConfig) {
  return book.peerConfig(from.neighbors[0]!).families[4]!;
}

test('a reload keeps the policies that mean the same, so that their routes are not sent again', () => {
  const first = config('10.8.0.0/16', 1);
  const book = new PolicyBook(first);
  const before = familyOf(book, first);
  const same = familyOf(new PolicyBook(config('10.8.0.0/16', 1), book), first);
  expect(same.importPolicy).toBe(before.importPolicy);
  expect(same.exportPolicy).toBe(before.exportPolicy);
  const otherSet = familyOf(new PolicyBook(config('10.8.0.0/16', 2), book), first);
  expect(otherSet.importPolicy).not.toBe(before.importPolicy);
  expect(otherSet.exportPolicy).toBe(before.exportPolicy);
  const otherList = familyOf(new PolicyBook(config('10.8.0.0/17', 1), book), first);
  expect(otherList.importPolicy).toBe(before.importPolicy);
  expect(otherList.exportPolicy).not.toBe(before.exportPolicy);
});
