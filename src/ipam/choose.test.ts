import { expect, test } from 'bun:test';
import type { LeaseId } from '../datastore/mod.ts';
import { ip, prefix } from '../net/mod.ts';
import { chooseSubnets } from './choose.ts';
import type { Situation } from './choose.ts';
import { parseNetworkConfig } from './config.ts';
import { parseSubnetsName } from './lease.ts';
import type { SubnetLease } from './lease.ts';

function config(json: object) {
  const parsed = parseNetworkConfig(JSON.stringify(json));
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

const lease = (name: string, publicIp: string, id = '7'): SubnetLease => ({
  key: name,
  subnets: parseSubnetsName(name)!,
  attributes: { publicIp: ip(publicIp), publicIpv6: undefined, backendType: 'host-gw' },
  lease: id as LeaseId,
  createRevision: 1,
  modRevision: 1,
});

const node = { publicIp: ip('192.0.2.1'), publicIpv6: undefined };
const network = config({ Network: '10.244.0.0/16' });
const choose = (situation: Partial<Situation>) =>
  chooseSubnets({ config: network, node, leases: [], random: () => 0, ...situation });

test('the order: own lease, previous subnet, random among the first hundred free', () => {
  const own = lease('10.244.7.0-24', '192.0.2.1');
  const other = lease('10.244.1.0-24', '192.0.2.2');
  const previous = { ipv4: prefix('10.244.9.0/24'), ipv6: undefined };
  expect(choose({ leases: [other, own], previous })).toEqual({ type: 'own', lease: own });
  expect(choose({ leases: [other], previous })).toEqual({ type: 'take', subnets: previous });
  const taken = lease('10.244.9.0-24', '192.0.2.3');
  const first = { type: 'take', subnets: { ipv4: prefix('10.244.2.0/24'), ipv6: undefined } };
  expect(choose({ leases: [other, taken], previous })).toEqual(first as never);
  expect(choose({ random: () => 0.999 })).toMatchObject({ subnets: { ipv4: prefix('10.244.100.0/24') } });
});

test('of several own leases the previous one; none that does not fit', () => {
  const leases = [lease('10.244.3.0-24', '192.0.2.1'), lease('10.244.4.0-24', '192.0.2.1')];
  const previous = { ipv4: prefix('10.244.4.0/24'), ipv6: undefined };
  expect(choose({ leases, previous })).toEqual({ type: 'own', lease: leases[1]! });
  expect(choose({ leases: [lease('10.99.4.0-24', '192.0.2.1')] }).type).toBe('take');
  expect(choose({ leases: [lease('10.244.4.0-25', '192.0.2.1')] }).type).toBe('take');
});

test("a reservation of this node is its own, others' are taken", () => {
  const mine = lease('10.244.3.0-24', '192.0.2.1', '0');
  expect(choose({ leases: [mine] })).toEqual({ type: 'own', lease: mine });
  const theirs = lease('10.244.1.0-24', '192.0.2.9', '0');
  expect(choose({ leases: [theirs] })).toMatchObject({ subnets: { ipv4: prefix('10.244.2.0/24') } });
});

test('whatever overlaps is taken, longer and shorter, and keys with broken values too', () => {
  const leases = [lease('10.244.1.128-25', '192.0.2.2'), lease('10.244.4.0-22', '192.0.2.3')];
  const blocked = [prefix('10.244.2.0/24')];
  const found = new Set<string>();
  for (let i = 0; i < 100; i++) {
    const choice = choose({ leases, blocked, random: () => (i + 0.5) / 100 });
    if (choice.type === 'take') found.add(choice.subnets.ipv4!);
  }
  for (const n of [1, 2, 4, 5, 6, 7]) expect(found.has(`10.244.${n}.0/24`)).toBe(false);
  expect(found.has('10.244.3.0/24')).toBe(true);
  expect(found.has('10.244.8.0/24')).toBe(true);
  expect(found.size).toBe(100);
});

test('bounds, and a full network', () => {
  const small = config({ Network: '10.0.0.0/28', SubnetMin: '10.0.0.8' });
  const one = lease('10.0.0.8-30', '192.0.2.2');
  const two = lease('10.0.0.12-30', '192.0.2.3');
  expect(choose({ config: small, leases: [one] })).toMatchObject({ subnets: { ipv4: prefix('10.0.0.12/30') } });
  expect(choose({ config: small, leases: [one, two] })).toEqual({ type: 'full', family: 4 });
});

test('both families', () => {
  const dual = config({ Network: '10.244.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' });
  const leases = [lease('10.244.1.0-24&fc00:0:0:1::-64', '192.0.2.2')];
  expect(choose({ config: dual, leases })).toEqual({
    type: 'take',
    subnets: { ipv4: prefix('10.244.2.0/24'), ipv6: prefix('fc00:0:0:2::/64') },
  });
  // an own lease of one family only does not serve a network of two
  expect(choose({ config: dual, leases: [lease('10.244.5.0-24', '192.0.2.1')] }).type).toBe('take');
});

test('a network of a whole IPv6 /16 is searched without walking through what is taken', () => {
  const huge = config({ EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fc00::/16' });
  const leases = [lease('0.0.0.0-0&fc00::-17', '192.0.2.2')];
  const choice = choose({ config: huge, leases, node: { publicIp: undefined, publicIpv6: ip('fd00::1') } });
  expect(choice).toMatchObject({ type: 'take', subnets: { ipv6: prefix('fc00:8000::/64') } });
});
