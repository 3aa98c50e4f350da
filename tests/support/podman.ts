/** A container runtime on a node of a test: podman with runc, which starts the plugin as it finds it. */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installExecutable } from '../../src/cni/mod.ts';
import type { Cluster, Node } from '../agent/cluster.ts';
import { pluginFromSource } from './cni.ts';
import { run } from './netns.ts';

export const IMAGE = 'localhost/busybox:test';
const TIMEOUT_MS = 60_000;

/** A page by HTTP, in a container. Not wget: Debian's static busybox dies looking up the service name. */
export const fetchPage = (address: string, port = 80): string[] => {
  return ['sh', '-c', `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} ${port}`];
};

/** Podman as it would be on that node: its network namespace, its own storage, its CNI configuration. */
export class Podman {
  private readonly node: Node;
  private readonly directory: string;
  /** Podman takes no path of more than 50 characters for it. */
  private readonly runRoot = mkdtempSync(join(tmpdir(), 'p-'));
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
    const storage = ['--root', join(this.directory, 'root'), '--runroot', this.runRoot];
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
    for (const path of [this.directory, this.runRoot]) rmSync(path, { recursive: true, force: true });
  }
}

/** Nodes with podman and an image of busybox on each, all in `cluster`'s directory. */
export async function startPodman(cluster: Cluster): Promise<Podman[]> {
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
  const hosts: Podman[] = [];
  for (const node of cluster.nodes.values()) {
    const podman = new Podman(node);
    hosts.push(podman);
    await podman.run('import', '-q', archive, IMAGE);
  }
  return hosts;
}

export function stopPodman(hosts: readonly Podman[]): void {
  for (const podman of hosts) podman.clean();
  // podman's parent group stays behind; empty by now, unless somebody else's containers run here
  run('sh', '-c', 'rmdir /sys/fs/cgroup/*/libpod_parent 2>/dev/null || true');
}
