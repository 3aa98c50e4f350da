import { expect, test } from 'bun:test';
import { ManualClock } from '../base/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { ip } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import { SubnetLeaseManager } from './manager.ts';

const node = { publicIp: ip('192.0.2.1'), publicIpv6: undefined, backendType: 'host-gw' };

test('stops at once when told to while it asks the datastore', async () => {
  const stop = new AbortController();
  const get = () => {
    stop.abort();
    return Promise.resolve({ kv: undefined, revision: 1 });
  };
  const store = { get } as unknown as Datastore;
  // a clock that nobody moves: a manager that went to sleep would never end
  const manager = new SubnetLeaseManager({ store, node, onState: () => {}, clock: new ManualClock() });
  await manager.run(stop.signal);
  expect(manager.held).toBeUndefined();
});

test('refuses a margin outside a day, and a node without an address', () => {
  const store = {} as Datastore;
  const make = (renewMarginMinutes: number, publicIp: IpAddress | undefined) =>
    new SubnetLeaseManager({ store, node: { ...node, publicIp }, onState: () => {}, renewMarginMinutes });
  expect(() => make(0, node.publicIp)).toThrow('margin');
  expect(() => make(1440, node.publicIp)).toThrow('margin');
  expect(() => make(60, undefined)).toThrow('public address');
  expect(make(1439, node.publicIp).held).toBeUndefined();
});
