import { describe, expect, test } from 'bun:test';
import { ip, parseInterfaceAddress, prefix } from '../net/mod.ts';
import { IFA_F, IFF, kernelRoute } from '../netlink/mod.ts';
import type { KernelAddress, KernelRoute, Link } from '../netlink/mod.ts';
import { detectAddress } from './detect.ts';
import type { HostSnapshot } from './detect.ts';
import { parseMethod } from './method.ts';

/** `{eth0: ['10.168.0.2/24']}`, indices in order from 1; a name that ends in `!` is down. */
function host(interfaces: Record<string, readonly string[]>, routes: readonly KernelRoute[] = []): HostSnapshot {
  const links: Link[] = [];
  const addresses: KernelAddress[] = [];
  for (const [key, list] of Object.entries(interfaces)) {
    const index = links.length + 1;
    links.push({
      index,
      name: key.replace('!', ''),
      flags: key.endsWith('!') ? 0 : IFF.UP,
      mtu: 1500,
      hardwareType: 1,
      address: undefined,
      master: 0,
      link: 0,
      linkNamespace: undefined,
      kind: '',
      alias: '',
    });
    for (const text of list) {
      const [address, ...marks] = text.split(' ');
      const flags = marks.includes('secondary') ? 1 : marks.includes('tentative') ? IFA_F.TENTATIVE : IFA_F.PERMANENT;
      addresses.push({ ...parseInterfaceAddress(address!)!, index, scope: marks.includes('link') ? 253 : 0, flags });
    }
  }
  return { links, addresses, routes };
}

const plain = { lo: ['127.0.0.1/8', '::1/128'], eth0: ['10.168.0.2/24', 'fd00::2/64', 'fe80::1/64'] };
const busy = {
  lo: ['127.0.0.1/8'],
  docker0: ['172.17.0.1/16'],
  eth0: ['192.168.64.1/32', '10.168.0.2/24'],
  eth1: ['10.9.0.2/24'],
  cni0: ['10.244.0.1/24'],
  'eth2!': ['10.10.0.2/24'],
};

describe('detectAddress', () => {
  const cases: [string, string, 4 | 6, HostSnapshot, string | undefined][] = [
    ['the first interface that is not virtual', 'first-found', 4, host(plain), '10.168.0.2 eth0'],
    ['IPv6: no link-local', 'first-found', 6, host(plain), 'fd00::2 eth0'],
    ['network before floating address', 'first-found', 4, host(busy), '10.168.0.2 eth0'],
    ['interface by expression', 'interface=eth1', 4, host(busy), '10.9.0.2 eth1'],
    ['expressions are unanchored, several', 'interface=nope,h1', 4, host(busy), '10.9.0.2 eth1'],
    ['interface= takes a bridge when told so', 'interface=docker.*', 4, host(busy), '172.17.0.1 docker0'],
    ['but never our own bridge', 'interface=cni0', 4, host(busy), undefined],
    ['skip', 'skip-interface=eth0,x', 4, host(busy), '10.9.0.2 eth1'],
    ['cidr', 'cidr=10.9.0.0/16,10.8.0.0/16', 4, host(busy), '10.9.0.2 eth1'],
    ['cidr does not look into containers’ bridges', 'cidr=172.17.0.0/16', 4, host(busy), undefined],
    ['a link that is down', 'interface=eth2', 4, host(busy), undefined],
    ['address itself', '10.9.0.2', 4, host(busy), '10.9.0.2 eth1'],
    ['none of the family', 'first-found', 6, host(busy), undefined],
    ['tentative', 'first-found', 6, host({ eth0: ['fd00::2/64 tentative'] }), undefined],
    ['temporary', 'first-found', 6, host({ eth0: ['fd00::9/64 secondary', 'fd00::3/64'] }), 'fd00::3 eth0'],
    [
      'secondary IPv4 last',
      'first-found',
      4,
      host({ eth0: ['10.0.0.2/24 secondary', '10.0.0.3/24'] }),
      '10.0.0.3 eth0',
    ],
    ['scope link', 'first-found', 4, host({ eth0: ['10.0.0.2/24 link'] }), undefined],
  ];
  test.each(cases)('%s: %s', (_name, text, family, snapshot, expected) => {
    const method = parseMethod(text);
    if (!method.ok) throw new Error(method.error);
    const { choice, candidates } = detectAddress(snapshot, method.value, family, ['cni0']);
    expect(choice && `${choice.address} ${choice.device}`).toBe(expected);
    expect(candidates.filter((c) => c.verdict === 'chosen').length).toBe(choice ? 1 : 0);
    for (const candidate of candidates) expect(candidate.reason).not.toBe('');
  });

  test('can-reach follows the longest prefix, then the metric, and the route’s source', () => {
    const via = (destination: string, index: number, extra: object = {}) =>
      kernelRoute({
        destination: prefix(destination),
        protocol: 3,
        nextHops: [{ gateway: ip('10.168.0.1'), index }],
        ...extra,
      });
    const routes = [
      via('0.0.0.0/0', 3, { priority: 100 }),
      via('0.0.0.0/0', 4, { priority: 50 }),
      via('8.8.0.0/16', 3, { source: ip('192.168.64.1') }),
    ];
    const pick = (target: string, list: KernelRoute[]) => {
      const method = parseMethod(`can-reach=${target}`);
      return method.ok ? detectAddress(host(busy, list), method.value, 4) : undefined;
    };
    expect(pick('1.1.1.1', routes)?.choice).toMatchObject({ address: ip('10.9.0.2'), device: 'eth1' });
    expect(pick('8.8.8.8', routes)?.choice).toMatchObject({ address: ip('192.168.64.1'), device: 'eth0' });
    expect(pick('8.8.8.8', [])).toMatchObject({ choice: undefined, reason: 'can-reach=8.8.8.8: no route to 8.8.8.8' });
  });

  test.each(['', 'fastest', 'can-reach=', 'can-reach=x', 'interface=', 'interface=(', 'cidr=10.0.0.1/8', 'cidr='])(
    'refuses %p',
    (text) => expect(parseMethod(text).ok).toBe(false),
  );
});
