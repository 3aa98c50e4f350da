import { beforeEach, describe, expect, test } from 'bun:test';
import { ManualClock } from '../../base/mod.ts';
import type { Route } from '../../desired/mod.ts';
import { ip, prefix } from '../../net/mod.ts';
import { IFF, kernelRoute, RTPROT } from '../../netlink/mod.ts';
import type { KernelRoute, Link } from '../../netlink/mod.ts';
import { errno, KernelError } from '../../sys/mod.ts';
import { FakeRouteKernel } from './fake.ts';
import { ROUTE_PROTOCOL, RouteReconciler } from './reconciler.ts';

const link = (index: number, name: string, up = true): Link => ({
  ...{ index, name, flags: up ? IFF.UP : 0, mtu: 1500, hardwareType: 1, address: undefined, master: 0, link: 0 },
  ...{ linkNamespace: undefined, kind: '', alias: '' },
});

const route = (destination: string, via: string, more: Partial<Route> = {}): Route => ({
  ...{
    destination: prefix(destination),
    class: 'lease',
    type: 'unicast',
    nextHops: [{ via: ip(via), device: 'eth0' }],
  },
  ...more,
});

const inKernel = (destination: string, via: string, more: Partial<KernelRoute> = {}): KernelRoute => ({
  ...kernelRoute({
    destination: prefix(destination),
    protocol: ROUTE_PROTOCOL,
    nextHops: [{ gateway: ip(via), index: 2 }],
  }),
  ...more,
});

let kernel: FakeRouteKernel;
let reconciler: RouteReconciler;
beforeEach(() => {
  kernel = new FakeRouteKernel();
  kernel.linkList = [link(1, 'lo'), link(2, 'eth0')];
  reconciler = new RouteReconciler({ kernel, clock: new ManualClock() });
});

describe('route reconciler', () => {
  test('after a restart, what is wanted and there is left untouched; what is stale waits for every producer', async () => {
    kernel.table = [inKernel('10.244.1.0/24', '10.168.0.3'), inKernel('10.244.9.0/24', '10.168.0.9')];
    reconciler.expect('bgp');
    reconciler.setDesired('lease', [route('10.244.1.0/24', '10.168.0.3')]);
    reconciler.markInSync('lease');
    await reconciler.pass();
    expect(kernel.log).toEqual([]);
    reconciler.markInSync('bgp');
    await reconciler.pass();
    expect(kernel.log.map((w) => [w.op, w.route.destination])).toEqual([['delete', prefix('10.244.9.0/24')]]);
  });

  test('a kernel that cannot be read is asked less and less often', async () => {
    let reads = 0;
    kernel.routes = () => {
      reads++;
      throw new KernelError('dump routes', errno.EIO);
    };
    reconciler = new RouteReconciler({ kernel });
    const stop = new AbortController();
    const running = reconciler.run(stop.signal);
    while (reads === 0) await Bun.sleep(5);
    await Bun.sleep(500);
    stop.abort();
    await running;
    expect(reads).toBeLessThan(20);
  });

  test('a changed next hop is replaced in place', async () => {
    kernel.table = [inKernel('10.244.1.0/24', '10.168.0.3')];
    reconciler.setDesired('lease', [route('10.244.1.0/24', '10.168.0.4')]);
    await reconciler.pass();
    expect(kernel.log.map((w) => w.op)).toEqual(['replace']);
    expect(kernel.table[0]?.nextHops[0]?.gateway).toBe(ip('10.168.0.4'));
  });

  test('a foreign route is a conflict, is never written over, and the wanted one comes when it goes', async () => {
    const foreign = inKernel('10.244.1.0/24', '10.168.0.99', { protocol: RTPROT.STATIC });
    kernel.table = [foreign];
    reconciler.setDesired('lease', [route('10.244.1.0/24', '10.168.0.3')]);
    reconciler.markInSync('lease');
    for (let i = 0; i < 3; i++) await reconciler.pass();
    expect(kernel.log).toEqual([]);
    expect(reconciler.status().problems).toMatchObject([{ kind: 'conflict' }]);
    kernel.table = [];
    reconciler.refresh();
    await reconciler.pass();
    expect(reconciler.status()).toMatchObject({ installed: 1, problems: [] });
  });

  test('a conflict that only the write shows is not fought over either', async () => {
    reconciler.setDesired('lease', [route('10.244.1.0/24', '10.168.0.3')]);
    reconciler.plan();
    kernel.table = [inKernel('10.244.1.0/24', '10.168.0.99', { protocol: RTPROT.STATIC })];
    for (let i = 0; i < 5; i++) await reconciler.pass();
    expect(kernel.log.length).toBe(1);
    expect(reconciler.status().problems).toMatchObject([{ kind: 'conflict' }]);
  });

  test('one refused route stops no other and is tried again', async () => {
    kernel.refuse = (write) => (write.route.destination === '10.244.2.0/24' ? errno.ENETUNREACH : undefined);
    reconciler.setDesired(
      'lease',
      [1, 2, 3].map((n) => route(`10.244.${n}.0/24`, '10.168.0.3')),
    );
    expect(await reconciler.pass()).toBe(true);
    expect(reconciler.status()).toMatchObject({ wanted: 3, installed: 2 });
    expect(reconciler.status().problems).toMatchObject([
      { kind: 'refused', reason: expect.stringContaining('ENETUNREACH') },
    ]);
    kernel.refuse = () => undefined;
    expect(await reconciler.pass()).toBe(false);
    expect(reconciler.status()).toMatchObject({ installed: 3, problems: [] });
  });

  test('a route that is refused for ever is tried less and less often, and all others at once', async () => {
    kernel.refuse = (write) => (write.route.destination === '10.244.2.0/24' ? errno.EINVAL : undefined);
    const running = new RouteReconciler({ kernel });
    running.setDesired('lease', [route('10.244.2.0/24', '10.168.0.3')]);
    const stop = new AbortController();
    const ended = running.run(stop.signal);
    await Bun.sleep(500);
    const tried = kernel.log.length;
    running.addDesired('lease', route('10.244.3.0/24', '10.168.0.3'));
    while (kernel.table.length === 0) await Bun.sleep(1);
    stop.abort();
    await ended;
    expect(tried).toBeGreaterThan(1);
    expect(tried).toBeLessThan(20);
  });

  test('the better class wins, and the other takes over when it goes', async () => {
    reconciler.setDesired('lease', [route('10.244.1.0/24', '10.168.0.3')]);
    reconciler.setDesired('bgp', [route('10.244.1.0/24', '10.168.0.4', { class: 'bgp' })]);
    await reconciler.pass();
    expect(kernel.table[0]?.nextHops[0]?.gateway).toBe(ip('10.168.0.3'));
    reconciler.setDesired('lease', []);
    await reconciler.pass();
    expect(kernel.table[0]?.nextHops[0]?.gateway).toBe(ip('10.168.0.4'));
    expect(kernel.log.map((w) => w.op)).toEqual(['create', 'replace']);
  });

  test('a route waits for its device, and follows it to a new index', async () => {
    kernel.linkList = [link(1, 'lo')];
    reconciler.setDesired('lease', [route('10.244.1.0/24', '10.168.0.3')]);
    reconciler.markInSync('lease');
    await reconciler.pass();
    expect(reconciler.status().problems).toMatchObject([{ kind: 'device', reason: 'there is no device eth0' }]);
    kernel.linkList = [link(1, 'lo'), link(7, 'eth0')];
    reconciler.refresh();
    await reconciler.pass();
    expect(kernel.table[0]?.nextHops[0]?.index).toBe(7);
    expect(reconciler.status().problems).toEqual([]);
  });

  test('while it runs: a deleted route comes back; our own writes cause no second look', async () => {
    const stop = new AbortController();
    reconciler.setDesired('lease', [route('10.244.1.0/24', '10.168.0.3')]);
    const running = reconciler.run(stop.signal);
    while (kernel.table.length === 0) await Bun.sleep(1);
    const { dumps } = reconciler.status().counters;
    const lost = kernel.table[0]!;
    kernel.table = [];
    kernel.tell({ type: 'route', gone: true, route: lost });
    while (kernel.table.length === 0) await Bun.sleep(1);
    await Bun.sleep(5);
    expect(reconciler.status().counters.dumps).toBe(dumps + 1);
    stop.abort();
    await running;
    expect(kernel.table.length).toBe(1);
  });

  test('IPv6: a route without a metric is the same as the kernel’s with 1024', async () => {
    const v6 = { ...route('fc00:1::/64', 'fd00::3') };
    reconciler.setDesired('lease', [v6]);
    await reconciler.pass();
    expect(kernel.table[0]?.priority).toBe(1024);
    reconciler.refresh();
    await reconciler.pass();
    expect(kernel.log.length).toBe(1);
    expect(reconciler.isInstalled(v6)).toBe(true);
  });
});

describe('routes that are written at once', () => {
  const pod = link(7, 'cali1');
  const own = (more: Partial<Route> = {}): Route => ({
    ...{ destination: prefix('10.233.2.3/32'), class: 'endpoint', type: 'unicast', nextHops: [{ device: 'cali1' }] },
    ...more,
  });
  const held = (more: Partial<KernelRoute> = {}): KernelRoute => ({
    ...kernelRoute({ destination: prefix('10.233.2.3/32'), protocol: ROUTE_PROTOCOL, nextHops: [{ index: 7 }] }),
    ...more,
  });
  const dumps = () => reconciler.status().counters.dumps;

  test('over a link nobody was told of yet: there when it returns, and its coming and going is no reason to look', async () => {
    await reconciler.pass();
    const before = dumps();
    expect(reconciler.addNow('endpoints', pod, [own()])).toBeUndefined();
    expect(kernel.table).toEqual([held()]);
    expect(reconciler.isInstalled(own())).toBe(true);
    const stop = new AbortController();
    const running = reconciler.run(stop.signal);
    kernel.tell({ type: 'link', gone: false, link: pod });
    reconciler.withdrawNow('endpoints', 'cali1', [own()]);
    expect(kernel.table).toEqual([]);
    kernel.tell({ type: 'link', gone: true, link: pod });
    await Promise.resolve();
    expect([dumps(), reconciler.status()]).toMatchObject([before, { wanted: 0, problems: [] }]);
    stop.abort();
    await running;
  });

  test('what is told late of the link’s making, in the pause between two looks, takes nothing back', async () => {
    const clock = new ManualClock();
    kernel.routes = () => {
      clock.advance(10);
      return kernel.table;
    };
    reconciler = new RouteReconciler({ kernel, clock });
    await reconciler.pass();
    const before = dumps();
    const stop = new AbortController();
    const running = reconciler.run(stop.signal);
    kernel.linkList.push(pod);
    expect(reconciler.addNow('endpoints', pod, [own()])).toBeUndefined();
    // it was made down, and the pod before it had its name
    kernel.tell({ type: 'link', gone: true, link: link(6, 'cali1') });
    kernel.tell({ type: 'link', gone: false, link: link(7, 'cali1', false) });
    await reconciler.pass();
    expect([dumps(), reconciler.isInstalled(own())]).toEqual([before, true]);
    expect(reconciler.status()).toMatchObject({ problems: [] });
    // and what is true by now is seen when the time for a look has come
    clock.advance(30);
    kernel.linkList = kernel.linkList.filter(({ name }) => name !== 'cali1');
    await reconciler.pass();
    expect(reconciler.status()).toMatchObject({ problems: [{ kind: 'device' }] });
    stop.abort();
    await running;
  });

  test('what an earlier life left is adopted, or replaced where it leads elsewhere', () => {
    kernel.linkList.push(pod);
    kernel.table = [held()];
    expect(reconciler.addNow('endpoints', pod, [own()])).toBeUndefined();
    expect(kernel.table).toEqual([held()]);
    expect(reconciler.isInstalled(own())).toBe(true);
    const again = link(9, 'cali1');
    kernel.linkList = [...kernel.linkList.slice(0, 2), again];
    expect(reconciler.addNow('endpoints', again, [own()])).toBeUndefined();
    expect(kernel.table.map((r) => r.nextHops[0]?.index)).toEqual([9]);
  });

  test('what stands in the way is told, and left alone', () => {
    const foreign = held({ protocol: RTPROT.STATIC });
    kernel.linkList.push(pod);
    kernel.table = [foreign];
    expect(reconciler.addNow('endpoints', pod, [own()])).toMatchObject({ kind: 'conflict' });
    reconciler.withdrawNow('endpoints', 'cali1', [own()]);
    expect(kernel.table).toEqual([foreign]);
    kernel.table = [];
    kernel.refuse = () => errno.EINVAL;
    expect(reconciler.addNow('endpoints', pod, [own()])).toMatchObject({ kind: 'refused' });
  });

  test('another producer’s route for the same destination comes back when the pod’s goes', async () => {
    kernel.linkList.push(pod);
    const other = route('10.233.2.3/32', '10.168.0.3', { class: 'bgp' });
    reconciler.setDesired('bgp', [other]);
    await reconciler.pass();
    expect(reconciler.addNow('endpoints', pod, [own()])).toBeUndefined();
    expect(kernel.table).toEqual([held()]);
    reconciler.withdrawNow('endpoints', 'cali1', [own()]);
    await reconciler.pass();
    expect(kernel.table[0]?.nextHops[0]?.gateway).toBe(ip('10.168.0.3'));
  });
});
