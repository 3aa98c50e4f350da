import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prefix } from '../net/mod.ts';
import { parseNetworkConfig } from './config.ts';
import { formatSubnetEnv, parseSubnetEnv, readSubnetEnv, writeSubnetEnv } from './subnet-env.ts';

const directory = mkdtempSync(join(tmpdir(), 'godwit-subnet-env-'));
afterAll(() => rmSync(directory, { recursive: true }));

function env(json: object) {
  const config = parseNetworkConfig(JSON.stringify(json));
  if (!config.ok) throw new Error(config.error);
  const ipv6 = config.value.ipv6 ? prefix('fc00:0:0:1::/64') : undefined;
  const subnets = { ipv4: prefix('10.244.1.0/24'), ipv6 };
  return { config: config.value, subnets, mtu: 1500, masquerade: true };
}

test("Flannel's text", () => {
  expect(formatSubnetEnv(env({ Network: '10.244.0.0/16' }))).toBe(
    'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n',
  );
  const dual = formatSubnetEnv(env({ Network: '10.244.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' }));
  expect(dual).toContain('FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\n');
});

test('written as a whole, read back, and torn at every byte without harm', () => {
  const path = join(directory, 'run/flannel/subnet.env');
  const value = env({ Network: '10.244.0.0/16' });
  writeSubnetEnv(path, value);
  writeSubnetEnv(path, value);
  expect(readSubnetEnv(path)).toEqual(value.subnets);
  expect(readdirSync(join(directory, 'run/flannel'))).toEqual(['subnet.env']);
  const text = readFileSync(path, 'utf8');
  for (let i = 0; i <= text.length; i++) {
    const { ipv4 } = parseSubnetEnv(text.slice(0, i));
    // a prefix length that was cut off may still read as one; it is a /2, which no range of /24s accepts
    if (ipv4 !== undefined) expect([prefix('10.244.1.0/24'), prefix('0.0.0.0/2')]).toContain(ipv4);
  }
  expect(readSubnetEnv(join(directory, 'none'))).toBeUndefined();
});
