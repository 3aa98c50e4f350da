import { describe, expect, test } from 'bun:test';
import { ip } from '../net/mod.ts';
import { IFA_F, IFF } from '../netlink/mod.ts';
import type { Link } from '../netlink/mod.ts';
import { ADDRESS_GRACE_MS, followAddress } from './address.ts';
import type { AddressState } from './address.ts';
import type { HostSnapshot } from './detect.ts';

const link = (index: number, name: string, up = true): Link => ({
  ...{ index, name, flags: up ? IFF.UP : 0, mtu: 1500, hardwareType: 1, address: undefined, master: 0, link: 0 },
  ...{ linkNamespace: undefined, kind: '', alias: '' },
});
const at = (index: number, address: string) => ({
  ...{ index, address: ip(address), prefixLength: 24, scope: 0, flags: IFA_F.PERMANENT },
});
const host = (links: Link[], ...addresses: ReturnType<typeof at>[]): HostSnapshot => ({ links, addresses, routes: [] });

const look = (before: AddressState | undefined, snapshot: HostSnapshot, now = 0) =>
  followAddress(before, snapshot, { type: 'first-found', text: 'first-found' }, 4, ['cni0'], now);

describe('followAddress', () => {
  const [eth0, eth1] = [link(2, 'eth0'), link(3, 'eth1')];
  const first = look(undefined, host([eth0, eth1], at(2, '10.168.0.2')));

  test('a choice is kept, whatever else appears or goes down', () => {
    expect(first.current?.address).toBe(ip('10.168.0.2'));
    const more = look(first, host([link(1, 'aaa0'), eth0], at(1, '10.1.0.1'), at(2, '10.168.0.2')));
    expect(more.current?.address).toBe(ip('10.168.0.2'));
    expect(more.detection.choice?.address).toBe(ip('10.1.0.1'));
    const down = look(first, host([link(2, 'eth0', false), eth1], at(2, '10.168.0.2'), at(3, '10.9.0.2')));
    expect(down.current?.address).toBe(ip('10.168.0.2'));
  });

  test('it is followed to another name and another device', () => {
    expect(look(first, host([link(2, 'up0')], at(2, '10.168.0.2'))).current?.device).toBe('up0');
    expect(look(first, host([eth1], at(3, '10.168.0.2'))).current).toMatchObject({ device: 'eth1', index: 3 });
  });

  test('gone for a moment: kept; gone for good: another is taken after the grace period', () => {
    const gone = host([eth0, eth1], at(3, '10.9.0.2'));
    const missing = look(first, gone, 1000);
    expect(missing).toMatchObject({ current: { address: ip('10.168.0.2') }, missingSince: 1000 });
    expect(look(missing, host([eth0], at(2, '10.168.0.2')), 2000).missingSince).toBeUndefined();
    const late = look(missing, gone, 999 + ADDRESS_GRACE_MS);
    expect(late.current?.address).toBe(ip('10.168.0.2'));
    const over = look(late, gone, 1000 + ADDRESS_GRACE_MS);
    expect(over).toMatchObject({ current: { address: ip('10.9.0.2') }, missingSince: undefined });
  });

  test('no other to take: the old one stays, and stays missing', () => {
    const missing = look(first, host([eth0]), 0);
    expect(look(missing, host([eth0]), 10 * ADDRESS_GRACE_MS)).toMatchObject({ missingSince: 0 });
  });
});
