import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { runPlugin, TestNode } from '../support/cni.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('CNI verbs and versions', 'ip', 'ping');

describe.skipIf(!here)('CNI verbs', () => {
  const spaces = new TestNamespaces();
  let node: TestNode;
  let pods = 0;

  beforeAll(async () => {
    node = new TestNode(spaces);
    await node.start();
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
    spaces[Symbol.dispose]();
  });

  /** A pod of its own for a test. */
  function pod() {
    const short = `p${++pods}`;
    const netns = node.pod(short);
    const container = `container-${pods}`;
    const call = (config: Record<string, unknown> = {}, more: Record<string, string> = {}) => {
      return { container, netns, config: node.config(config), ...more };
    };
    const ip = (...args: string[]): unknown => JSON.parse(spaces.run(short, 'ip', '-j', ...args) || '[]');
    return { short, netns, container, call, ip };
  }
  const hostLinks = (): string[] =>
    (JSON.parse(spaces.run('host', 'ip', '-j', 'link')) as { ifname: string }[]).map((l) => l.ifname);

  test('ADD makes the interface Flannel would make, in both families, and DEL takes it all away', async () => {
    const p = pod();
    const added = await runPlugin('ADD', p.call());
    expect(added).toMatchObject({ status: 0 });
    const [v4, v6] = added.json.ips!;
    expect(v4).toEqual({ interface: 2, address: '10.244.1.2/24', gateway: '10.244.1.1' });
    expect(v6).toEqual({ interface: 2, address: 'fd00:10:244:1::2/64', gateway: 'fd00:10:244:1::1' });
    const [bridge, host, inside] = added.json.interfaces!;
    expect(bridge).toEqual({ name: 'cni0', mac: '0a:58:0a:f4:01:01', mtu: 1450 });
    expect(host!.name).toMatch(/^veth[0-9a-f]{8}$/);
    expect(inside).toMatchObject({ name: 'eth0', sandbox: p.netns, mtu: 1450 });
    expect(p.ip('link', 'show', 'eth0')).toMatchObject([{ address: inside!.mac, mtu: 1450 }]);
    // the kernel notes the carrier of a new link a moment after it is up
    await until('it has a carrier', () => spaces.run(p.short, 'ip', 'link', 'show', 'eth0').includes('state UP'));
    expect(p.ip('link', 'show', 'lo')).toMatchObject([{ flags: expect.arrayContaining(['UP']) }]);
    expect(p.ip('route')).toMatchObject([
      { dst: 'default', gateway: '10.244.1.1', dev: 'eth0' },
      { dst: '10.244.0.0/16', gateway: '10.244.1.1', dev: 'eth0' },
      { dst: '10.244.1.0/24', dev: 'eth0', prefsrc: '10.244.1.2', scope: 'link' },
    ]);
    expect(p.ip('-6', 'route', 'show', 'default')).toMatchObject([{ gateway: 'fd00:10:244:1::1', dev: 'eth0' }]);
    const port = spaces.run('host', 'ip', '-d', 'link', 'show', host!.name);
    expect(port).toContain('master cni0');
    expect(port).toContain('hairpin on');
    expect(port).toContain(`alias godwit:${p.container}/eth0 pods 10.244.1.2/24,fd00:10:244:1::2/64`);
    // reachable at once: no address waits for duplicate detection
    expect(spaces.status(p.short, 'ping', '-c1', '-W5', '10.244.1.1')).toBe(0);
    expect(spaces.status(p.short, 'ping', '-c1', '-W5', 'fd00:10:244:1::1')).toBe(0);

    const deleted = await runPlugin('DEL', p.call({ prevResult: added.json }));
    expect(deleted).toMatchObject({ status: 0, stdout: '' });
    expect(p.ip('link')).toMatchObject([{ ifname: 'lo' }]);
    expect(hostLinks()).not.toContain(host!.name);
    expect(node.server!.attachments()).toEqual([]);
  });

  const formats = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
  test.each(formats)('ADD, CHECK and DEL in version %s', async (cniVersion) => {
    const p = pod();
    const added = await runPlugin('ADD', p.call({ cniVersion }));
    expect(added.status).toBe(0);
    expect(added.json.cniVersion).toBe(cniVersion);
    const old = cniVersion.startsWith('0.');
    expect(added.json.ips!.map((i) => i.version)).toEqual(old ? ['4', '6'] : [undefined, undefined]);
    expect(added.json.interfaces!.every((i) => (i.mtu !== undefined) === (cniVersion === '1.1.0'))).toBe(true);
    const checked = await runPlugin('CHECK', p.call({ cniVersion, prevResult: added.json }));
    if (cniVersion < '0.4.0') expect(checked.json).toMatchObject({ code: 1, cniVersion });
    else expect(checked).toMatchObject({ status: 0, stdout: '' });
    expect((await runPlugin('DEL', p.call({ cniVersion }))).status).toBe(0);
  });

  test('VERSION needs no agent; other versions are refused with code 1; STATUS and GC need 1.1.0', async () => {
    const socket = '/nonexistent/cni.sock';
    const version = await runPlugin('VERSION', { config: { cniVersion: '1.0.0', socket } });
    expect(version).toMatchObject({ status: 0, json: { cniVersion: '1.0.0', supportedVersions: formats } });
    expect((await runPlugin('VERSION', { config: { cniVersion: '9.0.0' } })).json.cniVersion).toBe('1.1.0');
    for (const cniVersion of ['0.1.0', '0.2.0', '2.0.0', '', undefined, 7]) {
      const refused = await runPlugin('ADD', pod().call({ cniVersion }));
      expect(refused).toMatchObject({ status: 1, json: { code: 1, cniVersion: '1.1.0' } });
    }
    expect((await runPlugin('STATUS', { config: node.config({ cniVersion: '1.0.0' }) })).json.code).toBe(1);
    expect((await runPlugin('GC', { config: node.config({ cniVersion: '0.4.0' }) })).json.code).toBe(1);
  });

  test('a second ADD gives the same; a damaged attachment is made anew', async () => {
    const p = pod();
    const first = await runPlugin('ADD', p.call());
    const second = await runPlugin('ADD', p.call());
    expect(second.json).toEqual(first.json);
    spaces.run(p.short, 'ip', 'route', 'del', 'default');
    const third = await runPlugin('ADD', p.call());
    expect(third.status).toBe(0);
    expect(p.ip('route', 'show', 'default')).toMatchObject([{ gateway: '10.244.1.1' }]);
    expect(hostLinks().filter((n) => n.startsWith('veth')).length).toBe(node.server!.attachments().length);
    expect((await runPlugin('DEL', p.call())).status).toBe(0);
  });

  test('CHECK finds what was changed, on either side', async () => {
    const damages: [string, 'pod' | 'host', (host: string) => string[]][] = [
      ['lacks the route 0.0.0.0/0', 'pod', () => ['route', 'del', 'default']],
      ['lacks the address 10.244.1.', 'pod', () => ['-4', 'addr', 'flush', 'dev', 'eth0']],
      ['has address', 'pod', () => ['link', 'set', 'eth0', 'address', '02:00:00:00:00:01']],
      ['eth0 is down', 'pod', () => ['link', 'set', 'eth0', 'down']],
      ['has MTU 1400', 'pod', () => ['link', 'set', 'eth0', 'mtu', '1400']],
      ['is missing in the pod', 'pod', () => ['link', 'set', 'eth0', 'name', 'eth9']],
      ['is not a port of cni0', 'host', (host) => ['link', 'set', host, 'nomaster']],
      ['is down', 'host', (host) => ['link', 'set', host, 'down']],
      ['is missing', 'host', (host) => ['link', 'del', host]],
    ];
    for (const [words, where, command] of damages) {
      const p = pod();
      const added = await runPlugin('ADD', p.call());
      const host = added.json.interfaces![1]!.name;
      if (words === 'eth0 is down') spaces.run(p.short, 'ip', 'link', 'set', 'lo', 'up');
      spaces.run(where === 'pod' ? p.short : 'host', 'ip', ...command(host));
      const checked = await runPlugin('CHECK', p.call({ prevResult: added.json }));
      expect(checked.json).toMatchObject({ code: 102, details: expect.stringContaining(words) });
      expect((await runPlugin('DEL', p.call())).status).toBe(0);
    }
    const unknown = await runPlugin('CHECK', pod().call({ prevResult: {} }));
    expect(unknown.json.code).toBe(3);
  });

  test('CHECK holds prevResult against what was given', async () => {
    const p = pod();
    const added = await runPlugin('ADD', p.call());
    const lie = { ...added.json, ips: [{ address: '10.244.1.250/24', interface: 2 }] };
    const checked = await runPlugin('CHECK', p.call({ prevResult: lie }));
    expect(checked.json).toMatchObject({ code: 102, details: expect.stringContaining('prevResult lacks') });
    expect((await runPlugin('CHECK', p.call())).json.code).toBe(7);
    await runPlugin('DEL', p.call());
  });

  test('the runtime’s wishes: addresses and MAC by runtimeConfig, args and CNI_ARGS; routes, MTU and DNS', async () => {
    const p = pod();
    const wish = {
      ...{ mtu: 1300, dns: { nameservers: ['10.96.0.10'] }, routes: [{ dst: '192.0.2.0/24' }] },
      runtimeConfig: { ips: ['10.244.1.77/24', 'fd00:10:244:1::77'], mac: 'C2:11:22:33:44:55', portMappings: [] },
    };
    const added = await runPlugin('ADD', p.call(wish));
    expect(added.json.ips!.map((i) => i.address)).toEqual(['10.244.1.77/24', 'fd00:10:244:1::77/64']);
    expect(added.json.interfaces![2]).toMatchObject({ mac: 'c2:11:22:33:44:55', mtu: 1300 });
    expect(added.json.dns).toEqual({ nameservers: ['10.96.0.10'] });
    expect(p.ip('route', 'show', '192.0.2.0/24')).toMatchObject([{ gateway: '10.244.1.1' }]);

    const q = pod();
    const taken = await runPlugin('ADD', q.call({ runtimeConfig: { ips: ['10.244.1.77'] } }));
    expect(taken.json).toMatchObject({ code: 101, msg: expect.stringContaining('taken') });
    for (const ip of ['10.244.1.1', '10.244.1.0', '10.244.1.255', '10.244.2.2', '192.0.2.1']) {
      expect((await runPlugin('ADD', q.call({ args: { cni: { ips: [ip] } } }))).json.code).toBe(101);
    }
    const byArgs = await runPlugin('ADD', q.call({}, { args: 'IP=10.244.1.78;MAC=c2:11:22:33:44:56' }));
    expect(byArgs.json.ips![0]!.address).toBe('10.244.1.78/24');
    expect(byArgs.json.interfaces![2]!.mac).toBe('c2:11:22:33:44:56');

    const r = pod();
    const names = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u1;X=y';
    expect((await runPlugin('ADD', r.call({}, { args: names }))).status).toBe(0);
    const pods = node.server!.attachments().map((a) => a.pod);
    expect(pods).toContainEqual({ namespace: 'shop', name: 'web-0', uid: 'u1' });
    for (const each of [p, q, r]) await runPlugin('DEL', each.call());
  });

  test('results of plugins before us pass through', async () => {
    const p = pod();
    const prevResult = {
      ...{ cniVersion: '1.1.0', extra: { kept: true }, dns: { search: ['a'] } },
      interfaces: [{ name: 'x0', sandbox: p.netns }],
      ips: [{ address: '192.0.2.9/32', interface: 0 }],
      routes: [{ dst: '198.51.100.0/24' }],
    };
    const added = await runPlugin('ADD', p.call({ prevResult }));
    expect(added.json.interfaces!.map((i) => i.name)).toMatchObject(['x0', 'cni0', expect.any(String), 'eth0']);
    expect(added.json.ips).toMatchObject([{ interface: 0 }, { interface: 3 }, { interface: 3 }]);
    expect(added.json.routes![0]).toEqual({ dst: '198.51.100.0/24' });
    expect(added.json).toMatchObject({ extra: { kept: true }, dns: { search: ['a'] } });
    await runPlugin('DEL', p.call());
  });

  test('GC removes what the runtime does not know, of its own network only, and refuses to guess', async () => {
    const [keep, lost, other] = [pod(), pod(), pod()];
    for (const p of [keep, lost]) await runPlugin('ADD', p.call());
    await runPlugin('ADD', other.call({ name: 'another' }));
    expect((await runPlugin('GC', { config: node.config() })).json.code).toBe(7);
    expect(node.server!.attachments().length).toBe(3);
    const valid = { 'cni.dev/valid-attachments': [{ containerID: keep.container, ifname: 'eth0' }] };
    expect(await runPlugin('GC', { config: node.config(valid) })).toMatchObject({ status: 0, stdout: '' });
    const left = node.server!.attachments().map((a) => a.container);
    expect(left.toSorted()).toEqual([keep.container, other.container].toSorted());
    for (const p of [keep, other]) await runPlugin('DEL', p.call());
  });

  test('not ready: ADD 11, STATUS 50; bridge missing: ADD 11, STATUS 51; no address left: 101 and 50', async () => {
    const p = pod();
    const whole = node.network;
    node.network = { ok: false, error: 'no lease yet' };
    expect((await runPlugin('ADD', p.call())).json).toMatchObject({ code: 11, details: 'no lease yet' });
    expect((await runPlugin('STATUS', { config: node.config() })).json.code).toBe(50);
    expect((await runPlugin('DEL', p.call())).status).toBe(0);
    if (!whole.ok || !('bridge' in whole.value)) throw new Error('the node has a network');
    node.network = { ok: true, value: { ...whole.value, bridge: 'cni9' } };
    expect((await runPlugin('ADD', p.call())).json.code).toBe(11);
    expect((await runPlugin('STATUS', { config: node.config() })).json.code).toBe(51);
    const [v4] = whole.value.subnets;
    node.network = { ok: true, value: { ...whole.value, subnets: [{ ...v4!, subnet: '10.244.1.0/30' as never }] } };
    const q = pod();
    expect((await runPlugin('ADD', p.call())).status).toBe(0);
    expect((await runPlugin('ADD', q.call())).json).toMatchObject({ code: 101 });
    expect((await runPlugin('STATUS', { config: node.config() })).json.code).toBe(50);
    // its pod died without a DEL: the address is free again
    spaces.remove(p.short);
    await until('the kernel has taken its link away', () => !hostLinks().some((name) => name.startsWith('veth')));
    expect((await runPlugin('ADD', q.call())).json.ips).toMatchObject([{ address: '10.244.1.2/30' }]);
    await runPlugin('DEL', q.call());
    node.network = whole;
    expect((await runPlugin('STATUS', { config: node.config() })).status).toBe(0);
    expect(node.server!.attachments()).toEqual([]);
  });

  test('an interface name that the container has already is refused, and nothing is left', async () => {
    const p = pod();
    spaces.run(p.short, 'ip', 'link', 'add', 'eth0', 'type', 'bridge');
    expect((await runPlugin('ADD', p.call())).json).toMatchObject({ code: 103 });
    expect(node.server!.attachments()).toEqual([]);
    expect(hostLinks()).toEqual(['lo', 'cni0']);
  });

  test('30 at once get 30 addresses', async () => {
    const many = Array.from({ length: 30 }, pod);
    const added = await Promise.all(many.map((p) => runPlugin('ADD', p.call())));
    expect(new Set(added.map((a) => a.json.ips?.[0]?.address)).size).toBe(30);
    const deleted = await Promise.all(many.map((p) => runPlugin('DEL', p.call())));
    expect(deleted.every((d) => d.status === 0)).toBe(true);
    expect(hostLinks()).toEqual(['lo', 'cni0']);
    expect(node.server!.attachments()).toEqual([]);
  });
});
