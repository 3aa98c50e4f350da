import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ip, prefix } from '../../src/net/mod.ts';
import {
  addAddress,
  addLink,
  addRoute,
  iprouteLine,
  kernelRoute,
  Rtnetlink,
  RT_TABLE,
  RTNH_F,
  RTPROT,
  setLink,
} from '../../src/netlink/mod.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

describe.skipIf(!have('routes as iproute2 prints them', 'ip'))('iprouteLine', () => {
  const spaces = new TestNamespaces();
  let netlink: Rtnetlink;
  beforeAll(() => {
    netlink = Rtnetlink.in(spaces.add('show'));
  });
  afterAll(() => {
    netlink[Symbol.dispose]();
    spaces[Symbol.dispose]();
  });

  test('every kind of route we make, and the kernel’s own, is the line of ip route', async () => {
    netlink.change((b) => addLink(b, { kind: 'veth', name: 'up0', up: true, peer: { name: 'up1' } }));
    const [up0, up1] = [netlink.link('up0')!.index, netlink.link('up1')!.index];
    netlink.change((b) => {
      setLink(b, up1, { up: true });
      addAddress(b, up0, { address: ip('10.1.0.1'), prefixLength: 24 });
      addAddress(b, up1, { address: ip('10.2.0.1'), prefixLength: 24 });
    });
    const near = { gateway: ip('10.1.0.2'), index: up0 };
    const route = (destination: string, more: Partial<Parameters<typeof kernelRoute>[0]>) =>
      kernelRoute({ destination: prefix(destination), protocol: 71, nextHops: [near], ...more });
    const routes = [
      route('0.0.0.0/0', { protocol: RTPROT.STATIC }),
      route('10.3.0.0/24', {}),
      route('10.3.1.1/32', { protocol: RTPROT.BOOT, source: ip('10.2.0.1') }),
      route('10.3.2.0/24', { nextHops: [], protocol: RTPROT.BIRD }),
      route('10.3.3.0/24', { nextHops: [{ gateway: ip('10.9.9.9'), index: up0, flags: RTNH_F.ONLINK }] }),
      route('10.3.4.0/24', { priority: 1024, mtu: 1400, protocol: RTPROT.BGP }),
      route('10.3.5.0/24', { nextHops: [near, { gateway: ip('10.2.0.9'), index: up1, weight: 3 }] }),
      route('10.3.6.0/24', { nextHops: [{ index: up1 }], protocol: 80 }),
    ];
    for (const wanted of routes) netlink.change((b) => addRoute(b, wanted));
    const names = new Map(netlink.links().map((link) => [link.index, link.name]));
    const nameOf = (index: number) => names.get(index)!;
    const lines = (table: number) =>
      netlink
        .routes(4, { table })
        .filter((r) => r.table === table)
        .map((r) => iprouteLine(r, nameOf));
    // iproute2 breaks multipath routes over lines, and ends lines in blanks
    const theirs = (table: string) =>
      spaces
        .run('show', 'ip', '-4', 'route', 'show', 'table', table)
        .replaceAll(/\s*\n\s+/g, ' ')
        .trim()
        .split('\n')
        .map((line) => line.trim());
    // the kernel notices a link's carrier a moment later
    await until('both links have carrier', () => !theirs('main').join('\n').includes('linkdown'));
    expect(lines(RT_TABLE.MAIN)).toEqual(theirs('main'));
    expect(lines(RT_TABLE.MAIN)).toHaveLength(10);
    expect(lines(RT_TABLE.LOCAL).map((line) => line.replace(' table local', ''))).toEqual(theirs('local'));
    // a cable is pulled
    netlink.change((b) => setLink(b, up1, { up: false }));
    await until('the other end has lost it', () => theirs('main').some((line) => /^10\.3\.0.* linkdown$/.test(line)));
    expect(lines(RT_TABLE.MAIN)).toEqual(theirs('main'));
  });
});
