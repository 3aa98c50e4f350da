import { expect, test } from 'bun:test';
import { ip, prefix } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import { isAssignable, nextAddress } from './local-pool.ts';

const small = { subnet: prefix('10.244.1.0/29'), gateway: ip('10.244.1.1') };

function drain(pool: typeof small, taken: Set<string>, last?: IpAddress): string[] {
  const given: string[] = [];
  for (;;) {
    const next = nextAddress(pool, taken, last);
    if (next === undefined) return given;
    given.push(next);
    taken.add(next);
    last = next;
  }
}

test('gives every address but network, gateway and broadcast, in order, each once', () => {
  const hosts = [2, 3, 4, 5, 6].map((n) => `10.244.1.${n}`);
  expect(drain(small, new Set())).toEqual(hosts);
});

test('goes round from the last one given, so that a released address rests', () => {
  const taken = new Set(['10.244.1.2', '10.244.1.3', '10.244.1.4']);
  taken.delete('10.244.1.2');
  expect(nextAddress(small, taken, ip('10.244.1.4'))).toBe(ip('10.244.1.5'));
  expect(nextAddress(small, taken, ip('10.244.1.6'))).toBe(ip('10.244.1.2'));
  // a cursor of another subnet says nothing
  expect(nextAddress(small, taken, ip('10.99.0.4'))).toBe(ip('10.244.1.2'));
});

test('a full subnet, with addresses of other subnets among the taken, gives none', () => {
  const taken = new Set([2, 3, 4, 5, 6].map((n) => `10.244.1.${n}`));
  expect(nextAddress(small, taken)).toBeUndefined();
  taken.add('10.99.0.1').delete('10.244.1.5');
  expect(nextAddress(small, taken, ip('10.244.1.5'))).toBe(ip('10.244.1.5'));
});

test('IPv6: skips the anycast address, uses the last one, needs no scan of the /64', () => {
  const pool = { subnet: prefix('fd00:1::/64'), gateway: ip('fd00:1::1') };
  expect(nextAddress(pool, new Set())).toBe(ip('fd00:1::2'));
  expect(nextAddress(pool, new Set(), ip('fd00:1::ffff:ffff:ffff:fffe'))).toBe(ip('fd00:1::ffff:ffff:ffff:ffff'));
  expect(nextAddress(pool, new Set(), ip('fd00:1::ffff:ffff:ffff:ffff'))).toBe(ip('fd00:1::2'));
});

test('what a pod may ask for', () => {
  expect(['10.244.1.2', '10.244.1.6'].every((a) => isAssignable(small, ip(a)))).toBe(true);
  for (const no of ['10.244.1.0', '10.244.1.1', '10.244.1.7', '10.244.1.8', '10.244.0.2', 'fd00::2']) {
    expect(isAssignable(small, ip(no))).toBe(false);
  }
});
