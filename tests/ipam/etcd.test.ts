// Block IPAM on Debian's etcd: what etcdctl shows, and a store that a Calico wrote.
import { describe, expect, test } from 'bun:test';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import { BlockIpam, CONFIG_KEY, FollowedSettings } from '../../src/ipam/blocks/mod.ts';
import { parseGiven, ResourceClient, ResourceStore } from '../../src/model/mod.ts';
import { putResource, recorded } from '../support/calico.ts';
import { startEtcd } from '../support/datastores.ts';
import { run } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('block IPAM on etcd', 'etcd', 'etcdctl');

const pool = (store: Datastore, name: string, spec: object) =>
  putResource(store, { kind: 'IPPool', metadata: { name }, spec });

const request = (handle: string, node: string) => ({
  handle,
  attributes: { pod: handle, namespace: 'default', node, timestamp: '2026-01-02 03:04:05 +0000 UTC' },
  want: [{ family: 4 as const }],
});

describe.skipIf(!here)('real etcd', () => {
  test('settings that are followed: one round trip an address, and a disabled pool gives nothing at once', async () => {
    await using etcd = await startEtcd();
    await using store = await openDatastore(etcd.url);
    await pool(store, 'p', { cidr: '10.233.0.0/24' });
    const stop = new AbortController();
    const resources = new ResourceStore();
    using settings = new FollowedSettings(resources);
    const following = [
      resources.run(store.follow(ResourceStore.prefix, stop.signal)),
      settings.run(store.follow(CONFIG_KEY, stop.signal)),
    ];
    const ipam = new BlockIpam({ store, node: 'node0', settings });
    expect((await ipam.assign(request('a', 'node0'))).ok).toBe(true);
    const before = (await store.get('/')).revision;
    expect((await ipam.assign(request('b', 'node0'))).ok).toBe(true);
    expect((await store.get('/')).revision).toBe(before + 1);
    const disabled = parseGiven({
      kind: 'IPPool',
      apiVersion: 'projectcalico.org/v3',
      metadata: { name: 'p' },
      spec: { cidr: '10.233.0.0/24', disabled: true },
    });
    if (disabled.ok) await new ResourceClient(store).replace(disabled.value);
    const refused = await ipam.assign(request('c', 'node0'));
    expect(refused.ok ? '' : refused.error.message).toContain('p is disabled');
    stop.abort();
    await Promise.all(following);
  });

  test('etcdctl shows Calico’s keys and JSON', async () => {
    await using etcd = await startEtcd();
    await using store = await openDatastore(etcd.url);
    await pool(store, 'p', { cidr: '10.233.1.0/30', blockSize: 30 });
    const clock = {
      now: () => performance.now(),
      wallNow: () => 1767323045000,
      after: () => ({ [Symbol.dispose]: () => {} }),
    };
    const ipam = new BlockIpam({ store, node: 'node1', clock });
    const first = await ipam.assign(request('k8s-pod-network.0123', 'node1'));
    expect(first.ok && (first.value[0]!.address as string)).toBe('10.233.1.0');
    const get = (key: string) =>
      run('env', 'ETCDCTL_API=3', 'etcdctl', '--endpoints', etcd.endpoint, 'get', key, '--print-value-only').trimEnd();
    expect(get('/calico/ipam/v2/assignment/ipv4/block/10.233.1.0-30')).toBe(
      '{"cidr":"10.233.1.0/30","affinity":"host:node1","affinity_claim_time":"2026-01-02T03:04:05Z","allocations":[0,null,null,null],' +
        '"unallocated":[1,2,3],"attributes":[{"handle_id":"k8s-pod-network.0123","secondary":{"namespace":"default","node":"node1",' +
        '"pod":"k8s-pod-network.0123","timestamp":"2026-01-02 03:04:05 +0000 UTC"}}],"sequenceNumber":1767323045000000001,' +
        '"sequenceNumberForAllocation":{"0":1767323045000000000},"deleted":false}',
    );
    expect(get('/calico/ipam/v2/host/node1/ipv4/block/10.233.1.0-30')).toBe('{"state":"confirmed","deleted":false}');
    expect(get('/calico/ipam/v2/handle/k8s-pod-network.0123')).toBe('{"block":{"10.233.1.0/30":1},"deleted":false}');
    expect(get('/calico/resources/v3/projectcalico.org/ippools/p')).toContain(
      '"spec":{"cidr":"10.233.1.0/30","vxlanMode":"Never","ipipMode":"Never","blockSize":30,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}}',
    );
  });

  test('a store that a Calico wrote is taken over with every address kept', async () => {
    await using etcd = await startEtcd();
    await using store = await openDatastore(etcd.url);
    const write = (key: string, value: string) =>
      run('env', 'ETCDCTL_API=3', 'etcdctl', '--endpoints', etcd.endpoint, 'put', key, value);
    const attribute = (pod: string) =>
      `{"handle_id":"k8s-pod-network.${pod}","secondary":{"namespace":"default","node":"node1","pod":"${pod}","timestamp":"2025-05-05 05:05:05.5 +0000 UTC"}}`;
    const before =
      '{"cidr":"10.233.1.0/29","affinity":"host:node1","allocations":[0,1,null,2,null,null,null,null],"unallocated":[4,5,6,7,2],' +
      `"attributes":[{"handle_id":"ipip-tunnel-addr-node1","secondary":{"node":"node1","type":"ipipTunnelAddress"}},${attribute('a')},${attribute('b')}],` +
      '"sequenceNumber":1746421505500000123,"sequenceNumberForAllocation":{"0":1746421505500000000,"1":1746421505500000011,"3":1746421505500000122},"deleted":false}';
    write(
      '/calico/resources/v3/projectcalico.org/ippools/default-ipv4-ippool',
      '{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"default-ipv4-ippool","uid":"u","creationTimestamp":"2025-05-05T05:05:05Z"},"spec":{"cidr":"10.233.0.0/16","ipipMode":"Always","natOutgoing":true,"blockSize":29,"nodeSelector":"all()"}}',
    );
    write('/calico/ipam/v2/assignment/ipv4/block/10.233.1.0-29', before);
    write('/calico/ipam/v2/host/node1/ipv4/block/10.233.1.0-29', '{"state":"confirmed"}');
    for (const pod of ['a', 'b'])
      write(`/calico/ipam/v2/handle/k8s-pod-network.${pod}`, '{"block":{"10.233.1.0/29":1},"deleted":false}');
    write('/calico/ipam/v2/handle/ipip-tunnel-addr-node1', '{"block":{"10.233.1.0/29":1},"deleted":false}');
    write('/calico/ipam/v2/config', '{"auto_allocate_blocks":true}');

    const ipam = new BlockIpam({ store, node: 'node1' });
    const give = async (handle: string) => {
      const result = await ipam.assign(request(handle, 'node1'));
      if (!result.ok) throw result.error;
      return result.value[0]!.address as string;
    };
    expect(await give('k8s-pod-network.a')).toBe('10.233.1.1');
    expect((await store.get('/calico/ipam/v2/assignment/ipv4/block/10.233.1.0-29')).kv?.value).toBe(before);
    expect(await give('new')).toBe('10.233.1.4');
    await ipam.release('k8s-pod-network.b');
    const after = (await store.get('/calico/ipam/v2/assignment/ipv4/block/10.233.1.0-29')).kv!.value;
    expect(after).toContain('"allocations":[0,1,null,null,2,null,null,null],"unallocated":[5,6,7,2,3]');
    expect(after).toContain(
      '"sequenceNumber":1746421505500000125,"sequenceNumberForAllocation":{"0":1746421505500000000,"1":1746421505500000011,"4":1746421505500000123}',
    );
    expect(Object.fromEntries(await recorded(store))).toEqual({
      '10.233.1.0': 'ipip-tunnel-addr-node1',
      '10.233.1.1': 'k8s-pod-network.a',
      '10.233.1.4': 'new',
    });
  });
});
