import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { silentLogger } from '../../src/base/mod.ts';
import { runPlugin } from '../support/cni.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { putPool, putPools, RoutedNode, routedNetwork } from '../support/routed.ts';

const here = have('routed pods', 'ip', 'ping');

describe.skipIf(!here)('routed pods', () => {
  const spaces = new TestNamespaces();
  const memory = new MemoryStore();
  const store = memory.client();
  let node: RoutedNode;
  let pods = 0;

  const warned: object[] = [];
  beforeAll(async () => {
    node = new RoutedNode(spaces, store);
    await putPools(store);
    // not for pods that do not ask for it
    await putPool(store, 'special', { cidr: '10.99.0.0/24', blockSize: 28, nodeSelector: '!all()' });
    await node.start({ log: { ...silentLogger, warn: (fields) => void warned.push(fields) } });
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
    spaces[Symbol.dispose]();
  });

  // what one test leaves when it fails is no other's business
  afterEach(() =>
    runPlugin('GC', { config: node.config({ name: 'k8s-pod-network', 'cni.dev/valid-attachments': [] }) }),
  );

  function pod(name = `web-${pods + 1}`) {
    const short = `p${++pods}`;
    const netns = node.pod(short);
    const container = `container-${pods}`;
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=u${pods}`;
    const call = (config: Record<string, unknown> = {}) => {
      return { container, netns, args, config: node.config({ name: 'k8s-pod-network', ...config }) };
    };
    const cali = `cali${createHash('sha1').update(`shop.${name}`).digest('hex').slice(0, 11)}`;
    return { name, short, netns, container, call, cali };
  }
  const ip = (where: string, ...args: string[]): Record<string, unknown>[] =>
    JSON.parse(spaces.run(where, 'ip', '-j', ...args) || '[]') as Record<string, unknown>[];
  const hostLinks = (): string[] =>
    ip('host', 'link').flatMap(({ ifname }) => (String(ifname).startsWith('cali') ? [String(ifname)] : []));
  const keys = (prefix: string): string[] => [...memory.data.keys()].filter((key) => key.startsWith(prefix));
  const endpoints = '/calico/resources/v3/projectcalico.org/workloadendpoints/';
  const record = (key: string): Record<string, unknown> =>
    JSON.parse(memory.data.get(key)!.value) as Record<string, unknown>;

  test('ADD makes what Calico would make, in both families, and DEL takes it all away', async () => {
    const p = pod('web-0');
    // as Calico names the same pod
    expect(p.cali).toBe('calia4fc3c48bd8');
    const added = await runPlugin('ADD', p.call());
    expect(added).toMatchObject({ status: 0 });
    expect(added.json.interfaces).toMatchObject([
      { name: p.cali, mac: 'ee:ee:ee:ee:ee:ee', mtu: 1480 },
      { name: 'eth0', sandbox: p.netns, mtu: 1480 },
    ]);
    const [v4, v6] = added.json.ips!.map(({ address }) => address.split('/')[0]!) as [string, string];
    expect(v4).toMatch(/^10\.233\.\d+\.\d+$/);
    expect(v6).toMatch(/^fd00:10:233:/);
    expect(added.json.ips).toEqual([
      { interface: 1, address: `${v4}/32`, gateway: '169.254.1.1' },
      { interface: 1, address: `${v6}/128`, gateway: 'fe80::ecee:eeff:feee:eeee' },
    ]);
    expect(ip(p.short, 'route')).toEqual([
      { dst: 'default', gateway: '169.254.1.1', dev: 'eth0', flags: [] },
      { dst: '169.254.1.1', dev: 'eth0', scope: 'link', flags: [] },
    ]);
    expect(ip(p.short, '-6', 'route', 'show', 'default')).toMatchObject([{ gateway: 'fe80::ecee:eeff:feee:eeee' }]);
    // the routes are there before the answer
    expect(spaces.run('host', 'ip', 'route', 'show', v4).trim()).toBe(`${v4} dev ${p.cali} proto 71 scope link`);
    expect(ip('host', '-6', 'route', 'show', v6)).toMatchObject([{ dev: p.cali, protocol: '71' }]);
    const settings = {
      'ipv4/conf/*/rp_filter': '1',
      'ipv4/conf/*/proxy_arp': '1',
      'ipv4/conf/*/route_localnet': '0',
      'ipv4/conf/*/accept_source_route': '0',
      'ipv4/conf/*/forwarding': '1',
      'ipv4/conf/*/accept_redirects': '0',
      'ipv4/conf/*/send_redirects': '0',
      'ipv4/neigh/*/proxy_delay': '0',
      'ipv6/conf/*/accept_ra': '0',
      'ipv6/conf/*/accept_redirects': '0',
      'ipv6/conf/*/proxy_ndp': '1',
      'ipv6/conf/*/forwarding': '1',
    };
    for (const [name, value] of Object.entries(settings)) {
      expect([name, readFileSync(`/proc/sys/net/${name.replace('*', p.cali)}`, 'utf8').trim()]).toEqual([name, value]);
    }
    for (const address of [v4, v6]) expect(spaces.status('host', 'ping', '-c1', '-w5', address)).toBe(0);
    // also when the pod forgets what we told it of its gateways: the host answers for them
    spaces.run(p.short, 'sh', '-c', 'ip neigh flush nud permanent dev eth0; ip -6 neigh flush nud permanent dev eth0');
    expect(spaces.status(p.short, 'ping', '-c1', '-w5', '192.0.2.1')).toBe(0);
    expect(spaces.status(p.short, 'ping', '-c1', '-w5', 'fe80::ecee:eeff:feee:eeee%eth0')).toBe(0);
    expect(ip(p.short, 'neigh', 'show', '169.254.1.1')).toMatchObject([{ lladdr: 'ee:ee:ee:ee:ee:ee' }]);
    expect((await runPlugin('CHECK', p.call({ prevResult: added.json }))).stdout).toBe('');

    const key = `${endpoints}shop/node1-k8s-web--0-eth0`;
    await until('the endpoint is known', () => memory.data.has(key));
    expect(record(key)).toMatchObject({
      kind: 'WorkloadEndpoint',
      metadata: { name: 'node1-k8s-web--0-eth0', namespace: 'shop' },
      spec: {
        ...{ orchestrator: 'k8s', node: 'node1', containerID: p.container, pod: 'web-0', endpoint: 'eth0' },
        ...{ ipNetworks: [`${v4}/32`, `${v6}/128`], interfaceName: p.cali },
      },
    });
    const handle = `k8s-pod-network.${p.container}`;
    const { block: counts } = record(`/calico/ipam/v2/handle/${handle}`) as { block: Record<string, number> };
    const [block] = Object.keys(counts) as [string];
    expect([block, Object.values(counts)]).toEqual([expect.stringMatching(/^10\.233\..*\/26$/), [1, 1]]);
    expect(record(`/calico/ipam/v2/assignment/ipv4/block/${block.replace('/', '-')}`)).toMatchObject({
      affinity: 'host:node1',
      attributes: [
        {
          handle_id: handle,
          secondary: {
            ...{ namespace: 'shop', pod: 'web-0', node: 'node1' },
            timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000 UTC$/),
          },
        },
      ],
    });

    expect(await runPlugin('DEL', p.call())).toMatchObject({ status: 0, stdout: '' });
    expect(hostLinks()).toEqual([]);
    expect(ip('host', 'route', 'show', 'proto', '71')).toEqual([]);
    expect([...keys(endpoints), ...keys('/calico/ipam/v2/handle/')]).toEqual([]);
    expect(ip(p.short, 'link')).toMatchObject([{ ifname: 'lo' }]);
    expect(node.server!.attachments()).toEqual([]);
    // and once more, late
    expect(await runPlugin('DEL', { ...p.call(), netns: '' })).toMatchObject({ status: 0, stdout: '' });
  });

  test('pods reach each other through the node at once, in both families', async () => {
    const [a, b] = [pod(), pod()];
    const [, of] = [await runPlugin('ADD', a.call()), await runPlugin('ADD', b.call())];
    for (const { address } of of.json.ips!) {
      expect(spaces.status(a.short, 'ping', '-c1', '-w5', address.split('/')[0]!)).toBe(0);
    }
    for (const p of [a, b]) expect((await runPlugin('DEL', p.call())).status).toBe(0);
  });

  test('a second ADD gives the same; a damaged attachment is made anew with its address', async () => {
    const p = pod();
    const first = await runPlugin('ADD', p.call());
    expect((await runPlugin('ADD', p.call())).json).toEqual(first.json);
    spaces.run(p.short, 'ip', 'route', 'del', 'default');
    const third = await runPlugin('ADD', p.call());
    expect(third.json.ips).toEqual(first.json.ips);
    expect(ip(p.short, 'route', 'show', 'default')).toMatchObject([{ gateway: '169.254.1.1' }]);
    expect((await runPlugin('CHECK', p.call({ prevResult: third.json }))).stdout).toBe('');
    expect((await runPlugin('DEL', p.call())).status).toBe(0);
  });

  test('limits that Calico would set are told as not set, and the pod starts', async () => {
    const p = pod();
    const asked = { 'qos.projectcalico.org/ingressBandwidth': '1M', 'cni.projectcalico.org/ipFamilies': '["IPv4"]' };
    const config = { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': asked } };
    warned.length = 0;
    expect((await runPlugin('ADD', p.call(config))).status).toBe(0);
    expect(warned).toMatchObject([{ pod: `shop/${p.name}`, annotations: ['qos.projectcalico.org/ingressBandwidth'] }]);
    await runPlugin('DEL', p.call());
  });

  test('CHECK finds what was changed, on either side', async () => {
    const damages: [string, 'pod' | 'host', (cali: string) => string[]][] = [
      ['lacks the route 0.0.0.0/0', 'pod', () => ['ip', 'route', 'del', 'default']],
      ['rp_filter is 0', 'host', (cali) => ['sysctl', '-qw', `net.ipv4.conf.${cali}.rp_filter=0`]],
      ['accept_ra is 1', 'host', (cali) => ['sysctl', '-qw', `net.ipv6.conf.${cali}.accept_ra=1`]],
      ['is missing', 'host', (cali) => ['ip', 'link', 'del', cali]],
    ];
    for (const [words, where, command] of damages) {
      const p = pod();
      const added = await runPlugin('ADD', p.call());
      spaces.run(where === 'pod' ? p.short : 'host', ...command(p.cali));
      const checked = await runPlugin('CHECK', p.call({ prevResult: added.json }));
      expect(checked.json).toMatchObject({ code: 102, details: expect.stringContaining(words) });
      expect((await runPlugin('DEL', p.call())).status).toBe(0);
    }
  });

  test('systemd makes the reverse path check of new links loose: CHECK and another ADD take it as it is', async () => {
    const p = pod();
    const added = await runPlugin('ADD', p.call());
    spaces.run('host', 'sysctl', '-qw', `net.ipv4.conf.${p.cali}.rp_filter=2`);
    expect((await runPlugin('CHECK', p.call({ prevResult: added.json }))).stdout).toBe('');
    const [before] = ip('host', 'link', 'show', p.cali) as { ifindex: number }[];
    expect((await runPlugin('ADD', p.call())).json).toEqual(added.json);
    expect(ip('host', 'link', 'show', p.cali)).toMatchObject([{ ifindex: before!.ifindex }]);
    await runPlugin('DEL', p.call());
  });

  test('somebody deletes a pod’s route: the one writer of routes puts it back', async () => {
    const p = pod();
    const added = await runPlugin('ADD', p.call());
    const address = added.json.ips![0]!.address.split('/')[0]!;
    spaces.run('host', 'ip', 'route', 'del', address);
    await until('the route is back', () => ip('host', 'route', 'show', address).length === 1);
    await runPlugin('DEL', p.call());
  });

  test('a restart of the agent changes nothing, and its DEL works', async () => {
    const [p, q] = [pod(), pod()];
    const added = await runPlugin('ADD', p.call());
    await runPlugin('ADD', q.call());
    // the kernel notes the carrier of a new link some time after it is up
    await until('its link has a carrier', () => spaces.run('host', 'ip', 'link', 'show', p.cali).includes('state UP'));
    const look = () => spaces.run('host', 'ip', '-d', 'link') + spaces.run('host', 'ip', '-d', 'route');
    const before = look();
    await node.stop();
    // while it is away a pod dies with its namespace, and its record says nothing of that
    spaces.remove(q.short);
    await until('the kernel has taken its link away', () => !hostLinks().includes(q.cali));
    await node.start();
    const after = look();
    expect(after.split('\n').filter((line) => line.includes(p.cali))).toEqual(
      before.split('\n').filter((line) => line.includes(p.cali)),
    );
    await until(
      'its address is given back',
      () => !keys('/calico/ipam/v2/handle/').some((k) => k.endsWith(q.container)),
    );
    expect((await runPlugin('CHECK', p.call({ prevResult: added.json }))).stdout).toBe('');
    expect((await runPlugin('ADD', p.call())).json.ips).toEqual(added.json.ips);
    await runPlugin('DEL', p.call());
    expect(ip('host', 'route', 'show', 'proto', '71')).toEqual([]);
    expect(hostLinks()).toEqual([]);
    expect(keys('/calico/ipam/v2/handle/')).toEqual([]);
  });

  test('a new sandbox of the same pod takes its place; the old one’s late DEL touches nothing', async () => {
    const old = pod('db-0');
    const first = await runPlugin('ADD', old.call());
    const fresh = pod('db-0');
    expect(fresh.cali).toBe(old.cali);
    const second = await runPlugin('ADD', fresh.call());
    expect(second).toMatchObject({ status: 0 });
    expect(second.json.ips).not.toEqual(first.json.ips!);
    for (const late of [old.call(), { ...old.call(), netns: '' }])
      expect((await runPlugin('DEL', late)).status).toBe(0);
    expect((await runPlugin('CHECK', fresh.call({ prevResult: second.json }))).stdout).toBe('');
    await until('the endpoint is the new one’s', () => {
      const key = `${endpoints}shop/node1-k8s-db--0-eth0`;
      return memory.data.has(key) && JSON.stringify(record(key)).includes(fresh.container);
    });
    expect(keys('/calico/ipam/v2/handle/')).toEqual([`/calico/ipam/v2/handle/k8s-pod-network.${fresh.container}`]);
    expect((await runPlugin('DEL', fresh.call())).status).toBe(0);
    expect(hostLinks()).toEqual([]);
    expect(keys(endpoints)).toEqual([]);
  });

  test('wishes: addresses and pools by configuration, runtime and annotation', async () => {
    const annotations = (map: Record<string, string>) => {
      const named = Object.entries(map).map(([key, value]) => [`cni.projectcalico.org/${key}`, value]);
      return { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': Object.fromEntries(named) as unknown } };
    };
    const ipam = (more: Record<string, unknown>) => ({ ipam: { type: 'calico-ipam', ...more } });
    const special = expect.stringMatching(/^10\.99\.0\.\d+\/32$/) as string;
    const cases: [Record<string, unknown>, string[] | number][] = [
      [ipam({}), [expect.stringMatching(/^10\.233\./) as string]],
      [ipam({ assign_ipv4: 'false', assign_ipv6: 'true' }), [expect.stringMatching(/^fd00/) as string]],
      [ipam({ ipv4_pools: ['special'] }), [special]],
      [ipam({ ipv4_pools: ['10.99.0.0/24'] }), [special]],
      [annotations({ ipv4pools: '["special"]', ipFamilies: '["IPv4"]' }), [special]],
      [annotations({ ipAddrs: '["10.99.0.7"]' }), ['10.99.0.7/32']],
      [{ runtimeConfig: { ips: ['10.99.0.8', 'fd00:10:233::99'] } }, ['10.99.0.8/32', 'fd00:10:233::99/128']],
      [{ args: { cni: { ips: ['10.99.0.9'] } } }, ['10.99.0.9/32', expect.stringMatching(/^fd00/) as string]],
      [annotations({ ipAddrs: '["192.0.2.1"]' }), 101],
      [annotations({ ipAddrs: 'nonsense' }), 7],
      [annotations({ ipAddrsNoIpam: '["10.99.0.7"]' }), 2],
      [annotations({ floatingIPs: '["192.0.2.7"]' }), 2],
      [annotations({ allowedSourcePrefixes: '["192.0.2.0/24"]' }), 2],
      [ipam({ ipv4_pools: ['no-such-pool'] }), 101],
      [{ ipam: { type: 'host-local' } }, 2],
    ];
    for (const [config, wanted] of cases) {
      const p = pod();
      const added = await runPlugin('ADD', p.call(config));
      if (typeof wanted === 'number') expect([config, added.json.code]).toEqual([config, wanted]);
      else expect([config, added.json.ips?.map((i) => i.address)]).toEqual([config, wanted]);
      expect((await runPlugin('DEL', p.call(config))).status).toBe(0);
    }
    // an address somebody has is not given
    const [p, q] = [pod(), pod()];
    const wish = { runtimeConfig: { ips: ['10.99.0.7'] }, ipam: { type: 'calico-ipam' } };
    expect((await runPlugin('ADD', p.call(wish))).status).toBe(0);
    expect((await runPlugin('ADD', q.call(wish))).json).toMatchObject({
      code: 101,
      details: expect.stringContaining(`in use by pod shop/${p.name}`),
    });
    await runPlugin('DEL', p.call());
    expect(keys('/calico/ipam/v2/handle/')).toEqual([]);
    expect(node.server!.attachments()).toEqual([]);
  });

  test('without a pod’s name the interface is named by container; two interfaces of a container are two endpoints', async () => {
    const p = pod();
    const call = { container: p.container, netns: p.netns, config: node.config() };
    const first = await runPlugin('ADD', call);
    const second = await runPlugin('ADD', { ...call, interface: 'net1', config: node.config({ ipam: {} }) });
    const name = (text: string) => `cali${createHash('sha1').update(text).digest('hex').slice(0, 11)}`;
    expect(first.json.interfaces![0]!.name).toBe(name(`${p.container}/eth0`));
    // the second finds the default route taken and says so by replacing it; its addresses are its own
    expect(second.json.interfaces![0]!.name).toBe(name(`${p.container}/net1`));
    expect(second.json.ips![0]!.address).not.toBe(first.json.ips![0]!.address);
    await until('both endpoints are known', () => keys(`${endpoints}default/`).length === 2);
    for (const each of [call, { ...call, interface: 'net1' }]) await runPlugin('DEL', each);
    expect(keys('/calico/ipam/v2/handle/')).toEqual([]);
  });

  test('a pod dies with its namespace: nobody misses its route, and its address is free when it is needed', async () => {
    await putPool(store, 'tiny', { cidr: '10.98.0.0/31', blockSize: 31, nodeSelector: '!all()' });
    await node.stop();
    await node.start();
    const wish = { ipam: { type: 'calico-ipam', ipv4_pools: ['tiny'] } };
    const [a, b, c] = [pod(), pod(), pod()];
    for (const p of [a, b]) expect((await runPlugin('ADD', p.call(wish))).status).toBe(0);
    expect((await runPlugin('ADD', c.call(wish))).json).toMatchObject({ code: 101 });
    spaces.remove(a.short);
    await until('the kernel has taken its link away', () => !hostLinks().includes(a.cali));
    await until('its route is wanted no more', () => node.routes.status().wanted === 1);
    expect(node.routes.status()).toMatchObject({ installed: 1, problems: [] });
    expect(await runPlugin('ADD', c.call(wish))).toMatchObject({ status: 0 });
    for (const p of [a, b, c]) expect((await runPlugin('DEL', p.call(wish))).status).toBe(0);
  });

  test('a pod that Calico attached keeps its address from others, and DEL takes it away', async () => {
    const p = pod('from-calico');
    const wish = { runtimeConfig: { ips: ['10.99.0.200'] }, ipam: { type: 'calico-ipam' } };
    // what Calico left: the pair without a mark of ours, its route, its records; a record of our own there never was
    expect((await runPlugin('ADD', p.call(wish))).status).toBe(0);
    const key = `${endpoints}shop/node1-k8s-from--calico-eth0`;
    await until('the endpoint is known', () => memory.data.has(key));
    await node.stop();
    rmSync(join(node.stateDirectory, 'attachments', `${p.cali}.json`));
    const theirs = `ip link set ${p.cali} alias ''; ip route flush proto 71; ip route add 10.99.0.200 dev ${p.cali}`;
    spaces.run('host', 'sh', '-c', theirs);
    await node.start();
    expect(node.server!.attachments()).toEqual([]);
    expect(spaces.status('host', 'ping', '-c1', '-w5', '10.99.0.200')).toBe(0);
    expect((await runPlugin('ADD', pod().call(wish))).json).toMatchObject({ code: 101 });
    expect((await runPlugin('DEL', { ...p.call(), netns: '' })).status).toBe(0);
    expect(hostLinks()).toEqual([]);
    expect([...keys(endpoints), ...keys('/calico/ipam/v2/handle/')]).toEqual([]);
  });

  test('names no pod has do not get into the datastore', async () => {
    for (const [namespace, name] of [
      ['../../ipam', 'web'],
      ['shop', 'x'.repeat(2000)],
      ['shop', 'a b'],
      ['', 'web'],
    ]) {
      const p = pod();
      const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name};K8S_POD_UID=u`;
      const added = await runPlugin('ADD', { ...p.call(), args });
      expect(added.json.interfaces![0]!.name).toBe(
        `cali${createHash('sha1').update(`${p.container}/eth0`).digest('hex').slice(0, 11)}`,
      );
      const stored = [...memory.data.values()].map(({ key, value }) => key + value).join('');
      expect([stored.includes('../'), stored.includes('xxxx'), stored.includes('a b')]).toEqual([false, false, false]);
      expect((await runPlugin('DEL', { ...p.call(), args })).status).toBe(0);
    }
  });

  test('the MTU of running pods follows, both ends, where nobody asked for less', async () => {
    const [p, small] = [pod(), pod()];
    const added = await runPlugin('ADD', p.call());
    await runPlugin('ADD', small.call({ mtu: 1300 }));
    const mtus = (of: typeof p) => [
      ip('host', 'link', 'show', of.cali)[0]!['mtu'],
      ip(of.short, 'link', 'show', 'eth0')[0]!['mtu'],
    ];
    for (const mtu of [1450, 1500]) {
      expect(node.server!.setMtu(mtu)).toEqual({ changed: 1, faults: [] });
      expect([mtus(p), mtus(small)]).toEqual([
        [mtu, mtu],
        [1300, 1300],
      ]);
      expect((await runPlugin('CHECK', p.call({ prevResult: added.json }))).stdout).toBe('');
    }
    expect(node.server!.setMtu(1500)).toEqual({ changed: 0, faults: [] });
    for (const each of [p, small]) await runPlugin('DEL', each.call());
  });

  test('30 at once get 30 addresses, and STATUS tells whether an ADD could work', async () => {
    const many = Array.from({ length: 30 }, () => pod());
    const added = await Promise.all(many.map((p) => runPlugin('ADD', p.call())));
    expect(new Set(added.map((a) => a.json.ips?.[0]?.address)).size).toBe(30);
    const deleted = await Promise.all(many.map((p) => runPlugin('DEL', p.call())));
    expect(deleted.every((d) => d.status === 0)).toBe(true);
    expect(hostLinks()).toEqual([]);
    expect(keys('/calico/ipam/v2/handle/')).toEqual([]);
    expect(node.routes.status()).toMatchObject({ wanted: 0, problems: [] });
    expect((await runPlugin('STATUS', { config: node.config() })).status).toBe(0);
    node.network = { ok: false, error: 'no session yet' };
    expect((await runPlugin('STATUS', { config: node.config() })).json).toMatchObject({ code: 50 });
    node.network = { ok: true, value: routedNetwork };
  });
});
