// The agent ends, hangs, starts again, starts twice, or only looks (F09, F10, F27, F28); and IPv6.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { Monitor } from '../support/monitor.ts';
import { run, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';
import type { Node } from './cluster.ts';

const here = have('restarts of the agent', 'ip', 'nft', 'etcd', 'unshare');

describe.skipIf(!here)('restarts', () => {
  let cluster: Cluster;
  let node: Node;
  const route = (n: number) => `10.244.${n}.0/24 via 10.168.0.${n} dev eth0`;
  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2, 3] });
    for (const n of [201, 202]) await cluster.putLease(`10.244.${n}.0/24`, `10.168.0.${n}`);
    node = cluster.node(2);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const godwit = (...args: string[]) => {
    const [program, ...rest] = node.command(...args);
    const { status, stdout, stderr } = spawnSync(program!, rest, { encoding: 'utf8', timeout: 20_000 });
    return { status, stdout, stderr };
  };

  test('a dry run says what would be changed, and changes nothing', () => {
    const before = node.dataplane();
    const { status, stdout, stderr } = godwit(...node.arguments(['--dry-run']));
    expect([status, stderr]).toEqual([0, '']);
    for (const line of [
      'sysctl -w net.ipv4.ip_forward=1',
      'ip route add 10.244.201.0/24 via 10.168.0.201 dev eth0 proto 71',
      'add chain inet godwit postrouting { type nat hook postrouting priority 100; policy accept; }',
      '# lease: none carries this node’s address; a subnet would be taken, and bridge and pods follow from it',
    ]) {
      expect(stdout.split('\n')).toContain(line);
    }
    expect(node.dataplane()).toBe(before);
    const without = godwit(...node.arguments(['--dry-run', '--datastore', 'unix:///nowhere/store.sock']));
    expect(without.status).toBe(1);
    expect(without.stderr).toContain('the datastore does not answer');
  });

  test('F10: killed, and started again: adopted, and the kernel tells no event at all', async () => {
    await node.up();
    await node.hasRoutes(route(201), route(202));
    // the kernel reports the bridge's missing carrier a moment after it was made
    await until('the bridge is settled', () => node.run('ip', 'link', 'show', 'cni0').includes('NO-CARRIER'));
    const before = node.dataplane();
    const lease = (await node.status()).lease;
    const monitor = await node.monitor('route', 'link', 'address', 'rule', 'neigh');
    const tables = await Monitor.start(cluster.spaces.name('n2'), 'nft', 'monitor');
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
      await node.stop(signal);
      expect(node.dataplane()).toBe(before);
      await node.up();
      expect((await node.status()).lease).toEqual(lease);
    }
    expect(node.dataplane()).toBe(before);
    expect(await monitor.stop()).toBe('');
    expect(await tables.stop()).toBe('');
  });

  test('a dry run on a node where all is in place has nothing to change', () => {
    const { stdout } = godwit(...node.arguments(['--dry-run']));
    expect(stdout).toContain('# sysctl, masquerade, bridge, subnet file: nothing to change');
    expect(stdout).toContain('# routes: nothing to change');
    expect(stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toEqual([]);
  });

  test('a node that went away meanwhile: its route goes after the first full list, and only it', async () => {
    await node.stop('SIGKILL');
    await cluster.deleteLease('10.244.202.0/24');
    // nothing is swept while the datastore has not told its picture
    cluster.signalEtcd('SIGSTOP');
    node.start();
    await until('the agent answers', () => node.ask('/readyz'));
    await Bun.sleep(1_000);
    expect(node.routes()).toEqual([route(201), route(202)]);
    expect((await node.status()).datastore.state).toBe('connecting');
    const monitor = await node.monitor('route');
    cluster.signalEtcd('SIGCONT');
    await node.hasRoutes(route(201));
    await node.ready();
    expect((await monitor.stop()).trim().split('\n')).toEqual([expect.stringContaining('Deleted 10.244.202.0/24')]);
  });

  test('a hang: nothing is lost, and the agent goes on', async () => {
    const before = node.dataplane();
    node.process?.kill('SIGSTOP');
    await cluster.putLease('10.244.206.0/24', '10.168.0.206');
    expect(node.dataplane()).toBe(before);
    node.process?.kill('SIGCONT');
    await node.hasRoutes(route(201), route(206));
    await cluster.deleteLease('10.244.206.0/24');
    await node.hasRoutes(route(201));
  });

  test('a second agent on the node is refused, and says by whom', () => {
    const { status, stderr } = godwit(...node.arguments(['--log-level', 'error']));
    expect(status).toBe(1);
    expect(stderr).toMatch(/another agent runs in this network namespace \(process \d+\)/);
    expect(node.routes()).toEqual([route(201)]);
  });

  test('status, routes and metrics as people and machines read them', async () => {
    const socket = ['--socket', `${node.directory}/run/agent.sock`];
    expect(godwit('node', 'status', ...socket).stdout).toMatch(/ready +yes/);
    expect(JSON.parse(godwit('node', 'status', '--json', ...socket).stdout)).toMatchObject({ ready: true, node: 'n2' });
    expect(godwit('node', 'routes', ...socket).stdout).toMatch(/10\.244\.201\.0\/24 +10\.168\.0\.201 +eth0 +installed/);
    expect(godwit('node', 'status', '--socket', '/nowhere').stderr).toContain('no agent answers on /nowhere');
    const detect = godwit('node', 'detect', '--json', '--method', 'cidr=10.168.0.0/16');
    expect(JSON.parse(detect.stdout)).toMatchObject([{ choice: { address: '10.168.0.2', device: 'eth0' } }, {}]);
    const script = "console.log((await fetch('http://127.0.0.1:9470/readyz')).status)";
    expect(node.run(process.execPath, '-e', script).trim()).toBe('200');
    const metrics = await fetch('http://agent/metrics', { unix: `${node.directory}/run/agent.sock` });
    const text = await metrics.text();
    expect(text).toContain('godwit_ready 1');
    expect(text).toContain('godwit_routes{state="installed"} 1');
    const post = await fetch('http://agent/status', { unix: `${node.directory}/run/agent.sock`, method: 'POST' });
    expect(post.status).toBe(405);
  });

  test('F28: subnet.env cannot be written: told, not ready; then the disk has room again', async () => {
    await node.stop();
    const file = `${node.directory}/full/subnet.env`;
    mkdirSync(`${node.directory}/full`);
    // a small file system that is full, in a mount namespace of the agent's own
    const mount = `mount -t tmpfs -o size=16k tmpfs ${node.directory}/full; cat /dev/zero > ${node.directory}/full/fill; exec "$@"`;
    node.start(['--subnet-file', file, '--listen', 'off'], ['unshare', '-m', 'sh', '-c', `${mount} 2>/dev/null`, 'sh']);
    await until('it is told', async () => (await node.status()).reasons.some((r) => /subnet file: .*ENOSPC/.test(r)));
    await node.hasRoutes(route(201));
    rmSync(`/proc/${node.process!.pid}/root${node.directory}/full/fill`);
    await node.ready();
    await node.stop();
  });

  test('F27: a clock that started elsewhere', async () => {
    node.start([], ['unshare', '--time', '--monotonic', '100000', '--boottime', '100000', '--fork', '--kill-child']);
    await node.ready();
    await node.hasRoutes(route(201));
    await node.stop('SIGKILL');
    await until('it is gone', () => run('ip', 'netns', 'pids', cluster.spaces.name('n2')).trim() === '');
  });

  test('configuration by file and environment; the address must be there', async () => {
    const file = `${node.directory}/agent.yaml`;
    const { directory } = node;
    writeFileSync(
      file,
      `node: n2\ndatastore: ${cluster.url}\nrunDir: ${directory}/run\nstateDir: ${directory}/state\nsubnetFile: ${directory}/subnet.env\naddress: 10.168.0.77\n`,
    );
    const [program, ...rest] = node.command('agent', '--config', file);
    node.process = Bun.spawn([program!, ...rest], {
      env: { ...process.env, GODWIT_LOG_LEVEL: 'error' },
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    const status = await until('it says why', async () => {
      const s = await node.ask<{ reasons: string[]; ready: boolean }>('/status');
      return s?.reasons.some((r) => r.startsWith('address: 10.168.0.77: no address of the family')) === true
        ? s
        : undefined;
    });
    expect(status.ready).toBe(false);
    node.run('ip', 'address', 'add', '10.168.0.77/24', 'dev', 'eth0');
    await node.ready();
    await node.stop();
    node.run('ip', 'address', 'del', '10.168.0.77/24', 'dev', 'eth0');
  });
});

describe.skipIf(!here)('two families', () => {
  test('dual stack: subnets, routes, forwarding and masquerading for both', async () => {
    await using cluster = await Cluster.start({
      nodes: [2, 3],
      config: { EnableIPv6: true, IPv6Network: 'fc00:244::/48' },
    });
    for (const [number, node] of cluster.nodes)
      node.run('ip', 'address', 'add', `fd00::${number}/64`, 'dev', 'eth0', 'nodad');
    for (const node of cluster.nodes.values()) node.start();
    for (const node of cluster.nodes.values()) await node.ready();
    const [first, second] = [cluster.node(2), cluster.node(3)];
    const [ipv4, ipv6] = (await second.status()).lease!.subnets;
    await first.hasRoutes(`${ipv4} via 10.168.0.3 dev eth0`);
    await until('the IPv6 route', () =>
      first.run('ip', '-6', 'route', 'show', 'proto', '71').includes(`${ipv6} via fd00::3 dev eth0`),
    );
    await first.ready();
    expect(first.run('cat', '/proc/sys/net/ipv6/conf/all/forwarding').trim()).toBe('1');
    expect(first.run('nft', 'list', 'ruleset')).toContain('ip6 saddr fc00:244::/48 masquerade');
    const gateway = (await first.status()).bridge?.addresses.at(-1);
    expect(first.run('ip', '-6', 'address', 'show', 'cni0')).toContain(gateway!);
    first.run('ip', '-6', 'route', 'flush', 'proto', '71');
    await until('it comes back', () => first.run('ip', '-6', 'route', 'show', 'proto', '71').includes(String(ipv6)));
  });
});
