// A calendar that jumps while the agent runs (F27), and a disk that becomes read-only under it (F28).
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { libfaketime } from '../../scripts/lib/debian.ts';
import { runPlugin } from '../support/cni.ts';
import { run, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { Cluster } from './cluster.ts';
import type { Node } from './cluster.ts';

const here = have('the agent with a jumping clock and a read-only disk', 'ip', 'nft', 'etcd', 'nsenter', libfaketime);
const HOUR = 3600;

describe.skipIf(!here)('clock and disk', () => {
  let cluster: Cluster;
  let node: Node;
  let subnets = 0;
  const routes: string[] = [];

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2] });
    node = cluster.node(2);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  /** A lease of another node comes, and with it its route: all earlier ones are still there. */
  async function followsLeases(): Promise<void> {
    const subnet = `10.244.${200 + subnets++}.0/24`;
    await cluster.putLease(subnet, '10.168.0.3');
    routes.push(`${subnet} via 10.168.0.3 dev eth0`);
    await node.hasRoutes(...routes);
  }

  test('F27: the calendar jumps by hours and by days; timers, lease and routes do not notice', async () => {
    const file = `${cluster.directory}/calendar`;
    const jump = (seconds: number) => {
      writeFileSync(`${file}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`);
      renameSync(`${file}.new`, file);
    };
    jump(0);
    const fake = { LD_PRELOAD: libfaketime, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1' };
    // only the calendar moves, as when somebody sets the date
    const variables = { ...fake, DONT_FAKE_MONOTONIC: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' };
    node.start([], ['env', ...Object.entries(variables).map(([name, value]) => `${name}=${value}`)]);
    await node.ready();
    await followsLeases();
    const { lease } = await node.status();
    for (const seconds of [HOUR, -HOUR, 0, 72 * HOUR]) {
      jump(seconds);
      await followsLeases();
      const status = await node.status();
      expect(status.ready).toBe(true);
      expect(status.lease).toEqual(lease);
      expect(status.uptime).toBeLessThan(120);
      expect(status.routes.counters).toMatchObject({ deleted: 0, replaced: 0 });
    }
    expect(node.log()).not.toContain('lost');
    await node.stop();
    // it did see the other time
    const last = /.*"time":"([^"]+)"/s.exec(node.log())![1]!;
    expect(Date.parse(last)).toBeGreaterThan(Date.now() + 71 * HOUR * 1000);
  });

  test('F28: read-only under a running agent, over its death, and writable again', async () => {
    const disk = `${cluster.directory}/disk`;
    mkdirSync(disk);
    run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk);
    try {
      const options = ['--state-dir', `${disk}/state`, '--subnet-file', `${disk}/subnet.env`];
      node.start(options);
      await node.ready();
      const call = (name: string) => ({
        ...{ container: name, netns: cluster.spaces.path(name) },
        config: { cniVersion: '1.1.0', name: 'pods', type: 'godwit', socket: `${node.directory}/run/cni.sock` },
      });
      for (const name of ['before', 'during']) cluster.spaces.add(name);
      expect((await runPlugin('ADD', call('before'))).status).toBe(0);

      run('mount', '-o', 'remount,ro', disk);
      await followsLeases();
      expect((await runPlugin('ADD', call('during'))).json.code).toBe(5);
      expect((await node.status()).ready).toBe(true);

      // another MTU is another subnet.env, which cannot be written now
      await node.stop('SIGKILL');
      node.start([...options, '--mtu', '1400']);
      await until('it is told', async () => (await node.status()).reasons.some((r) => /subnet file: .*EROFS/.test(r)));
      await followsLeases();
      expect(node.run('ip', 'link', 'show', 'cni0')).toContain('mtu 1400');

      // for the agent, too: it was started with a view of its own, in which the mount was read-only
      run('mount', '-o', 'remount,rw', disk);
      const pid = readFileSync(`${node.directory}/run/agent.pid`, 'utf8').trim();
      run('nsenter', '-t', pid, '-m', 'mount', '-o', 'remount,rw', disk);
      await node.ready();
      expect((await runPlugin('ADD', call('during'))).status).toBe(0);
      for (const name of ['before', 'during']) expect((await runPlugin('DEL', call(name))).status).toBe(0);
      expect((await node.status()).cni.pods).toEqual([]);
      await node.stop();
    } finally {
      run('umount', '-l', disk);
    }
  });
});
