// nf_tables, the bridge and the sysctls against the real kernel, in a namespace; nft and ip look over our shoulder.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import {
  BridgePart,
  bridgeMac,
  masqueradeTable,
  MasqueradePart,
  natTable,
  openSysctls,
  SysctlPart,
} from '../../src/dataplane/mod.ts';
import { forwardingSysctls } from '../../src/dataplane/mod.ts';
import type { Part } from '../../src/dataplane/mod.ts';
import { ip, nthAddress, prefix } from '../../src/net/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';
import {
  expectedState,
  formatTransaction,
  openNftables,
  removeTable,
  replaceTable,
  tableDrift,
} from '../../src/nft/mod.ts';
import type { Nftables, Table } from '../../src/nft/mod.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('nf_tables, bridge and sysctls against the kernel', 'ip', 'nft');

describe.skipIf(!here)('parts of the dataplane', () => {
  const spaces = new TestNamespaces();
  let namespace: NetworkNamespace;
  let netlink: Rtnetlink;
  let nft: Nftables;
  beforeAll(() => {
    namespace = spaces.add('parts');
    netlink = Rtnetlink.in(namespace);
    nft = namespace.run(() => openNftables());
  });
  afterAll(() => spaces[Symbol.dispose]());

  const pass = (part: Part): string[] => {
    const changes = part.plan();
    for (const change of changes) change.apply();
    return changes.map((change) => change.text);
  };
  const inside = (...command: string[]) => spaces.run('parts', ...command);

  const networks = [prefix('10.244.0.0/16'), prefix('fc00::/47')];
  const table = masqueradeTable(networks);

  test('a transaction runs, reads back equal, and nft prints what we print', () => {
    nft.run(replaceTable(table));
    expect(nft.read(table)).toEqual(expectedState(table));
    expect(tableDrift(table, nft.read(table))).toBeUndefined();
    const listing = inside('nft', 'list', 'table', 'inet', 'godwit');
    for (const line of ['ip daddr 10.244.0.0/16 return', 'ip6 daddr ff00::/8 return', 'ip6 saddr fc00::/47 masquerade'])
      expect(listing).toContain(line);
    expect(listing).toContain('type nat hook postrouting priority srcnat; policy accept;');
    // the dry-run text is input for nft, and makes the same table
    const before = inside('nft', '-s', 'list', 'ruleset');
    inside('sh', '-c', `nft -f - <<'EOF'\n${formatTransaction(replaceTable(table))}\nEOF`);
    expect(inside('nft', '-s', 'list', 'ruleset')).toBe(before);
    expect(tableDrift(table, nft.read(table))).toBeUndefined();
  });

  test('whole or not at all: a refused operation leaves the old table, and is named', () => {
    const bad: Table = {
      ...table,
      chains: [{ name: 'postrouting', rules: [{ purpose: 'no hook', statements: [{ type: 'masquerade' }] }] }],
    };
    const filter = {
      ...bad,
      chains: [
        { ...bad.chains[0]!, base: { type: 'filter', hook: 'forward', priority: 0, policy: 'accept' } as const },
      ],
    };
    expect(() => nft.run(replaceTable(filter))).toThrow(/add rule inet godwit postrouting masquerade/);
    expect(tableDrift(table, nft.read(table))).toBeUndefined();
  });

  test('changes by others are told, our own are not; the flushed table comes back (F21)', async () => {
    let told = 0;
    using _watch = namespace.run(() => nft.watch(() => told++));
    await Bun.sleep(20);
    nft.run(replaceTable(table));
    await Bun.sleep(20);
    expect(told).toBe(0);
    inside('nft', 'flush', 'ruleset');
    await until('the flush is told', () => told > 0);
    expect(nft.read(table)).toBeUndefined();
    const part = new MasqueradePart(() => nft);
    part.setDesired(table);
    expect(pass(part).length).toBe(1);
    expect(pass(part)).toEqual([]);
    for (const harm of [
      'flush chain inet godwit postrouting',
      'add rule inet godwit postrouting accept',
      'add chain inet godwit mine',
      'delete table inet godwit',
    ]) {
      inside('nft', harm);
      expect([harm, pass(part).length]).toEqual([harm, 1]);
    }
    expect(pass(part)).toEqual([]);
    inside(
      'nft',
      'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }',
    );
    expect(part.forwardDrops()).toEqual([{ chain: 'ip filter FORWARD' }]);
    inside('nft', 'delete table ip filter');
    nft.run(removeTable(table));
    nft.run(removeTable(table));
    expect(inside('nft', 'list', 'ruleset').trim()).toBe('');
  });

  test('a set of addresses: thousands of them, read back; one taken out by hand is put back', () => {
    const hosts = Array.from({ length: 2500 }, (_, i) => nthAddress(prefix('192.168.0.0/16'), i * 7 + 1));
    const wide = natTable({ sources: networks, inside: networks, hosts: [...hosts, ip('fd00::1')] });
    const part = new MasqueradePart(() => nft);
    part.setDesired(wide);
    expect(pass(part).length).toBe(1);
    expect(nft.read(table)).toEqual(expectedState(wide));
    expect(inside('nft', 'list', 'set', 'inet', 'godwit', 'hosts4')).toContain('192.168.0.1, 192.168.0.8');
    expect(inside('nft', 'list', 'table', 'inet', 'godwit')).toContain('ip6 daddr @hosts6 return');
    inside('nft', 'delete', 'element', 'inet', 'godwit', 'hosts4', '{ 192.168.0.8 }');
    expect(pass(part).length).toBe(1);
    const listing = inside('nft', '-s', 'list', 'ruleset');
    inside('sh', '-c', `nft -f - <<'EOF'\n${formatTransaction(replaceTable(wide))}\nEOF`);
    expect(inside('nft', '-s', 'list', 'ruleset')).toBe(listing);
    expect(pass(part)).toEqual([]);
    part.setDesired('absent');
    expect(pass(part).length).toBe(1);
  });

  test('devices in rules', () => {
    const rules: Table = {
      family: 'inet',
      name: 'fw',
      chains: [
        {
          name: 'forward',
          base: { type: 'filter', hook: 'forward', priority: -5, policy: 'drop' },
          rules: [
            {
              purpose: 'in',
              statements: [
                { type: 'inputDevice', name: 'cni0' },
                { type: 'verdict', verdict: 'accept' },
              ],
            },
            {
              purpose: 'out',
              statements: [
                { type: 'outputDevice', name: 'cni0', negate: true },
                { type: 'verdict', verdict: 'return' },
              ],
            },
            {
              purpose: 'host',
              statements: [
                { type: 'destination', prefix: prefix('10.0.0.1/32') },
                { type: 'verdict', verdict: 'drop' },
              ],
            },
          ],
        },
      ],
    };
    nft.run(replaceTable(rules));
    expect(tableDrift(rules, nft.read(rules))).toBeUndefined();
    const listing = inside('nft', 'list', 'table', 'inet', 'fw');
    expect(listing).toContain('iifname "cni0" accept');
    expect(listing).toContain('oifname != "cni0" return');
    expect(listing).toContain('ip daddr 10.0.0.1 drop');
    expect(listing).toContain('priority filter - 5; policy drop');
    nft.run(removeTable(rules));
  });

  test('bridge: made once, repaired, adopted; the MAC stays when ports come', () => {
    const part = new BridgePart(netlink);
    const subnets = [
      { subnet: prefix('10.244.1.0/24'), gateway: ip('10.244.1.1'), network: networks[0]! },
      { subnet: prefix('fc00:0:0:1::/64'), gateway: ip('fc00:0:0:1::1'), network: networks[1]! },
    ];
    part.setDesired({ bridge: 'cni0', mtu: 1450, subnets });
    expect(pass(part)[0]).toBe('ip link add cni0 mtu 1450 address 0a:58:0a:f4:01:01 type bridge');
    expect(pass(part)).toEqual([]);
    expect(inside('ip', '-6', 'address', 'show', 'cni0')).not.toContain('tentative');
    inside('ip', 'link', 'add', 'port0', 'address', '02:00:00:00:00:01', 'type', 'veth', 'peer', 'port1');
    inside('ip', 'link', 'set', 'port0', 'master', 'cni0');
    expect(netlink.link('cni0')?.address).toBe(bridgeMac(ip('10.244.1.1')));
    for (const [harm, repair] of [
      ['address flush dev cni0 scope global', /address add 10\.244\.1\.1\/24/],
      ['link set cni0 mtu 1400', /mtu 1450/],
      ['link set cni0 down', /set cni0 up|address add/],
      ['address add 10.244.9.1/24 dev cni0', /address del 10\.244\.9\.1\/24/],
      ['link delete cni0', /link add cni0/],
    ] as const) {
      inside('ip', ...harm.split(' '));
      expect(pass(part).join('\n')).toMatch(repair);
      expect(pass(part)).toEqual([]);
    }
    // somebody else's bridge, with a MAC borrowed from a port
    inside('ip', 'link', 'delete', 'cni0');
    inside('ip', 'link', 'add', 'cni0', 'type', 'bridge');
    inside('ip', 'link', 'set', 'port0', 'master', 'cni0');
    inside('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'cni0');
    pass(part);
    expect(pass(part)).toEqual([]);
    const { address } = netlink.link('cni0')!;
    inside('ip', 'link', 'set', 'port0', 'nomaster');
    expect(netlink.link('cni0')).toMatchObject({ address, alias: 'godwit:bridge' });
    expect(inside('ip', 'address', 'show', 'cni0')).toContain('192.0.2.1/24');
    inside('ip', 'link', 'delete', 'cni0');
    inside('ip', 'link', 'add', 'cni0', 'type', 'veth', 'peer', 'cni1');
    expect(() => part.plan()).toThrow('interface cni0 is there, but it is veth, not a bridge');
    inside('ip', 'link', 'delete', 'cni0');
  });

  test('sysctls of the namespace, from outside of it', () => {
    const part = new SysctlPart(openSysctls(namespace));
    part.setDesired(forwardingSysctls({ ipv4: true, ipv6: true, bridge: 'cni0', uplinks: ['port0'] }));
    const first = pass(part);
    expect(first).toContain('sysctl -w net.ipv4.ip_forward=1');
    expect(first).toContain('sysctl -w net.ipv6.conf.all.forwarding=1');
    expect(pass(part)).toEqual([]);
    expect(inside('cat', '/proc/sys/net/ipv4/ip_forward').trim()).toBe('1');
  });
});
