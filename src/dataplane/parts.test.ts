import { beforeEach, describe, expect, test } from 'bun:test';
import { ip, prefix } from '../net/mod.ts';
import { FakeNftables, formatTransaction, removeTable, replaceTable } from '../nft/mod.ts';
import { errno, KernelError } from '../sys/mod.ts';
import { bridgeMac } from './bridge.ts';
import { masqueradeTable, MasqueradePart, natTable } from './masquerade.ts';
import { Caretaker } from './part.ts';
import type { Part } from './part.ts';
import { forwardingSysctls, SysctlPart } from './sysctl.ts';

describe('masquerade', () => {
  const table = masqueradeTable([prefix('10.244.0.0/16'), prefix('fc00::/48')]);
  let nft: FakeNftables;
  let part: MasqueradePart;
  beforeEach(() => {
    nft = new FakeNftables();
    part = new MasqueradePart(() => nft);
  });
  const pass = () => {
    for (const change of part.plan()) change.apply();
  };

  test('the transaction, as nft writes it', () => {
    const text = formatTransaction(replaceTable(masqueradeTable([prefix('10.244.0.0/16')])));
    expect(text.replace(/#[0-9a-f]{8,}/g, '#HASH').split('\n')).toEqual([
      'add table inet godwit',
      'delete table inet godwit',
      'add table inet godwit { comment "godwit #HASH"; }',
      'add chain inet godwit postrouting { type nat hook postrouting priority 100; policy accept; }',
      'add rule inet godwit postrouting ip daddr 10.244.0.0/16 return comment "not to 10.244.0.0/16 #HASH"',
      'add rule inet godwit postrouting ip daddr 224.0.0.0/4 return comment "not to multicast 224.0.0.0/4 #HASH"',
      'add rule inet godwit postrouting ip saddr 10.244.0.0/16 masquerade fully-random comment "masquerade 10.244.0.0/16 #HASH"',
    ]);
  });

  test('pools: exempt ranges, nodes as a set; a changed set is put back', () => {
    const rules = {
      ...{
        sources: [prefix('10.233.0.0/16')],
        inside: [prefix('10.8.0.0/16'), prefix('10.233.0.0/16'), prefix('fc00::/48')],
      },
      hosts: [ip('192.168.1.3'), ip('192.168.1.2'), ip('fd00::2')],
    };
    const pools = natTable(rules);
    const [, , , set, , ...text] = formatTransaction(replaceTable(pools)).split('\n');
    expect(set).toBe('add set inet godwit hosts4 { type ipv4_addr; elements = { 192.168.1.3, 192.168.1.2 } }');
    expect(text.map((line) => /postrouting (.*) comment/.exec(line)?.[1])).toEqual([
      'ip daddr 10.8.0.0/16 return',
      'ip daddr 10.233.0.0/16 return',
      'ip daddr 224.0.0.0/4 return',
      'ip daddr @hosts4 return',
      'ip saddr 10.233.0.0/16 masquerade fully-random',
    ]);
    part.setDesired(pools);
    pass();
    expect(part.plan()).toEqual([]);
    nft.tables.get('inet godwit')!.sets.get('hosts4')!.pop();
    expect(part.plan().length).toBe(1);
    pass();
    expect(part.plan()).toEqual([]);
    part.setDesired(natTable({ ...rules, hosts: [] }));
    expect(part.plan().length).toBe(1);
  });

  test('nothing is touched before it is known what is wanted, nor when all is in place', () => {
    pass();
    part.setDesired(table);
    pass();
    pass();
    expect(nft.log.length).toBe(1);
  });

  test('flushed, changed and added to by hand: one transaction puts it back (F21)', () => {
    part.setDesired(table);
    pass();
    nft.flush();
    expect(part.plan().length).toBe(1);
    pass();
    nft.tables.get('inet godwit')!.chains.get('postrouting')!.rules.push('somebody’s');
    pass();
    nft.tables.get('inet godwit')!.chains.set('other', { base: undefined, rules: [] });
    pass();
    expect(nft.log.length).toBe(4);
    expect(part.plan()).toEqual([]);
  });

  test('a refused transaction leaves the old table', () => {
    part.setDesired(masqueradeTable([prefix('10.9.0.0/16')]));
    pass();
    part.setDesired(table);
    nft.refuse = (operation) => (operation.op === 'addRule' ? errno.ENOMEM : undefined);
    expect(pass).toThrow(/add rule inet godwit .*ENOMEM/);
    expect(nft.read(table)?.chains[0]?.rules[0]).toContain('10.9.0.0/16');
  });

  test('switched off: our table goes, and a kernel without netfilter is no fault', () => {
    nft.run(replaceTable(table));
    part.setDesired('absent');
    pass();
    expect(nft.tables.size).toBe(0);
    expect(nft.log.at(-1)).toEqual(removeTable(table));
    const without = new MasqueradePart(() => {
      throw new KernelError('socket', errno.EPROTONOSUPPORT);
    });
    without.setDesired('absent');
    expect(without.plan()).toEqual([]);
    without.setDesired(table);
    expect(() => without.plan()).toThrow();
  });

  test('a forward chain that drops is told', () => {
    const base = { type: 'filter', hook: 'forward', priority: 0 } as const;
    nft.foreign = [
      { table: { family: 'ip', name: 'filter' }, chain: 'FORWARD', base: { ...base, policy: 'drop' } },
      { table: { family: 'inet', name: 'fw' }, chain: 'forward', base: { ...base, policy: 'accept' } },
    ];
    expect(part.forwardDrops()).toEqual([{ chain: 'ip filter FORWARD' }]);
  });
});

describe('sysctl', () => {
  test('only what differs is written; accept_ra of the uplink only when it is on', () => {
    const values = new Map([
      ['net/ipv4/ip_forward', '0'],
      ['net/ipv6/conf/all/forwarding', '0'],
      ['net/ipv6/conf/eth0.7/accept_ra', '1'],
      ['net/ipv6/conf/eth1/accept_ra', '0'],
    ]);
    const part = new SysctlPart({ read: (name) => values.get(name), write: (name, value) => values.set(name, value) });
    part.setDesired(forwardingSysctls({ ipv4: true, ipv6: true, bridge: 'cni0', uplinks: ['eth0.7', 'eth1'] }));
    expect(part.plan().map((c) => c.text)).toEqual([
      'sysctl -w net.ipv4.ip_forward=1',
      'sysctl -w net.ipv6.conf.eth0/7.accept_ra=2',
      'sysctl -w net.ipv6.conf.all.forwarding=1',
    ]);
    for (const change of part.plan()) change.apply();
    expect(part.plan()).toEqual([]);
  });
});

test('a failing part is told and stops no other', () => {
  let broken = true;
  const bad: Part = {
    name: 'bad',
    plan: () => {
      if (broken) throw new Error('no such thing');
      return [];
    },
  };
  let applied = 0;
  const good: Part = { name: 'good', plan: () => (applied === 0 ? [{ text: 'do', apply: () => applied++ }] : []) };
  const caretaker = new Caretaker();
  caretaker.add(bad);
  caretaker.add(good);
  expect(caretaker.plan().map((p) => p.text)).toEqual(['# cannot tell: no such thing', 'do']);
  expect(caretaker.pass()).toBe(false);
  expect(caretaker.status()).toMatchObject([
    { name: 'bad', inSync: false, problem: 'no such thing' },
    { name: 'good', inSync: true, changes: 1 },
  ]);
  broken = false;
  expect(caretaker.pass()).toBe(true);
});

test('the bridge’s MAC follows its address', () => {
  expect(bridgeMac(ip('10.244.1.1'))).toBe(bridgeMac(ip('10.244.1.1')));
  expect(String(bridgeMac(ip('10.244.1.1')))).toBe('0a:58:0a:f4:01:01');
});
