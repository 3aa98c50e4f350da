// A container runtime, not a stand-in for one: podman with runc on two nodes, each with the real agent, and the plugin as
// podman finds it. Containers made of Debian's static busybox fetch a page from each other over the agents' routes.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installExecutable } from '../../src/cni/mod.ts';
import { Cluster } from '../agent/cluster.ts';
import type { Node } from '../agent/cluster.ts';
import { pluginFromSource } from '../support/cni.ts';
import { run, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('podman with runc', 'podman', 'runc', 'busybox', 'etcd', 'ip', 'nft', 'iptables', 'nsenter');
const IMAGE = 'localhost/busybox:test';
const TIMEOUT_MS = 60_000;

/** A page by HTTP, in a container. Not wget: Debian's static busybox dies looking up the service name. */
const fetchPage = (address: string, port = 80): string[] => {
  return ['sh', '-c', `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} ${port}`];
};

/** Podman as it would be on that node: its network namespace, its own storage, its CNI configuration. */
class Podman {
  private readonly node: Node;
  private readonly directory: string;
  private readonly environment: Record<string, string>;

  constructor(node: Node) {
    this.node = node;
    this.directory = join(node.directory, 'podman');
    const { directory } = this;
    for (const name of ['net.d', 'plugins', 'tmp']) mkdirSync(join(directory, name), { recursive: true });
    // the plugins of a host: ours beside Debian's
    const socket = `${node.directory}/run/cni.sock`;
    installExecutable(join(directory, 'plugins/godwit'), socket, [pluginFromSource]);
    symlinkSync('/usr/lib/cni/portmap', join(directory, 'plugins/portmap'));
    const conflist = {
      ...{ cniVersion: '0.4.0', name: 'pods' },
      plugins: [
        { type: 'godwit', socket, capabilities: { ips: true, mac: true } },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    };
    writeFileSync(join(directory, 'net.d/10-pods.conflist'), JSON.stringify(conflist));
    const settings = `
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]

[network]
network_backend = "cni"
cni_plugin_dirs = ["${directory}/plugins"]
network_config_dir = "${directory}/net.d"
default_network = "pods"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "${directory}/tmp"
`;
    writeFileSync(join(directory, 'containers.conf'), settings);
    this.environment = {
      ...{ PATH: process.env['PATH'] ?? '', HOME: directory, TMPDIR: join(directory, 'tmp') },
      ...{ CONTAINERS_CONF: join(directory, 'containers.conf'), XDG_RUNTIME_DIR: join(directory, 'tmp') },
    };
  }

  private command(args: readonly string[]): string[] {
    const storage = ['--root', join(this.directory, 'root'), '--runroot', join(this.directory, 'runroot')];
    // nsenter, not `ip netns exec`: that would mount a fresh /sys, without cgroups
    const enter = ['nsenter', `--net=${this.node.namespace.path}`];
    return [...enter, 'podman', '--storage-driver', 'vfs', ...storage, ...args];
  }

  /** Gives the status and what was printed; a pipe that a container keeps open is not waited for. */
  async try(...args: string[]): Promise<{ status: number; output: string }> {
    const [program, ...rest] = this.command(args);
    const child = spawn(program!, rest, {
      env: this.environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (piece: Buffer) => (output += piece.toString()));
    const { promise, resolve } = Promise.withResolvers<number>();
    child.on('exit', (status) => setTimeout(resolve, 20, status ?? -1));
    return { status: await promise, output };
  }

  async run(...args: string[]): Promise<string> {
    const { status, output } = await this.try(...args);
    if (status !== 0) throw new Error(`podman ${args.join(' ')}: ${output}\n${this.node.log().slice(-2000)}`);
    return output.trim();
  }

  /** Everything away, whatever state it is in. */
  clean(): void {
    for (const args of [
      ['rm', '-fa', '-t', '0'],
      ['rmi', '-fa'],
    ]) {
      const [program, ...rest] = this.command(args);
      spawnSync(program!, rest, { env: this.environment, stdio: 'ignore', timeout: TIMEOUT_MS });
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

describe.skipIf(!here)('podman with runc', () => {
  let cluster: Cluster;
  const hosts: Podman[] = [];

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes: [2, 3] });
    for (const node of cluster.nodes.values()) node.start();
    for (const node of cluster.nodes.values()) await node.ready();
    const root = join(cluster.directory, 'image');
    for (const name of ['bin', 'www', 'etc', 'proc', 'sys', 'dev', 'tmp'])
      mkdirSync(join(root, name), { recursive: true });
    copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
    chmodSync(join(root, 'bin/busybox'), 0o755);
    for (const applet of ['sh', 'httpd', 'nc', 'ip', 'cat', 'sleep', 'ping'])
      symlinkSync('busybox', join(root, 'bin', applet));
    writeFileSync(join(root, 'www/index.html'), 'hello from a container\n');
    const archive = join(cluster.directory, 'image.tar');
    run('tar', '-C', root, '-cf', archive, '.');
    for (const node of cluster.nodes.values()) {
      const podman = new Podman(node);
      hosts.push(podman);
      await podman.run('import', '-q', archive, IMAGE);
    }
  }, 90_000);
  afterAll(async () => {
    for (const podman of hosts) podman.clean();
    // podman's parent group stays behind; empty by now, unless somebody else's containers run here
    run('sh', '-c', 'rmdir /sys/fs/cgroup/*/libpod_parent 2>/dev/null || true');
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
