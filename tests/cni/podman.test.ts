// A container runtime, not a stand-in for one: podman with runc on two nodes, each with the real agent, and the plugin as
// podman finds it. Containers made of Debian's static busybox fetch a page from each other over the agents' routes.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { Cluster } from '../agent/cluster.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { fetchPage, IMAGE, startPodman, stopPodman } from '../support/podman.ts';
import type { Podman } from '../support/podman.ts';

const here = have('podman with runc', 'podman', 'runc', 'busybox', 'etcd', 'ip', 'nft', 'iptables', 'nsenter');

describe.skipIf(!here)('podman with runc', () => {
  let cluster: Cluster;
  const hosts: Podman[] = [];

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2, 3] });
    for (const node of cluster.nodes.values()) node.start();
    for (const node of cluster.nodes.values()) await node.ready();
    hosts.push(...(await startPodman(cluster)));
  }, 90_000);
  afterAll(async () => {
    stopPodman(hosts);
    await cluster[Symbol.asyncDispose]();
  });

  const veths = (number: number): string[] =>
    cluster
      .node(number)
      .run('ip', '-o', 'link', 'show', 'type', 'veth')
      .split('\n')
      .filter((line) => line.includes('godwit:'));
  const addressOf = async (podman: Podman, name: string): Promise<string> =>
    JSON.parse(await podman.run('inspect', '-f', '{{json .NetworkSettings.Networks.pods.IPAddress}}', name)) as string;

  test('a page is fetched from the other node’s container, and from its own; nothing is left afterwards', async () => {
    const [a, b] = hosts as [Podman, Podman];
    const serve = ['httpd', '-f', '-p', '80', '-h', '/www'];
    await a.run('run', '-d', '--name', 'web-a', '-p', '8080:80', IMAGE, ...serve);
    await b.run('run', '-d', '--name', 'web-b', IMAGE, ...serve);
    const [addressA, addressB] = [await addressOf(a, 'web-a'), await addressOf(b, 'web-b')];
    expect(addressA.split('.').slice(0, 3)).not.toEqual(addressB.split('.').slice(0, 3));
    const fetches: [Podman, string][] = [
      [a, addressB],
      [b, addressA],
      [a, addressA],
    ];
    for (const [podman, address] of fetches) {
      const name = podman === a ? 'web-a' : 'web-b';
      const answer = await until(`a page from ${address}`, async () => {
        const { status, output } = await podman.try('exec', name, ...fetchPage(address));
        return status === 0 ? output : undefined;
      });
      expect(answer).toContain('hello from a container');
    }
    // a throw-away client, whose attachment lives as long as one request
    const page = await b.run('run', '--rm', IMAGE, ...fetchPage(addressA));
    expect(page).toContain('hello from a container');
    // the port that portmap, behind us in the chain, publishes on the first node's own address
    expect(await b.run('exec', 'web-b', ...fetchPage('10.168.0.2', 8080))).toContain('hello');
    expect([veths(2).length, veths(3).length]).toEqual([1, 1]);

    // podman asks for an address of its own choice by the capability
    const wanted = addressB.replace(/\d+$/, '200');
    await b.run('run', '-d', '--name', 'fixed', '--ip', wanted, IMAGE, 'sleep', '1000');
    expect(await addressOf(b, 'fixed')).toBe(wanted);
    expect(await b.run('exec', 'fixed', 'ip', 'route')).toContain(`default via ${addressB.replace(/\d+$/, '1')}`);

    // a restart is a DEL and an ADD of the same container id, in a new namespace
    await a.run('restart', '-t', '0', 'web-a');
    const moved = await addressOf(a, 'web-a');
    expect(await b.run('exec', 'web-b', ...fetchPage(moved))).toContain('hello');

    await a.run('rm', '-f', '-t', '0', 'web-a');
    await b.run('rm', '-f', '-t', '0', 'web-b', 'fixed');
    expect([veths(2), veths(3)]).toEqual([[], []]);
  });

  test('the agent is killed and back between a container’s start and its end', async () => {
    const [a] = hosts as [Podman];
    await a.run('run', '-d', '--name', 'lasting', IMAGE, 'sleep', '1000');
    const node = cluster.node(2);
    await node.stop('SIGKILL');
    // no agent: a new container is refused, in words; the one that runs can be removed all the same
    const refused = await a.try('run', '--rm', IMAGE, 'ip', 'address');
    expect(refused.status).not.toBe(0);
    expect(refused.output).toContain('godwit agent is not reachable');
    await a.run('rm', '-f', '-t', '0', 'lasting');
    await node.up();
    expect(veths(2)).toEqual([]);
    expect(await a.run('run', '--rm', IMAGE, 'ip', 'address')).toContain('scope global eth0');
  });
});
