// What others do to the kernel under a running agent: routes, rules, interfaces, settings (F16–F20, F21 in part).
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { have } from '../support/peers.ts';
import { until } from '../support/netns.ts';
import { Cluster } from './cluster.ts';
import type { Node } from './cluster.ts';

const here = have('the agent against faults in the kernel', 'ip', 'nft', 'etcd');

describe.skipIf(!here)('faults in the kernel', () => {
  let cluster: Cluster;
  let node: Node;
  const expected = [
    '10.244.201.0/24 via 10.168.0.201 dev eth0',
    '10.244.202.0/24 via 10.168.0.202 dev eth0',
    '10.244.203.0/24 via 10.168.0.203 dev eth0',
  ];
  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2] });
    for (const n of [201, 202, 203]) await cluster.putLease(`10.244.${n}.0/24`, `10.168.0.${n}`);
    node = cluster.node(2);
    // so that only what is noticed comes back
    await node.up(['--resync-seconds', '3600']);
  });
  beforeEach(async () => {
    await node.hasRoutes(...expected);
    await node.ready();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('F17: routes deleted and changed by hand come back', async () => {
    node.run('ip', 'route', 'del', '10.244.202.0/24');
    await node.hasRoutes(...expected);
    node.run('ip', 'route', 'replace', '10.244.203.0/24', 'via', '10.168.0.9', 'proto', '71');
    await node.hasRoutes(...expected);
  });

  test('F19: everything of ours is flushed, rules too', async () => {
    node.run('ip', 'route', 'flush', 'proto', '71');
    node.run('ip', 'rule', 'flush');
    node.run('ip', 'rule', 'add', 'from', 'all', 'lookup', 'main');
    await node.hasRoutes(...expected);
  });

  test('F18: a foreign route stays, is told as a conflict, and nobody fights; ours comes when it goes', async () => {
    node.run('ip', 'route', 'replace', '10.244.201.0/24', 'via', '10.168.0.77', 'proto', 'static');
    await until('the conflict is told', async () => {
      const { reasons } = await node.status();
      return reasons.some((r) => r.includes('10.244.201.0/24') && r.includes('left alone'));
    });
    const monitor = await node.monitor('route');
    await Bun.sleep(2_500);
    expect(await monitor.stop()).toBe('');
    expect(node.run('ip', 'route', 'show', '10.244.201.0/24')).toContain('via 10.168.0.77 dev eth0 proto static');
    expect((await node.readiness()).ready).toBe(false);
    node.run('ip', 'route', 'del', '10.244.201.0/24', 'proto', 'static');
    await node.hasRoutes(...expected);
  });

  test('F18: a foreign route beside ours, with another metric, is left alone', async () => {
    node.run('ip', 'route', 'add', '10.244.202.0/24', 'via', '10.168.0.77', 'metric', '50', 'proto', 'bird');
    const monitor = await node.monitor('route');
    await Bun.sleep(500);
    expect(await monitor.stop()).toBe('');
    expect(node.run('ip', 'route', 'show', '10.244.202.0/24')).toContain('metric 50');
    node.run('ip', 'route', 'del', '10.244.202.0/24', 'metric', '50');
  });

  test('F20: thousands of changes while the agent cannot look: it reads everything anew', async () => {
    node.process?.kill('SIGSTOP');
    const batch = Array.from(
      { length: 5000 },
      (_, i) => `10.${100 + (i >> 8)}.${i & 255}.0/24 via 10.168.0.3 proto static`,
    );
    const all = (verb: string) => batch.map((route) => `route ${verb} ${route}`).join('\n');
    const file = `${node.directory}/batch`;
    writeFileSync(file, `${all('add')}\n${all('del')}\n`);
    node.run('ip', '-batch', file);
    node.run('ip', 'route', 'flush', 'proto', '71');
    node.process?.kill('SIGCONT');
    await node.hasRoutes(...expected);
    expect((await node.status()).routes.counters['created']).toBeGreaterThan(5);
  });

  test('F16: the uplink goes down and up, many times', async () => {
    node.run('sh', '-c', 'for i in $(seq 100); do ip link set eth0 down; ip link set eth0 up; done');
    await node.hasRoutes(...expected);
  });

  test('F16: the uplink is renamed', async () => {
    node.run('sh', '-c', 'ip link set eth0 down; ip link set eth0 name up0; ip link set up0 up');
    await node.hasRoutes(...expected.map((route) => route.replace('eth0', 'up0')));
    await node.ready();
    expect((await node.status()).addresses[0]).toMatchObject({ address: '10.168.0.2/24', device: 'up0' });
    node.run('sh', '-c', 'ip link set up0 down; ip link set up0 name eth0; ip link set eth0 up');
    await node.hasRoutes(...expected);
  });

  test('F16: the uplink is deleted and made anew under the same name', async () => {
    node.run('ip', 'link', 'delete', 'eth0');
    await until('the loss is told', async () => !(await node.readiness()).ready);
    node.plug();
    await node.hasRoutes(...expected);
    await node.ready();
  });

  test('the bridge is deleted, emptied, put down: it is back as it was', async () => {
    const bridge = () => {
      const link = node.run('ip', '-o', 'link', 'show', 'cni0');
      const parts = [/mtu \d+/, /link\/ether \S+/, /,UP/].map((pattern) => pattern.exec(link)?.[0]);
      return [...parts, /inet \S+/.exec(node.run('ip', '-o', '-4', 'address', 'show', 'cni0'))?.[0]].join(' ');
    };
    const before = bridge();
    expect(before).toContain(',UP inet 10.244.');
    for (const harm of ['link delete cni0', 'address flush dev cni0', 'link set cni0 down', 'link set cni0 mtu 1300']) {
      node.run('ip', ...harm.split(' '));
      await until(`after ${harm}`, () => {
        try {
          return bridge() === before;
        } catch {
          return false;
        }
      });
    }
  });

  test('the bridge is deleted: pods are its ports again, others’ links are not', async () => {
    for (const name of ['veth0a0b0c0d', 'stranger0', 'cali0a0b0c0d']) {
      node.run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', `p-${name}`);
    }
    node.run('ip', 'link', 'set', 'veth0a0b0c0d', 'master', 'cni0');
    for (const name of ['veth0a0b0c0d', 'cali0a0b0c0d']) {
      node.run('ip', 'link', 'set', name, 'alias', `godwit:${name}/eth0 net 10.244.9.9/24`);
    }
    const ports = () => node.run('ip', '-o', '-d', 'link', 'show', 'type', 'veth').split('\n');
    const isPort = (line: string) => /master cni0/.test(line) && /hairpin on/.test(line);
    node.run('ip', 'link', 'delete', 'cni0');
    await until('the pod is back', () => ports().some((line) => line.includes('veth0a0b0c0d') && isPort(line)));
    expect(ports().filter((line) => /(stranger0|cali0a0b0c0d)@/.test(line) && / master /.test(line))).toEqual([]);
    for (const name of ['veth0a0b0c0d', 'stranger0', 'cali0a0b0c0d']) node.run('ip', 'link', 'delete', name);
  });

  test('forwarding is switched off, nf_tables flushed: both come back', async () => {
    node.run('sh', '-c', 'echo 0 > /proc/sys/net/ipv4/ip_forward');
    await until('forwarding', () => node.run('cat', '/proc/sys/net/ipv4/ip_forward').trim() === '1');
    node.run('nft', 'flush', 'ruleset');
    await until('masquerading', () => node.run('nft', 'list', 'ruleset').includes('masquerade fully-random'));
  });

  test('the MTU of the uplink is the MTU of the bridge', async () => {
    node.run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
    await until('the bridge follows', () => node.run('ip', 'link', 'show', 'cni0').includes('mtu 1400'));
    node.run('ip', 'link', 'set', 'eth0', 'mtu', '1500');
    await until('and back', () => node.run('ip', 'link', 'show', 'cni0').includes('mtu 1500'));
  });

  test('a chain that drops forwarded packets is told', async () => {
    node.run(
      'nft',
      'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }',
    );
    const { ready } = await until('it is told', async () => {
      const now = await node.status();
      return now.warnings.join('\n').includes('chain ip filter FORWARD drops') && now;
    });
    expect(ready).toBe(true);
    node.run('nft', 'delete', 'table', 'ip', 'filter');
  });
});
