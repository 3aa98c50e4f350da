// As podman.test.ts, on nodes of Calico's network: containers behind routes of their own, addresses from blocks.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { Cluster } from '../agent/cluster.ts';
import { poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { fetchPage, IMAGE, startPodman, stopPodman } from '../support/podman.ts';
import type { Podman } from '../support/podman.ts';

const programs = ['podman', 'runc', 'busybox', 'etcd', 'ip', 'nft', 'iptables', 'nsenter'];
const here = have('podman with runc, routed', ...programs);

describe.skipIf(!here)('podman with runc, routed', () => {
  let cluster: Cluster;
  const hosts: Podman[] = [];

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2, 3] });
    await putResource(cluster.store, poolOf('10.233.0.0/16', { natOutgoing: true }));
    for (const node of cluster.nodes.values()) node.start(['--network', 'blocks']);
    for (const node of cluster.nodes.values()) await node.ready();
    hosts.push(...(await startPodman(cluster)));
  }, 90_000);
  afterAll(async () => {
    stopPodman(hosts);
    await cluster[Symbol.asyncDispose]();
  });

  const addressOf = async (podman: Podman, name: string): Promise<string> =>
    JSON.parse(await podman.run('inspect', '-f', '{{json .NetworkSettings.Networks.pods.IPAddress}}', name)) as string;
  const inUse = async (): Promise<number> => (await cluster.store.list('/calico/ipam/v2/handle/')).kvs.length;

  test('a page is fetched from the other node’s container; nothing is left afterwards', async () => {
    const [a, b] = hosts as [Podman, Podman];
    const serve = ['httpd', '-f', '-p', '80', '-h', '/www'];
    await until('the first container starts', async () => {
      const started = await a.try('run', '-d', '--replace', '--name', 'web-a', '-p', '8080:80', IMAGE, ...serve);
      return started.status === 0;
    });
    await b.run('run', '-d', '--name', 'web-b', IMAGE, ...serve);
    const [addressA, addressB] = [await addressOf(a, 'web-a'), await addressOf(b, 'web-b')];
    expect(await a.run('exec', 'web-a', 'ip', 'route')).toContain('default via 169.254.1.1 dev eth0');
    for (const [podman, name, address] of [
      [a, 'web-a', addressB],
      [b, 'web-b', addressA],
    ] as const) {
      const answer = await until(`a page from ${address}`, async () => {
        const { status, output } = await podman.try('exec', name, ...fetchPage(address));
        return status === 0 ? output : undefined;
      });
      expect(answer).toContain('hello from a container');
    }
    // the port that portmap, behind us in the chain, publishes on the first node's own address
    expect(await b.run('exec', 'web-b', ...fetchPage('10.168.0.2', 8080))).toContain('hello');
    // podman asks for an address of its own choice by the capability
    await b.run('run', '-d', '--name', 'fixed', '--ip', '10.233.77.5', IMAGE, 'sleep', '1000');
    expect(await addressOf(b, 'fixed')).toBe('10.233.77.5');
    // a restart is a DEL and an ADD of the same container id, in a new namespace
    await a.run('restart', '-t', '0', 'web-a');
    const moved = await addressOf(a, 'web-a');
    expect(await b.run('exec', 'web-b', ...fetchPage(moved))).toContain('hello');
    expect(await inUse()).toBe(3);
    await a.run('rm', '-f', '-t', '0', 'web-a');
    await b.run('rm', '-f', '-t', '0', 'web-b', 'fixed');
    await until('every address is given back', async () => (await inUse()) === 0);
    for (const n of [2, 3]) expect(cluster.node(n).run('ip', '-o', 'link')).not.toContain('cali');
  });
});
