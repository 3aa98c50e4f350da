// A small cluster for tests: node namespaces on one switch, a real etcd on a unix socket, and the real agent, each its own
// process, as an operator would start it.
import { mkdirSync, mkdtempSync, rmSync, readFileSync, openSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Subprocess } from 'bun';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import type { NodeStatus, Readiness } from '../../src/status/mod.ts';
import { repositoryRoot } from '../../scripts/lib/process.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';
import { runPlugin } from '../support/cni.ts';
import { Monitor } from '../support/monitor.ts';
import type { PluginCall } from '../support/cni.ts';
import { TestNamespaces, until } from '../support/netns.ts';

export const PREFIX = '/coreos.com/network';
const MAIN = join(repositoryRoot, 'src/main.ts');

/** What is started so ends with this process, however that ends. */
const withUs = ['setpriv', '--pdeathsig', 'KILL'];

export interface ClusterOptions {
  /** Numbers of the nodes that get a namespace: node 2 has 10.168.0.2. */
  readonly nodes: readonly number[];
  readonly config?: Record<string, unknown>;
}

export class Cluster implements AsyncDisposable {
  readonly spaces = new TestNamespaces();
  readonly directory = mkdtempSync(join(tmpdir(), 'godwit-agent-'));
  readonly nodes = new Map<number, Node>();
  private etcd: Subprocess | undefined;
  store!: Datastore;

  get url(): string {
    return `unix://${this.directory}/localhost:2379`;
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster();
    process.on('exit', () => cluster.kill());
    cluster.store = await openDatastore(cluster.url, { requestTimeoutMs: 2_000 });
    await cluster.startEtcd();
    const config = { Network: '10.244.0.0/16', Backend: { Type: 'host-gw' }, ...options.config };
    await cluster.store.put(`${PREFIX}/config`, JSON.stringify(config));
    cluster.spaces.add('sw');
    cluster.spaces.run('sw', 'sh', '-c', 'ip link add br0 type bridge && ip link set br0 up');
    for (const number of options.nodes) cluster.addNode(number);
    return cluster;
  }

  /** Returns when it answers. */
  async startEtcd(): Promise<void> {
    const [client, peer] = ['unix://localhost:2379', 'unix://localhost:2380'];
    const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer];
    const rest = ['--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`, '--data-dir', 'data'];
    const log = openSync(`${this.directory}/etcd.log`, 'a');
    this.etcd = Bun.spawn([...withUs, 'etcd', ...urls, ...rest, '--unsafe-no-fsync'], {
      cwd: this.directory,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    const answer = () => {
      if (this.etcd?.exitCode !== null)
        throw new Error(readFileSync(`${this.directory}/etcd.log`, 'utf8').slice(-1500));
      return this.store.get('x').catch(() => undefined);
    };
    await until('etcd answers', answer);
  }

  signalEtcd(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.etcd?.kill(signal);
  }

  async stopEtcd(): Promise<void> {
    this.etcd?.kill('SIGKILL');
    await this.etcd?.exited;
    for (const port of [2379, 2380]) rmSync(`${this.directory}/localhost:${port}`, { force: true });
  }

  addNode(number: number): Node {
    const node = new Node(this, number);
    this.nodes.set(number, node);
    return node;
  }

  node(number: number): Node {
    const node = this.nodes.get(number);
    if (!node) throw new Error(`no node ${number}`);
    return node;
  }

  /** A lease as another node's flanneld would write it. */
  async putLease(subnet: string, publicIp: string, value: Record<string, unknown> = {}): Promise<void> {
    const { id } = await this.store.grantLease(3600);
    const text = JSON.stringify({ PublicIP: publicIp, PublicIPv6: null, BackendType: 'host-gw', ...value });
    await this.store.put(`${PREFIX}/subnets/${subnet.replace('/', '-')}`, text, id);
  }

  async deleteLease(subnet: string): Promise<void> {
    await this.store.delete(`${PREFIX}/subnets/${subnet.replace('/', '-')}`);
  }

  private kill(): void {
    for (const node of this.nodes.values()) node.process?.kill('SIGKILL');
    this.etcd?.kill('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]();
    this.kill();
    for (const node of this.nodes.values()) await node.process?.exited;
    await this.etcd?.exited;
    this.spaces[Symbol.dispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export class Node {
  readonly space: string;
  readonly directory: string;
  readonly address: string;
  readonly namespace: NetworkNamespace;
  process: Subprocess | undefined;
  private readonly cluster: Cluster;
  private readonly number: number;

  constructor(cluster: Cluster, number: number) {
    this.cluster = cluster;
    this.number = number;
    this.space = `n${number}`;
    this.address = `10.168.0.${number}`;
    this.directory = `${cluster.directory}/${this.space}`;
    mkdirSync(this.directory);
    this.namespace = cluster.spaces.add(this.space);
    this.plug();
    this.run('ip', 'link', 'set', 'lo', 'up');
  }

  /** The uplink, new. */
  plug(): void {
    const { spaces } = this.cluster;
    const here = spaces.name(this.space);
    spaces.run(
      'sw',
      'sh',
      '-c',
      `ip link add p${this.number} type veth peer name eth0 netns ${here} && ip link set p${this.number} master br0 up`,
    );
    this.run('sh', '-c', `ip link set eth0 up && ip address add ${this.address}/24 dev eth0`);
  }

  run(...command: string[]): string {
    return this.cluster.spaces.run(this.space, ...command);
  }

  /** What a runtime asks this node with about the container `name`, in the namespace of that name, of this pod. */
  podCall(name: string, pod = name): PluginCall {
    return {
      ...{ container: name, netns: this.cluster.spaces.path(name) },
      args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod};K8S_POD_UID=u`,
      config: {
        ...{ cniVersion: '1.1.0', name: 'k8s-pod-network', type: 'godwit' },
        socket: this.socket,
      },
    };
  }

  /** The plugin's. */
  get socket(): string {
    return `${this.directory}/run/cni.sock`;
  }

  /** A pod of that name on this node, by the real plugin: gives its first address. Its namespace has its name. */
  async addPod(name: string): Promise<string> {
    this.cluster.spaces.add(name);
    const answer = await runPlugin('ADD', this.podCall(name));
    if (answer.status !== 0) throw new Error(answer.stdout);
    return answer.json.ips![0]!.address.split('/')[0]!;
  }

  /** Host ends of routed pods. */
  podLinks(): string[] {
    const links = JSON.parse(this.run('ip', '-j', 'link')) as { ifname: string }[];
    return links.map(({ ifname }) => ifname).filter((name) => name.startsWith('cali'));
  }

  /** The agent's arguments; `--datastore` may be given anew. */
  arguments(extra: readonly string[] = []): string[] {
    const { directory } = this;
    const options = {
      ...{
        node: this.space,
        datastore: this.cluster.url,
        'run-dir': `${directory}/run`,
        'state-dir': `${directory}/state`,
      },
      'subnet-file': `${directory}/subnet.env`,
    };
    return ['agent', ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]), ...extra];
  }

  command(...args: string[]): string[] {
    const built = process.env['GODWIT_EXECUTABLE'];
    const program = built === undefined ? [process.execPath, MAIN] : built.split(' ');
    return ['ip', 'netns', 'exec', this.cluster.spaces.name(this.space), ...program, ...args];
  }

  start(extra: readonly string[] = [], prefix: readonly string[] = []): Subprocess {
    const log = openSync(`${this.directory}/log`, 'a');
    const command = [...withUs, ...prefix, ...this.command(...this.arguments(extra))];
    this.process = Bun.spawn(command, { cwd: this.directory, stdio: ['ignore', log, log] });
    closeSync(log);
    return this.process;
  }

  /** Starts the agent and waits until it is ready. */
  async up(extra: readonly string[] = []): Promise<void> {
    this.start(extra);
    await this.ready();
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.process?.kill(signal);
    await this.process?.exited;
    this.process = undefined;
  }

  log(): string {
    return readFileSync(`${this.directory}/log`, 'utf8');
  }

  async ask<T>(path: string): Promise<T | undefined> {
    try {
      const options = { unix: `${this.directory}/run/agent.sock`, signal: AbortSignal.timeout(2_000) };
      return (await (await fetch(`http://agent${path}`, options)).json()) as T;
    } catch {
      return undefined;
    }
  }

  readiness(): Promise<Readiness> {
    return until('the agent answers', () => this.ask<Readiness>('/readyz'));
  }

  status(): Promise<NodeStatus> {
    return until('the agent answers', () => this.ask<NodeStatus>('/status'));
  }

  async ready(): Promise<void> {
    let last: Readiness | undefined;
    try {
      await until(
        `${this.space} is ready`,
        async () => {
          if (this.process?.exitCode !== null) throw new Error(`the agent ended: ${this.log()}`);
          last = await this.ask<Readiness>('/readyz');
          return last?.ready;
        },
        40_000,
      );
    } catch (error) {
      throw new Error(`${String(error)}: ${JSON.stringify(last)}\n${this.log().slice(-1500)}`, { cause: error });
    }
  }

  /** Our routes, as `ip route` has them. */
  routes(): string[] {
    const text = this.run('ip', 'route', 'show', 'proto', '71');
    return text
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean)
      .sort();
  }

  async hasRoutes(...expected: string[]): Promise<void> {
    let have: string[] = [];
    try {
      await until('routes', () => (have = this.routes()).join('\n') === expected.toSorted().join('\n'));
    } catch {
      throw new Error(`want ${JSON.stringify(expected)}, have ${JSON.stringify(have)}\n${this.log().slice(-600)}`);
    }
  }

  /** Everything that forwards, as text: routes, addresses, links, nf_tables. */
  dataplane(): string {
    const show = 'ip route; ip -6 route | grep -v fe80; ip -o -4 address; ip -o link; nft -s list ruleset';
    return this.run('sh', '-c', show);
  }

  /** What `ip -4 monitor` tells until it is stopped. */
  monitor(...objects: string[]): Promise<Monitor> {
    return Monitor.start(this.cluster.spaces.name(this.space), 'ip', '-4', 'monitor', ...objects);
  }
}
