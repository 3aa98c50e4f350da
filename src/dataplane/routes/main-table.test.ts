import { expect, test } from 'bun:test';
import { ManualClock } from '../../base/mod.ts';
import { ip, prefix } from '../../net/mod.ts';
import { IFF, kernelRoute, RTPROT } from '../../netlink/mod.ts';
import type { Link } from '../../netlink/mod.ts';
import { errno, KernelError } from '../../sys/mod.ts';
import { FakeRouteKernel } from './fake.ts';
import { MainTable } from './main-table.ts';
import type { MainRoute } from './main-table.ts';

const OURS = 186;
const link = (index: number, name: string, up = true): Link => ({
  ...{ index, name, flags: up ? IFF.UP : 0, mtu: 1500, hardwareType: 1, address: undefined, master: 0, link: 0 },
  ...{ linkNamespace: undefined, kind: '', alias: '' },
});

test('our own addresses lead nowhere, whatever route they lie in', () => {
  const kernel = new FakeRouteKernel();
  const clock = new ManualClock();
  kernel.linkList = [link(1, 'lo'), link(2, 'eth0'), link(3, 'eth1', false)];
  const address = (text: string, index: number) => ({ address: ip(text), prefixLength: 24, index, scope: 0, flags: 0 });
  kernel.addressList = [address('10.0.0.1', 2), address('10.9.0.1', 3), address('fe80::1', 2)];
  let seen: readonly MainRoute[] = [];
  const table = new MainTable(kernel, { clock, protocol: OURS, changed: (routes) => (seen = routes) });
  using _ = table.follow();
  const own = (text: string) => ({ destination: prefix(text), metric: 0, hops: [] });
  expect(seen).toEqual([own('10.0.0.1/32')]);
  const added = address('fd00::1', 1);
  kernel.addressList.push(added);
  kernel.tell({ type: 'address', gone: false, address: added });
  clock.advance(30);
  expect(seen).toEqual([own('10.0.0.1/32'), own('fd00::1/128')]);
});

test('follows the kernel, leaves out our routes and devices that are down, and outlives a read that fails', () => {
  const kernel = new FakeRouteKernel();
  const clock = new ManualClock();
  kernel.linkList = [link(2, 'eth0'), link(3, 'eth1', false)];
  const static_ = kernelRoute({
    destination: prefix('10.1.0.0/16'),
    protocol: RTPROT.STATIC,
    nextHops: [{ gateway: ip('10.0.0.9'), index: 2 }],
  });
  const down = kernelRoute({ destination: prefix('10.2.0.0/16'), protocol: RTPROT.STATIC, nextHops: [{ index: 3 }] });
  const ours = kernelRoute({ destination: prefix('10.3.0.0/16'), protocol: OURS, nextHops: [{ index: 2 }] });
  kernel.table = [static_, ours];
  let seen: readonly MainRoute[] = [];
  const table = new MainTable(kernel, { clock, protocol: OURS, changed: (routes) => (seen = routes) });
  using _ = table.follow();
  const first = [
    { destination: prefix('10.1.0.0/16'), metric: static_.priority, hops: [{ via: ip('10.0.0.9'), device: 'eth0' }] },
  ];
  expect(seen).toEqual(first);

  kernel.table = [static_, ours, down];
  const read = kernel.routes.bind(kernel);
  kernel.routes = () => {
    throw new KernelError('read the routes', errno.EINTR);
  };
  kernel.tell({ type: 'route', gone: false, route: ours });
  clock.advance(100);
  expect(seen).toEqual(first);
  kernel.tell({ type: 'route', gone: false, route: down });
  // the table changes faster than it can be read
  clock.advance(30);
  expect(seen).toEqual(first);
  kernel.routes = read;
  clock.advance(30);
  expect(seen).toEqual([...first, { destination: prefix('10.2.0.0/16'), metric: down.priority, hops: [] }]);
});
