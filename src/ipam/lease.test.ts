import { expect, test } from 'bun:test';
import type { KeyValue, LeaseId } from '../datastore/mod.ts';
import { ip, prefix } from '../net/mod.ts';
import { formatLeaseValue, isReservation, parseLease, parseSubnetsName, subnetsName } from './lease.ts';
import { NetworkReader } from './network.ts';

const NETWORK = '/coreos.com/network';
const kv = (name: string, value: string, lease = '7'): KeyValue => ({
  key: `${NETWORK}/${name}`,
  value,
  createRevision: 3,
  modRevision: 4,
  version: 2,
  lease: lease as LeaseId,
});
const value =
  '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}';

test('keys, both ways', () => {
  const names = ['10.244.1.0-24', '10.244.1.0-24&fc00:1::-64', '0.0.0.0-0&fc00:1::-64'];
  for (const name of names) expect(subnetsName(parseSubnetsName(name)!)).toBe(name);
  expect(parseSubnetsName(names[1]!)).toEqual({ ipv4: prefix('10.244.1.0/24'), ipv6: prefix('fc00:1::/64') });
  const wrong = ['', '10.244.1.0', '10.244.1.0/24', '10.244.1.7-24', '10.244.1.0-33', '10.244.1.0-24&', '0.0.0.0-0'];
  for (const name of wrong) expect(parseSubnetsName(name)).toBeUndefined();
});

test("Flannel's value, both ways", () => {
  const parsed = parseLease(NETWORK, kv('subnets/10.244.1.0-24', value));
  if (!parsed.ok) throw new Error(parsed.error);
  expect(parsed.value.attributes).toEqual({
    publicIp: ip('192.168.64.3'),
    publicIpv6: undefined,
    backendType: 'vxlan',
    backendData: { VNI: 1, VtepMAC: 'c6:d2:32:6f:8f:44' },
  });
  expect(formatLeaseValue(parsed.value.attributes)).toBe(value);
  const hostGw = { publicIp: ip('10.168.0.2'), publicIpv6: undefined, backendType: 'host-gw' };
  expect(formatLeaseValue(hostGw)).toBe('{"PublicIP":"10.168.0.2","PublicIPv6":null,"BackendType":"host-gw"}');
});

test('a key without an etcd lease is a reservation', () => {
  const parsed = parseLease(NETWORK, kv('subnets/10.244.1.0-24', value, '0'));
  expect(parsed.ok && isReservation(parsed.value)).toBe(true);
});

test('broken keys and values are told one by one, and their end too', () => {
  const reader = new NetworkReader(NETWORK);
  expect(reader.put(kv('subnets/10.244.1.0-24', value))).toMatchObject([{ type: 'lease' }]);
  expect(reader.put(kv('subnets/nonsense', value))).toMatchObject([{ type: 'rejected' }]);
  for (const broken of ['', '{', '[]', '"x"', '{"PublicIP":"1.2.3","BackendType":"x"}', '{"PublicIP":7}']) {
    const updates = reader.put(kv('subnets/10.244.2.0-24', broken));
    expect(updates).toMatchObject([{ type: 'rejected', key: `${NETWORK}/subnets/10.244.2.0-24` }]);
  }
  expect(reader.put(kv('subnets/10.244.2.0-24', value)).map((u) => u.type)).toEqual(['settled', 'lease']);
  expect(reader.put(kv('subnets/10.244.1.0-24', '{')).map((u) => u.type)).toEqual(['leaseDeleted', 'rejected']);
  expect(reader.delete(`${NETWORK}/subnets/10.244.1.0-24`).map((u) => u.type)).toEqual(['settled']);
  expect(reader.delete(`${NETWORK}/subnets/10.244.2.0-24`).map((u) => u.type)).toEqual(['leaseDeleted']);
  expect(reader.put(kv('config', '{"Network":"10.244.0.0/16"}'))).toMatchObject([{ type: 'config' }]);
  expect(reader.put(kv('config', 'x'))).toMatchObject([{ type: 'rejected' }]);
});
