import { expect, test } from 'bun:test';
import type { Attachment } from '../ipam/mod.ts';
import { ip, prefix } from '../net/mod.ts';
import { AttachmentTable, keyOf } from './table.ts';

const pool = { subnet: prefix('10.244.1.0/29'), gateway: ip('10.244.1.1') };

function attachment(container: string, address: string, hostInterface: string): Attachment {
  const gateway = ip('10.244.1.1');
  const addresses = [{ address: ip(address), prefixLength: 29, gateway, network: prefix('10.244.0.0/16') }];
  const rest = {
    format: 1,
    type: 'bridge',
    network: 'pods',
    interface: 'eth0',
    namespace: '',
    namespaceIdentity: '',
  } as const;
  const mac = '02:00:00:00:00:01' as Attachment['mac'];
  const link = { bridge: 'cni0', mtu: 1500, mac, hostMac: mac, bridgeMac: mac, routes: [], createdAt: 0 };
  return { ...rest, ...link, container, addresses, hostInterface };
}

test('two keys of one hash get two interface names, each always its own', () => {
  const table = new AttachmentTable((text) => `veth${text.length.toString(16).padStart(8, '0')}`);
  const first = attachment('a', '10.244.1.2', table.hostInterface('a/eth0'));
  table.add(first);
  const other = table.hostInterface('b/eth0');
  expect(other).not.toBe(first.hostInterface);
  table.add(attachment('b', '10.244.1.3', other));
  expect(table.hostInterface('a/eth0')).toBe(first.hostInterface);
  expect(table.hostInterface('b/eth0')).toBe(other);
});

test('names look like a veth of eight hexadecimal digits and stay the same', () => {
  const name = new AttachmentTable().hostInterface('container/eth0');
  expect(name).toMatch(/^veth[0-9a-f]{8}$/);
  expect(new AttachmentTable().hostInterface('container/eth0')).toBe(name);
});

test('an address is free again only when the key that owns it goes', () => {
  const table = new AttachmentTable();
  const [a, b] = [attachment('a', '10.244.1.2', 'veth00000001'), attachment('b', '10.244.1.2', 'veth00000002')];
  table.add(a);
  table.add(b); // two links claim it, as after somebody's meddling: the later one is believed
  table.delete(a);
  expect(table.ownerOf(ip('10.244.1.2'))).toBe(keyOf(b));
  expect(table.nextAddress(pool)).toBe(ip('10.244.1.3'));
  table.delete(b);
  expect(table.ownerOf(ip('10.244.1.2'))).toBeUndefined();
  expect([table.size, table.hasName('veth00000001'), table.hasName('veth00000002')]).toEqual([0, false, false]);
});
