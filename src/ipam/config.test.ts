import { expect, test } from 'bun:test';
import { ip, prefix } from '../net/mod.ts';
import { fitsRange, parseNetworkConfig } from './config.ts';

function good(json: unknown) {
  const parsed = parseNetworkConfig(typeof json === 'string' ? json : JSON.stringify(json));
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

function bad(json: unknown): string {
  const parsed = parseNetworkConfig(typeof json === 'string' ? json : JSON.stringify(json));
  return parsed.ok ? 'accepted' : parsed.error;
}

test('defaults', () => {
  expect(good({ Network: '10.244.0.0/16' })).toEqual({
    ipv4: {
      network: prefix('10.244.0.0/16'),
      subnetLength: 24,
      subnetMin: ip('10.244.1.0'),
      subnetMax: ip('10.244.255.0'),
    },
    ipv6: undefined,
    enableNftables: false,
    backendType: 'udp',
    vxlan: undefined,
    backend: {},
  });
  expect(good({ Network: '10.0.0.0/22' }).ipv4?.subnetLength).toBe(24);
  expect(good({ Network: '10.0.0.0/23' }).ipv4?.subnetLength).toBe(25);
  expect(good({ Network: '10.0.0.0/28' }).ipv4?.subnetLength).toBe(30);
});

test('every key', () => {
  const config = good({
    Network: '10.0.0.0/8',
    SubnetLen: 20,
    SubnetMin: '10.10.0.0',
    SubnetMax: '10.99.0.0',
    EnableIPv6: true,
    IPv6Network: 'fc00::/48',
    IPv6SubnetMin: 'fc00:0:0:5::',
    EnableNFTables: true,
    Backend: { Type: 'vxlan', VNI: 7, DirectRouting: true },
  });
  expect(config.ipv4).toMatchObject({ subnetLength: 20, subnetMin: ip('10.10.0.0'), subnetMax: ip('10.99.0.0') });
  expect(config.ipv6).toMatchObject({
    subnetLength: 64,
    subnetMin: ip('fc00:0:0:5::'),
    subnetMax: ip('fc00:0:0:ffff::'),
  });
  expect(config).toMatchObject({
    backendType: 'vxlan',
    backend: { vni: 7, directrouting: true },
    enableNftables: true,
  });
});

test('keys without regard to case, unknown keys, host bits of the network', () => {
  expect(good({ network: '10.244.3.1/16', Colour: 1 }).ipv4?.network).toBe(prefix('10.244.0.0/16'));
  expect(good('{"Network":"10.1.0.0/16","__proto__":{"EnableIPv6":true}}').ipv6).toBeUndefined();
});

test('what Flannel refuses', () => {
  expect(bad('{')).toStartWith('not JSON');
  expect(bad('[]')).toBe('not a JSON object');
  expect(bad({})).toBe('Network is missing');
  expect(bad({ Network: 'fc00::/48' })).toStartWith('Network is not an IPv4 prefix');
  expect(bad({ Network: '10.0.0.0/29' })).toContain('the smallest is a /28');
  expect(bad({ Network: '10.0.0.0/16', SubnetLen: 31 })).toBe('SubnetLen is longer than /30');
  expect(bad({ Network: '10.0.0.0/16', SubnetLen: 17 })).toContain('at least four subnets');
  expect(bad({ Network: '10.0.0.0/16', SubnetMin: '10.1.0.0' })).toStartWith('SubnetMin is not an address of');
  expect(bad({ Network: '10.0.0.0/16', SubnetMin: '10.0.1.7' })).toBe('SubnetMin 10.0.1.7 is not the start of a /24');
  expect(bad({ Network: '10.0.0.0/16', SubnetMin: '10.0.9.0', SubnetMax: '10.0.3.0' })).toContain('above');
  expect(bad({ Network: '10.0.0.0/16', EnableIPv4: false })).toContain('both false');
  expect(bad({ Network: '10.0.0.0/16', EnableIPv6: true })).toBe('IPv6Network is missing');
  expect(bad({ Network: '10.0.0.0/16', SubnetLen: '24' })).toStartWith('subnetlen:');
  expect(bad({ Network: '10.0.0.0/16', Backend: { Type: 3 } })).toContain('Backend.Type');
});

test('whether a subnet belongs', () => {
  const { ipv4 } = good({ Network: '10.244.0.0/16', SubnetMin: '10.244.8.0' });
  expect(fitsRange(ipv4!, prefix('10.244.8.0/24'))).toBe(true);
  expect(fitsRange(ipv4!, prefix('10.244.7.0/24'))).toBe(false);
  expect(fitsRange(ipv4!, prefix('10.244.8.0/25'))).toBe(false);
  expect(fitsRange(ipv4!, prefix('10.245.8.0/24'))).toBe(false);
});
