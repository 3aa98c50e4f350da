import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { silentLogger } from '../../src/base/mod.ts';
import { Caretaker, ROUTED_HOST_MAC, SourceCheckPart } from '../../src/dataplane/mod.ts';
import { ip } from '../../src/net/mod.ts';
import type { IpAddress, MacAddress } from '../../src/net/mod.ts';
import { openNftables } from '../../src/nft/mod.ts';
import { NetworkNamespace, writeSysctl } from '../../src/sys/mod.ts';
import { unguarded } from '../../src/dataplane/endpoints-routed.ts';
import { runPlugin } from '../support/cni.ts';
import {
  arpReply,
  BROADCAST,
  extended,
  laterFragment,
  routerAdvertisement,
  sendFrame,
  sourceRouted,
  udp,
} from '../support/frames.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { putPools, RoutedNode } from '../support/routed.ts';

const here = have('routed pods that lie', 'ip', 'ping', 'nft');

describe.skipIf(!here)('a routed pod that lies', () => {
  const spaces = new TestNamespaces();
  const nft = () => openNftables();
  let node: RoutedNode;
  let check: SourceCheckPart;
  const keeper = new Caretaker({ log: silentLogger });
  /** One that lies, one it wants to reach, one it pretends to be. */
  let [liar, target, victim]: Pod[] = [];
  interface Pod {
    readonly short: string;
    readonly namespace: NetworkNamespace;
    readonly v4: IpAddress;
    readonly v6: IpAddress;
    readonly host: string;
    readonly mac: MacAddress;
  }

  async function attach(short: string, more: Record<string, unknown> = {}): Promise<Pod> {
    const netns = node.pod(short);
    const added = await runPlugin('ADD', { container: short, netns, config: node.config(more) });
    expect(added).toMatchObject({ status: 0 });
    const [v4, v6] = added.json.ips!.map(({ address }) => ip(address.split('/')[0]!)) as [IpAddress, IpAddress];
    const [host, inside] = added.json.interfaces!;
    const namespace = NetworkNamespace.open(netns);
    return { short, namespace, v4, v6, host: host!.name, mac: inside!.mac as MacAddress };
  }

  beforeAll(async () => {
    const store = new MemoryStore().client();
    node = new RoutedNode(spaces, store);
    await putPools(store);
    await node.start();
    check = new SourceCheckPart(nft);
    check.setDesired('ipv6');
    keeper.add(check);
    expect(keeper.pass()).toBe(true);
    [liar, target, victim] = [await attach('liar'), await attach('target'), await attach('victim')];
    // counts what arrives, by its claimed source
    const rules = ['ip', 'ip6'].flatMap((family) =>
      [liar!, victim!].map((pod) => `add rule inet t in ${family} saddr ${family === 'ip' ? pod.v4 : pod.v6} counter`),
    );
    const table = 'add table inet t\nadd chain inet t in { type filter hook input priority 0; }';
    spaces.run('target', 'sh', '-c', `nft -f - <<'EOF'\n${[table, ...rules].join('\n')}\nEOF`);
  });
  afterAll(async () => {
    for (const pod of [liar, target, victim]) pod?.namespace[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
    spaces[Symbol.dispose]();
  });

  /** How many packets with this source came to the target. */
  function arrived(source: IpAddress): number {
    const line = spaces
      .run('target', 'nft', 'list', 'table', 'inet', 't')
      .split('\n')
      .find((text) => text.includes(`saddr ${source} `));
    return Number(/packets (\d+)/.exec(line!)![1]);
  }
  const same = (packet: number[]) => packet;
  const forge = (source: IpAddress, change = same): void => {
    const [family, to] = source.includes(':') ? (['ipv6', target!.v6] as const) : (['ipv4', target!.v4] as const);
    sendFrame(liar!.namespace, 'eth0', ROUTED_HOST_MAC, family, change(udp(source, to)));
  };
  /** What is forged does not arrive, though what is sent honestly right after it does. */
  async function expectDropped(forged: IpAddress, own: IpAddress, change = same): Promise<void> {
    const before = [arrived(forged), arrived(own)];
    forge(forged, change);
    forge(own);
    await until('the honest packet arrives', () => arrived(own) > before[1]!);
    expect(arrived(forged)).toBe(before[0]!);
  }
  async function expectForwarded(forged: IpAddress): Promise<void> {
    const before = arrived(forged);
    forge(forged);
    await until('the forged packet arrives', () => arrived(forged) > before);
  }

  test('cannot send from another pod’s IPv4 address; without the strict reverse path check it could', async () => {
    await expectDropped(victim!.v4, liar!.v4);
    writeSysctl(`net/ipv4/conf/${liar!.host}/rp_filter`, 0);
    await expectForwarded(victim!.v4);
    writeSysctl(`net/ipv4/conf/${liar!.host}/rp_filter`, 1);
    await expectDropped(victim!.v4, liar!.v4);
  });

  test('cannot send from another pod’s IPv6 address; without our rule it could', async () => {
    await expectDropped(victim!.v6, liar!.v6);
    spaces.run('host', 'nft', 'delete', 'table', 'ip6', 'godwit-endpoints');
    await expectForwarded(victim!.v6);
    expect(keeper.pass()).toBe(true);
    expect(check.plan()).toEqual([]);
    await expectDropped(victim!.v6, liar!.v6);
  });

  test('cannot by fragments or extension headers', async () => {
    await expectDropped(victim!.v4, liar!.v4, laterFragment);
    for (const header of [44, 60] as const) {
      const change = (packet: number[]) => extended(packet, header);
      await expectDropped(victim!.v6, liar!.v6, change);
    }
    // they are what the target takes from the pod itself
    const before = arrived(liar!.v6);
    forge(liar!.v6, (packet) => extended(packet, 60));
    await until('an honest packet with an extension header', () => arrived(liar!.v6) > before);
  });

  test('cannot send from addresses that are nobody’s', async () => {
    const all = [
      '127.0.0.1',
      '0.0.0.0',
      '255.255.255.255',
      '::1',
      '::',
      `::ffff:${victim!.v4}`,
      `64:ff9b::${victim!.v4}`,
    ];
    const rules = [
      'add rule inet t in ip saddr { 127.0.0.0/8, 0.0.0.0/8, 255.255.255.255 } counter',
      'add rule inet t in ip6 saddr { ::/96, ::ffff:0:0/96, 64:ff9b::/96 } counter',
    ];
    spaces.run('target', 'sh', '-c', `nft -f - <<'EOF'\n${rules.join('\n')}\nEOF`);
    for (const source of all) forge(ip(source));
    for (const own of [liar!.v4, liar!.v6]) {
      const before = arrived(own);
      forge(own);
      await until('the honest packet arrives', () => arrived(own) > before);
    }
    const listed = spaces.run('target', 'nft', 'list', 'table', 'inet', 't').split('\n');
    expect(listed.filter((line) => /saddr [{]/.test(line)).map((line) => /packets (\d+)/.exec(line)![1])).toEqual([
      '0',
      '0',
    ]);
  });

  test('cannot have the node route by the packet’s own list, also where the node is told to', async () => {
    const path = `net/ipv4/conf/${liar!.host}/accept_source_route`;
    writeSysctl('net/ipv4/conf/all/accept_source_route', 1);
    // the target takes such packets, too
    for (const of of ['all', 'eth0'])
      spaces.run('target', 'sysctl', '-qw', `net.ipv4.conf.${of}.accept_source_route=1`);
    const change = (packet: number[]) => sourceRouted(packet, ip('192.0.2.1'));
    const before = arrived(liar!.v4);
    forge(liar!.v4, change);
    forge(liar!.v4);
    await until('the plain packet', () => arrived(liar!.v4) > before);
    expect(arrived(liar!.v4)).toBe(before + 1);
    writeSysctl(path, 1);
    forge(liar!.v4, change);
    await until('the other one, where the pod’s link says so too', () => arrived(liar!.v4) === before + 2);
    writeSysctl(path, 0);
    writeSysctl('net/ipv4/conf/all/accept_source_route', 0);
  });

  test('cannot reach what listens on the node’s loopback addresses; where the link says so it could', async () => {
    const rules =
      'add table inet t\nadd chain inet t in { type filter hook input priority 0; }\nadd rule inet t in iifname cali* ip daddr 127.0.0.0/8 counter';
    spaces.run('host', 'sh', '-c', `nft -f - <<'EOF'\n${rules}\nEOF`);
    const came = () => Number(/packets (\d+)/.exec(spaces.run('host', 'nft', 'list', 'table', 'inet', 't'))![1]);
    const knock = () => sendFrame(liar!.namespace, 'eth0', ROUTED_HOST_MAC, 'ipv4', udp(liar!.v4, ip('127.0.0.1')));
    const before = arrived(liar!.v4);
    knock();
    forge(liar!.v4);
    await until('the next packet is through', () => arrived(liar!.v4) > before);
    expect(came()).toBe(0);
    writeSysctl(`net/ipv4/conf/${liar!.host}/route_localnet`, 1);
    knock();
    await until('it comes in', () => came() === 1);
    writeSysctl(`net/ipv4/conf/${liar!.host}/route_localnet`, 0);
    spaces.run('host', 'nft', 'delete', 'table', 'inet', 't');
  });

  test('cannot either where the node is told to check loosely everywhere', async () => {
    writeSysctl('net/ipv4/conf/all/rp_filter', 2);
    await expectDropped(victim!.v4, liar!.v4);
    writeSysctl('net/ipv4/conf/all/rp_filter', 0);
    writeSysctl(`net/ipv4/conf/${liar!.host}/rp_filter`, 2);
    await expectDropped(victim!.v4, liar!.v4);
    writeSysctl(`net/ipv4/conf/${liar!.host}/rp_filter`, 1);
  });

  test('without IPv6 the rule goes', () => {
    check.setDesired('absent');
    expect(keeper.pass()).toBe(true);
    expect(spaces.run('host', 'nft', 'list', 'tables')).toBe('');
    check.setDesired('ipv6');
    expect(keeper.pass()).toBe(true);
  });

  test('a pod without IPv6 sends none, though the node forwards it and no rule is there', async () => {
    const single = await attach('single', { ipam: { type: 'calico-ipam', assign_ipv4: true, assign_ipv6: false } });
    check.setDesired('absent');
    expect(keeper.pass()).toBe(true);
    const send = (from: Pod, source: IpAddress) => {
      const [family, to] = source.includes(':') ? (['ipv6', target!.v6] as const) : (['ipv4', target!.v4] as const);
      sendFrame(from.namespace, 'eth0', ROUTED_HOST_MAC, family, udp(source, to));
    };
    expect(unguarded(spaces.get('host'), single.host, false)).toEqual([]);
    const [forged, honest] = [arrived(victim!.v6), arrived(victim!.v4)];
    send(single, victim!.v6);
    send(victim!, victim!.v4);
    await until('the honest packet arrives', () => arrived(victim!.v4) > honest);
    expect(arrived(victim!.v6)).toBe(forged);
    // as an agent does with what it finds
    writeSysctl(`net/ipv6/conf/${single.host}/disable_ipv6`, 0);
    send(single, victim!.v6);
    await until('now it arrives', () => arrived(victim!.v6) === forged + 1);
    await node.stop();
    await node.start();
    expect(unguarded(spaces.get('host'), single.host, false)).toEqual([]);
    check.setDesired('ipv6');
    expect(keeper.pass()).toBe(true);
    single.namespace[Symbol.dispose]();
  });

  test('the rule reads in nft’s words as it is meant', () => {
    const listed = spaces.run('host', 'nft', 'list', 'table', 'ip6', 'godwit-endpoints');
    expect(listed).toContain('iifname "cali*" fib saddr . iif oif missing drop');
  });

  test('nobody believes its ARP: neither about another pod nor about the gateway', async () => {
    const uplink = ip('192.0.2.254');
    for (const address of [victim!.v4, uplink, ip('192.0.2.1')]) {
      for (const to of [BROADCAST, ROUTED_HOST_MAC]) {
        sendFrame(liar!.namespace, 'eth0', to, 'arp', arpReply(address, liar!.mac, ip('169.254.1.1')));
      }
    }
    const before = arrived(victim!.v4);
    expect(spaces.status('victim', 'ping', '-c1', '-w5', target!.v4)).toBe(0);
    // the victim's packet came, and the answer found the victim
    expect(arrived(victim!.v4)).toBeGreaterThan(before);
    expect(spaces.status('host', 'ping', '-c1', '-w5', victim!.v4)).toBe(0);
    expect(spaces.run('host', 'ip', 'neigh', 'show', victim!.v4)).toContain(
      `dev ${victim!.host} lladdr ${victim!.mac}`,
    );
    expect(spaces.run('host', 'ip', 'neigh', 'show', '192.0.2.254')).not.toContain(liar!.mac);
  });

  test('the host believes none of its router advertisements; with accept_ra it would', async () => {
    const prefix = ip('2001:db8:bad::');
    const own = /inet6 (fe80:[0-9a-f:]+)/.exec(spaces.run('liar', 'ip', '-6', 'addr', 'show', 'eth0'))![1]!;
    const advertise = () =>
      sendFrame(
        liar!.namespace,
        'eth0',
        '33:33:00:00:00:01' as MacAddress,
        'ipv6',
        routerAdvertisement(ip(own), prefix),
      );
    const believed = () =>
      spaces.run('host', 'ip', '-6', 'route').includes('2001:db8:bad::') ||
      spaces.run('host', 'ip', '-6', 'addr').includes('2001:db8:bad:');
    advertise();
    // what is sent after it has arrived: it was handled
    const before = arrived(liar!.v6);
    forge(liar!.v6);
    await until('the next packet is through', () => arrived(liar!.v6) > before);
    expect(believed()).toBe(false);
    writeSysctl(`net/ipv6/conf/${liar!.host}/accept_ra`, 2);
    advertise();
    await until('a host that listens believes it', believed);
    writeSysctl(`net/ipv6/conf/${liar!.host}/accept_ra`, 0);
  });
});
