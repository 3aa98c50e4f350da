import { describe, expect, test } from 'bun:test';
import { ip, prefix } from '../net/mod.ts';
import { wantedAnnouncements } from './announce.ts';
import type { AnnounceOptions, OwnedPrefix } from './announce.ts';
import { guardChanges } from './guard.ts';

const owned = (n: number, node = `node${n}`): OwnedPrefix => ({
  prefix: prefix(`10.244.${n}.0/24`),
  node,
  nextHop: ip(`192.168.1.${n + 1}`),
});
const none = new Set<string>();
const options: AnnounceOptions = { within: [prefix('10.244.0.0/16')], exclude: none, drain: none };
const guard = { minimumReady: 1, maxWithdrawPercent: 30, alwaysWithdraw: 2 };
const announcements = (...numbers: number[]) =>
  wantedAnnouncements(
    numbers.map((n) => owned(n)),
    options,
  ).announcements;

describe('announcements', () => {
  test('the owner is the next hop; what is outside of the pools, excluded or of the other family stays at home', () => {
    const facts: OwnedPrefix[] = [
      owned(1),
      owned(2),
      owned(3),
      { prefix: prefix('10.99.0.0/24'), node: 'x', nextHop: ip('192.168.1.9') },
      { prefix: prefix('0.0.0.0/0'), node: 'y', nextHop: ip('192.168.1.9') },
      { prefix: prefix('10.244.7.0/24'), node: 'z', nextHop: ip('fd00::1') },
    ];
    const result = wantedAnnouncements(facts, {
      ...options,
      exclude: new Set(['node2']),
      drain: new Set(['192.168.1.4']),
    });
    expect([...result.announcements]).toEqual([
      [prefix('10.244.1.0/24'), { nextHop: ip('192.168.1.2'), node: 'node1', draining: false }],
      [prefix('10.244.3.0/24'), { nextHop: ip('192.168.1.4'), node: 'node3', draining: true }],
    ]);
    expect(result.leftOut.length).toBe(4);
  });

  test('two owners of one prefix: every announcer chooses the same, whatever the order', () => {
    const facts = [owned(1, 'b'), owned(1, 'a')];
    const one = wantedAnnouncements(facts, options).announcements;
    const two = wantedAnnouncements(facts.toReversed(), options).announcements;
    expect(one.get(prefix('10.244.1.0/24'))?.node).toBe('a');
    expect(two).toEqual(one);
  });
});

describe('guard', () => {
  test('a few withdrawals pass, many are held, confirmation lets them go, news always pass', () => {
    const announced = announcements(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
    expect(guardChanges(announced, announcements(1, 2, 3, 4, 5, 6, 7), guard).withdraw.length).toBe(3);
    const decision = guardChanges(announced, announcements(1, 2, 11), guard);
    expect(decision.withdraw).toEqual([]);
    expect(decision.held.length).toBe(8);
    expect(decision.announce.map(([p]) => p)).toEqual([prefix('10.244.11.0/24')]);
    expect(guardChanges(announced, announcements(), guard).held.length).toBe(10);
    expect(guardChanges(announced, announcements(), guard, true).withdraw.length).toBe(10);
  });

  test('a small cluster may lose its nodes', () => {
    expect(guardChanges(announcements(1, 2), announcements(), guard)).toMatchObject({ held: [] });
  });

  test('an owner that moves is a change, not a withdrawal', () => {
    const moved = wantedAnnouncements([{ ...owned(1), nextHop: ip('192.168.1.77') }], options).announcements;
    expect(guardChanges(announcements(1), moved, guard)).toMatchObject({ withdraw: [], held: [] });
    expect(guardChanges(announcements(1), moved, guard).announce.length).toBe(1);
  });
});
