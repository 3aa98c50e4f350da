import { describe, expect, test } from 'bun:test';
import type { LeaseId } from '../../datastore/mod.ts';
import { parseNetworkConfig } from '../../ipam/mod.ts';
import type { SubnetLease } from '../../ipam/mod.ts';
import { ip, prefix } from '../../net/mod.ts';
import { IFA_F, IFF } from '../../netlink/mod.ts';
import type { Link } from '../../netlink/mod.ts';
import { Ownership } from './ownership.ts';
import { connectedPrefixes } from '../connected.ts';
import { planNode } from './plan.ts';
import type { PlanInputs } from './plan.ts';

const PREFIX = '/coreos.com/network';
const link = (index: number, name: string): Link => ({
  ...{ index, name, flags: IFF.UP, mtu: 1450, hardwareType: 1, address: undefined, master: 0, link: 0 },
  ...{ linkNamespace: undefined, kind: '', alias: '' },
});
const at = (index: number, address: string, prefixLength = 24) => ({
  ...{ index, address: ip(address), prefixLength, scope: 0, flags: IFA_F.PERMANENT },
});
const lease = (subnet: string, publicIp: string, reserved = false): SubnetLease => ({
  key: `${PREFIX}/subnets/${subnet.replace('/', '-')}`,
  subnets: { ipv4: prefix(subnet), ipv6: undefined },
  attributes: { publicIp: publicIp === '' ? undefined : ip(publicIp), publicIpv6: undefined, backendType: 'host-gw' },
  lease: (reserved ? '0' : '77') as LeaseId,
  createRevision: 1,
  modRevision: 1,
});
const parsed = parseNetworkConfig('{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}');
if (!parsed.ok) throw new Error(parsed.error);
const network = parsed.value;
const host = {
  links: [link(1, 'lo'), link(2, 'eth0'), link(3, 'cni0')],
  addresses: [at(1, '127.0.0.1', 8), at(2, '10.168.0.2'), at(2, '10.168.0.50', 32), at(3, '10.244.0.1')],
  routes: [],
};
const own = lease('10.244.0.0/24', '10.168.0.2');
const inputs: PlanInputs = {
  ...{ node: 'n2', bridge: 'cni0', mtu: 'auto', ipMasq: true, etcdPrefix: PREFIX, network, ownLease: own, host },
  addresses: [{ address: ip('10.168.0.2'), prefixLength: 24, device: 'eth0', index: 2, mtu: 1450 }],
};

describe('planNode', () => {
  test('all of it', () => {
    const plan = planNode(inputs);
    expect(plan.view).toEqual({
      ...{ networks: [prefix('10.244.0.0/16')], backendType: 'host-gw', uplink: 'eth0' },
      ...{ ownLease: '10.244.0.0-24', ownSubnets: [prefix('10.244.0.0/24')] },
      ownAddresses: ['127.0.0.1', '10.168.0.2', '10.168.0.50', '10.244.0.1'].map(ip),
      connected: [{ prefix: prefix('10.168.0.0/24'), device: 'eth0' }],
    });
    expect(plan.bridge).toEqual({
      ...{ bridge: 'cni0', mtu: 1450 },
      subnets: [{ subnet: prefix('10.244.0.0/24'), gateway: ip('10.244.0.1'), network: prefix('10.244.0.0/16') }],
    });
    expect(plan.sysctls.map(({ name }) => name)).toEqual(['net/ipv4/ip_forward']);
    expect(plan.subnetEnv).toMatchObject({ mtu: 1450, masquerade: true });
  });

  test('what is not known is not touched', () => {
    const before = planNode({ ...inputs, network: undefined, ownLease: undefined });
    expect(before).toMatchObject({ bridge: undefined, masquerade: undefined, subnetEnv: undefined, sysctls: [] });
    expect(planNode({ ...inputs, ipMasq: false, network: undefined }).masquerade).toBe('absent');
  });

  test('an MTU that was asked for', () => {
    expect(planNode({ ...inputs, mtu: 1400 }).bridge?.mtu).toBe(1400);
  });

  test('connected prefixes: not the bridge’s, not loopback, not host addresses', () => {
    expect(connectedPrefixes(host, 'cni0')).toEqual([{ prefix: prefix('10.168.0.0/24'), device: 'eth0' }]);
  });
});

describe('Ownership', () => {
  test('the best knowledge stays: stale, deleted and spoilt configuration change no lease', () => {
    const ownership = new Ownership();
    expect(ownership.complete).toBe(false);
    expect(ownership.apply({ type: 'config', config: network })).toBe(true);
    expect(ownership.apply({ type: 'lease', lease: own })).toBe(true);
    expect(ownership.apply({ type: 'inSync', revision: 5 })).toBe(true);
    expect([ownership.complete, ownership.stale, ownership.revision]).toEqual([true, undefined, 5]);
    expect(ownership.apply({ type: 'stale', reason: 'gone\u001b[1m' })).toBe(false);
    expect(ownership.apply({ type: 'configDeleted' })).toBe(false);
    expect(ownership.apply({ type: 'rejected', key: `${PREFIX}/config`, reason: 'not JSON' })).toBe(false);
    expect(ownership.leases).toEqual([own]);
    expect(ownership.config).toBe(network);
    expect(ownership.stale).toBe('gone\\u001b[1m');
    expect(ownership.oddities().length).toBe(2);
    ownership.apply({ type: 'settled', key: `${PREFIX}/config` });
    ownership.apply({ type: 'config', config: network });
    expect(ownership.oddities()).toEqual([]);
    expect(ownership.apply({ type: 'inSync', revision: 6 })).toBe(false);
  });

  test('a renewal changes nothing, another address does', () => {
    const ownership = new Ownership();
    ownership.apply({ type: 'lease', lease: own });
    expect(ownership.apply({ type: 'lease', lease: { ...own, modRevision: 9 } })).toBe(false);
    expect(ownership.apply({ type: 'lease', lease: lease('10.244.0.0/24', '10.168.0.9') })).toBe(true);
    expect(ownership.apply({ type: 'leaseDeleted', key: own.key, lease: own })).toBe(true);
    expect(ownership.apply({ type: 'leaseDeleted', key: own.key, lease: own })).toBe(false);
  });
});
