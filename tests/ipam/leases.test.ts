// Subnet leases against real datastores: many nodes at once, reservations, revocation, restart, and what flanneld writes.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore, LeaseId } from '../../src/datastore/mod.ts';
import {
  configKey,
  DEFAULT_NETWORK_PREFIX,
  followNetwork,
  formatLeaseValue,
  SubnetLeaseManager,
  subnetsPrefix,
} from '../../src/ipam/mod.ts';
import type { LeaseState, NetworkUpdate, SubnetLeaseOptions } from '../../src/ipam/mod.ts';
import { prefix, prefixOf } from '../../src/net/mod.ts';
import type { IpAddress } from '../../src/net/mod.ts';
import { startEtcd, startGodwitStore } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { TcpProxy } from '../support/faulty-proxy.ts';
import { have } from '../support/peers.ts';
import { until } from '../support/until.ts';

const SUBNETS = subnetsPrefix(DEFAULT_NETWORK_PREFIX);
const attributes = (publicIp: string) => ({
  publicIp: publicIp as IpAddress,
  publicIpv6: undefined,
  backendType: 'host-gw',
});
const backends: [name: string, here: boolean, start: () => Promise<RunningStore>][] = [
  ['etcd', have('subnet leases in etcd', 'etcd'), startEtcd],
  ['the embedded store', true, startGodwitStore],
];

/** A node's lease manager with its view of the network, running until disposed. */
class Node implements AsyncDisposable {
  readonly states: LeaseState[] = [];
  readonly updates: NetworkUpdate[] = [];
  readonly manager: SubnetLeaseManager;
  private readonly stop = new AbortController();
  private readonly done: Promise<unknown>;

  constructor(store: Datastore, publicIp: string, options: Partial<SubnetLeaseOptions> = {}, follows = true) {
    const onState = (state: LeaseState) => void this.states.push(state);
    this.manager = new SubnetLeaseManager({ store, node: attributes(publicIp), onState, ...options });
    const view = async () => {
      for await (const update of followNetwork(store, this.stop.signal)) {
        this.updates.push(update);
        this.manager.observe(update);
      }
    };
    this.done = Promise.all([this.manager.run(this.stop.signal), follows ? view() : undefined]);
  }

  get subnet(): string | undefined {
    const last = this.states.at(-1);
    return last?.type === 'held' ? last.held.lease.subnets.ipv4 : undefined;
  }

  async hold(): Promise<string> {
    await until('a lease', () => this.subnet !== undefined);
    return this.subnet!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    await this.done;
  }
}

for (const [name, here, start] of backends) {
  describe.skipIf(!here)(`subnet leases in ${name}`, () => {
    let server: RunningStore;
    let store: Datastore;

    beforeAll(async () => {
      server = await start();
      store = await openDatastore(server.url);
    });
    afterAll(async () => {
      await store?.[Symbol.asyncDispose]();
      await server?.[Symbol.asyncDispose]();
    });
    beforeEach(async () => {
      await store.transaction({ if: [], do: [{ op: 'deletePrefix', prefix: DEFAULT_NETWORK_PREFIX }] });
      await store.put(configKey(DEFAULT_NETWORK_PREFIX), '{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}');
    });

    test('50 nodes that start at once have 50 distinct subnets, each on a lease of 24 h', async () => {
      await using stack = new AsyncDisposableStack();
      const stores = await Promise.all(Array.from({ length: 50 }, () => openDatastore(server.url)));
      for (const each of stores) stack.use(each);
      const nodes = stores.map((each, i) => stack.use(new Node(each, `192.0.2.${i + 1}`, {}, false)));
      const subnets = await Promise.all(nodes.map((node) => node.hold()));
      expect(new Set(subnets).size).toBe(50);
      const { kvs } = await store.list(SUBNETS);
      expect(kvs.length).toBe(50);
      for (const kv of kvs.slice(0, 5)) expect((await store.leaseTimeToLive(kv.lease))?.grantedSeconds).toBe(86_400);
    });

    test('the last free subnet, and none', async () => {
      await store.put(configKey(DEFAULT_NETWORK_PREFIX), '{"Network":"10.244.0.0/28"}');
      await using stack = new AsyncDisposableStack();
      const nodes = [1, 2, 3, 4].map((n) => stack.use(new Node(store, `192.0.2.${n}`)));
      await until('three leases and one that waits', () => {
        const held = nodes.filter((node) => node.subnet !== undefined).length;
        const waiting = nodes.filter((node) => node.states.at(-1)?.type === 'waiting').length;
        return held === 3 && waiting === 1;
      });
      const loser = nodes.find((node) => node.states.at(-1)?.type === 'waiting')!;
      expect(loser.states.at(-1)).toMatchObject({ reason: expect.stringContaining('no free IPv4 subnet') as string });
    });

    test('a restart finds its lease and writes nothing', async () => {
      await using first = new Node(store, '192.0.2.1');
      const subnet = await first.hold();
      await first[Symbol.asyncDispose]();
      const before = await store.list(SUBNETS);
      await using second = new Node(store, '192.0.2.1');
      expect(await second.hold()).toBe(subnet);
      expect((await store.list(SUBNETS)).kvs).toEqual(before.kvs);
    });

    test('the subnet from before a restart is taken again where the lease is gone', async () => {
      const previous = { ipv4: prefix('10.244.77.0/24'), ipv6: undefined };
      await using node = new Node(store, '192.0.2.1', { previous });
      expect(await node.hold()).toBe('10.244.77.0/24');
      await using other = new Node(store, '192.0.2.2', { previous });
      expect(await other.hold()).not.toBe('10.244.77.0/24');
    });

    test('a lease revoked under a live node is taken again, the same subnet', async () => {
      await using node = new Node(store, '192.0.2.1', { random: () => 0.5 });
      const subnet = await node.hold();
      const { lease } = node.manager.held!.lease;
      await store.revokeLease(lease);
      await until('lost and held again', () => node.states.length >= 3);
      expect(node.states.map((state) => state.type)).toEqual(['held', 'lost', 'held']);
      expect(node.subnet).toBe(subnet);
      expect(node.manager.held?.lease.lease).not.toBe(lease);
    });

    test('a subnet that another node took over is left to it, and told', async () => {
      await using node = new Node(store, '192.0.2.1');
      await node.hold();
      const { key } = node.manager.held!.lease;
      await store.put(key, formatLeaseValue(attributes('192.0.2.99')));
      await until('another subnet', () => node.states.length >= 3);
      expect(node.states[1]).toMatchObject({ type: 'lost', reason: '192.0.2.99 has it now' });
      expect(node.manager.held?.lease.key).not.toBe(key);
      expect((await store.get(key)).kv?.value).toContain('192.0.2.99');
    });

    test('a reservation stays one, and is not given to others', async () => {
      const key = `${SUBNETS}10.244.1.0-24`;
      await store.put(key, '{"PublicIP":"192.0.2.1","BackendType":""}');
      await using other = new Node(store, '192.0.2.2', { random: () => 0 });
      expect(await other.hold()).toBe('10.244.2.0/24');
      await using node = new Node(store, '192.0.2.1');
      expect(await node.hold()).toBe('10.244.1.0/24');
      const { kv } = await store.get(key);
      expect(kv?.lease).toBe('0' as LeaseId);
      expect(kv?.value).toContain('host-gw');
      // what becomes a reservation under a live node is one from then on
      await store.put(other.manager.held!.lease.key, formatLeaseValue(attributes('192.0.2.2')));
      await until('the reservation is seen', () => other.manager.held?.lease.lease === '0');
      expect(other.states.at(-1)?.type).toBe('held');
    });

    test('a lease is renewed before it runs out', async () => {
      const short = { leaseTtlSeconds: 6, checkEveryMs: 1_000 };
      await using node = new Node(store, '192.0.2.1', short);
      await node.hold();
      const end = performance.now() + 9_000;
      await until('the lease to outlive its time', () => performance.now() > end);
      expect(node.states.map((state) => state.type)).toEqual(['held']);
      expect((await store.get(node.manager.held!.lease.key)).kv).toBeDefined();
    });

    test('no configuration yet: the node says so, and starts when it comes', async () => {
      await store.delete(configKey(DEFAULT_NETWORK_PREFIX));
      await using node = new Node(store, '192.0.2.1');
      await until('word of it', () => node.states.length > 0);
      expect(node.states[0]).toMatchObject({
        type: 'waiting',
        reason: expect.stringContaining('put one at') as string,
      });
      await store.put(configKey(DEFAULT_NETWORK_PREFIX), '{"Network":"10.99.0.0/16"}');
      expect(prefixOf((await node.hold()).split('/')[0] as IpAddress, 16)).toBe(prefix('10.99.0.0/16'));
    });

    test('the datastore away at the start is waited for; away later, the lease counts as held', async () => {
      using proxy = await TcpProxy.to(server.url);
      await proxy.down();
      const times = { connectMs: 300, requestMs: 500, reconnectMaxMs: 300 };
      await using far = await openDatastore(proxy.url, { times });
      await using node = new Node(far, '192.0.2.1', { checkEveryMs: 100 });
      await until('word of it', () => node.states.length > 0);
      expect(node.states[0]).toMatchObject({
        type: 'waiting',
        reason: expect.stringContaining('cannot connect') as string,
      });
      await proxy.up();
      const subnet = await node.hold();
      const before = node.states.length;
      proxy.frozen = true;
      await until('the view to be stale', () => node.updates.at(-1)?.type === 'stale');
      await proxy.down();
      proxy.frozen = false;
      await proxy.up();
      await until('the view to be in sync', () => node.updates.at(-1)?.type === 'inSync');
      expect([node.subnet, node.states.length]).toEqual([subnet, before]);
    });

    test('other backends are seen; a broken lease blocks only its own addresses', async () => {
      const flannel = '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}';
      await store.put(`${SUBNETS}10.244.1.0-24`, flannel);
      await store.put(`${SUBNETS}10.244.2.0-24`, '{"PublicIP":');
      await store.put(`${SUBNETS}../../config`, 'x');
      await using node = new Node(store, '192.0.2.1', { random: () => 0 });
      expect(await node.hold()).toBe('10.244.3.0/24');
      await until('the view', () =>
        node.updates.some((u) => u.type === 'lease' && u.lease.subnets.ipv4 === node.subnet),
      );
      const seen = node.updates.filter((update) => update.type === 'lease').map((update) => update.lease);
      expect(seen.find((lease) => lease.attributes.backendType === 'vxlan')?.attributes.backendData).toEqual({
        VNI: 1,
      });
      expect(node.updates.filter((update) => update.type === 'rejected').length).toBe(2);
    });

    test('both families, in one key', async () => {
      const config = '{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fc00:1::/48"}';
      await store.put(configKey(DEFAULT_NETWORK_PREFIX), config);
      await using node = new Node(store, '192.0.2.1', { random: () => 0 });
      await node.hold();
      expect(node.manager.held?.lease.key).toBe(`${SUBNETS}10.244.1.0-24&fc00:1:0:1::-64`);
      // same IPv4 subnet, another IPv6 one: a key of its own, which compare-and-swap alone would not keep out
      await using other = new Node(store, '192.0.2.2', {
        previous: { ipv4: prefix('10.244.1.0/24'), ipv6: undefined },
      });
      expect(await other.hold()).not.toBe('10.244.1.0/24');
    });
  });
}
