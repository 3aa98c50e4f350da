/**
 * Two racks for tests: a segment each with nodes and a gateway, a link between the gateways, a real etcd, and the real
 * agent on every node. What the gateways run is the test's business.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Subprocess } from 'bun';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import type { NodeStatus } from '../../src/status/mod.ts';
import { Daemon } from '../support/bgp/daemon.ts';
import { startServer } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { TestNamespaces, until } from '../support/netns.ts';

export const main = join(import.meta.dir, '../../src/main.ts');

/** Rack `a` is 192.168.1.0/24 behind gwa, rack `b` 192.168.2.0/24 behind gwb; the first node is .11. */
export const racks = {
  a: { subnet: '192.168.1', gateway: 'gwa', backbone: '10.0.0.1', nodeAs: 65101, gatewayAs: 65001 },
  b: { subnet: '192.168.2', gateway: 'gwb', backbone: '10.0.0.2', nodeAs: 65102, gatewayAs: 65002 },
} as const;
export type Rack = keyof typeof racks;
export const other = (rack: Rack): Rack => (rack === 'a' ? 'b' : 'a');

export class Racks implements AsyncDisposable {
  readonly spaces = new TestNamespaces();
  readonly directory = mkdtempSync(join(tmpdir(), 'godwit-racks-'));
  readonly daemons: Daemon[] = [];
  store!: Datastore;
  private server!: RunningStore;
  private readonly agents = new Map<string, Subprocess>();
  private ports = 0;

  static async start(datastore: 'embedded' | 'etcd' = 'embedded'): Promise<Racks> {
    const it = new Racks();
    const socket = join(it.directory, datastore === 'etcd' ? 'localhost:2379' : 'store.sock');
    it.server = await startServer(`unix://${socket}`, `unix://${socket}`, (data) =>
      datastore === 'etcd'
        ? ['sh', '-c', etcdScript(it.directory)]
        : [process.execPath, main, 'store', 'serve', '--listen', `unix://${socket}`, '--data', join(data, 'store')],
    );
    it.store = await openDatastore(it.server.url);
    for (const rack of ['a', 'b'] as const) {
      it.spaces.add(`sw${rack}`);
      it.spaces.run(`sw${rack}`, 'sh', '-c', 'ip link add br0 type bridge && ip link set br0 up');
      it.plug(racks[rack].gateway, rack, 1);
    }
    it.spaces.run(
      'gwa',
      ...['ip', 'link', 'add', 'core', 'type', 'veth', 'peer', 'name', 'core', 'netns', it.spaces.name('gwb')],
    );
    for (const rack of ['a', 'b'] as const) {
      const { gateway, backbone } = racks[rack];
      const remote = racks[other(rack)];
      it.shell(
        gateway,
        `ip link set core up; ip address add ${backbone}/30 dev core; ip route add ${remote.subnet}.0/24 via ${remote.backbone}`,
      );
    }
    return it;
  }

  get url(): string {
    return this.server.url;
  }

  /** A namespace with `eth0` on a rack's segment. */
  plug(name: string, rack: Rack, number: number): void {
    const port = `p${++this.ports}`;
    this.spaces.add(name);
    this.shell(
      `sw${rack}`,
      `ip link add ${port} type veth peer name eth0 netns ${this.spaces.name(name)} && ip link set ${port} master br0 up`,
    );
    this.shell(
      name,
      `sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.all.accept_redirects=0;
      ip link set lo up; ip link set eth0 up; ip address add ${racks[rack].subnet}.${number}/24 dev eth0`,
    );
  }

  shell(name: string, script: string): string {
    return this.spaces.run(name, 'sh', '-c', script);
  }

  /** A node with its default route and the real agent. */
  addNode(name: string, rack: Rack, number: number, extra: readonly string[] = []): void {
    this.plug(name, rack, number);
    // as address configuration by DHCP leaves it
    this.shell(name, `ip route add default via ${racks[rack].subnet}.1 metric 100`);
    this.startAgent(name, extra);
  }

  startAgent(name: string, extra: readonly string[] = []): void {
    const directory = this.of(name);
    mkdirSync(directory, { recursive: true });
    const log = openSync(join(directory, 'log'), 'a');
    const options = ['--node', name, '--datastore', this.url, '--network', 'blocks', '--run-dir', `${directory}/run`];
    const files = ['--state-dir', `${directory}/state`, '--subnet-file', `${directory}/subnet.env`];
    const inside = ['setpriv', '--pdeathsig', 'KILL', 'ip', 'netns', 'exec', this.spaces.name(name)];
    const command = [...inside, process.execPath, main, 'agent', ...options, ...files, ...extra];
    this.agents.set(name, Bun.spawn(command, { cwd: directory, stdio: ['ignore', log, log] }));
    closeSync(log);
  }

  /** A program of a gateway's, or beside it. */
  daemon(name: string, space: string): Daemon {
    const daemon = new Daemon(name, this.spaces.name(space));
    this.daemons.push(daemon);
    return daemon;
  }

  of(name: string): string {
    return join(this.directory, name);
  }

  log(name: string): string {
    return readFileSync(join(this.of(name), 'log'), 'utf8');
  }

  async status(name: string): Promise<NodeStatus | undefined> {
    try {
      const options = { unix: `${this.of(name)}/run/agent.sock`, signal: AbortSignal.timeout(2_000) };
      return (await (await fetch('http://agent/status', options)).json()) as NodeStatus;
    } catch {
      return undefined;
    }
  }

  /** Routes below a prefix as `DESTINATION via GATEWAY`, or `blackhole DESTINATION`. */
  routes(name: string, within = '10.233.0.0/16'): string[] {
    return this.spaces
      .run(name, 'ip', 'route', 'show', 'root', within)
      .split('\n')
      .flatMap(
        (line) =>
          /^((?:blackhole |unreachable )?[\d.]+(?:\/\d+)?)(?: nhid \d+)?(?: via ([\d.]+))?/.exec(line)?.slice(1) ?? [],
      )
      .reduce<string[]>((lines, part, i) => {
        if (i % 2 === 0) lines.push(part);
        else if (part !== undefined) lines.push(`${lines.pop()} via ${part}`);
        return lines;
      }, [])
      .sort();
  }

  async hasRoutes(name: string, ...expected: string[]): Promise<void> {
    let have: string[] = [];
    try {
      await until('routes', () => Bun.deepEquals((have = this.routes(name)), expected.toSorted()));
    } catch {
      const said = this.agents.has(name) ? this.log(name) : this.daemons.map((d) => d.log()).join('\n');
      throw new Error(`${name} has ${JSON.stringify(have)}\nwant ${JSON.stringify(expected)}\n${said.slice(-1500)}`);
    }
  }

  /** The address stands for a pod: the agent's own pods need a container runtime's hands. */
  pod(node: string, address: string): void {
    this.shell(node, `ip address replace ${address}/32 dev lo`);
  }

  pings(node: string, from: string, to: string): boolean {
    return this.spaces.status(node, 'ping', '-c', '1', '-W', '1', '-I', from, to) === 0;
  }

  /** Killed, so that the gateways' kernels are cleaned up after them. */
  async stopDaemons(): Promise<void> {
    for (const daemon of this.daemons.splice(0)) await daemon[Symbol.asyncDispose]();
    for (const { gateway } of Object.values(racks)) {
      this.shell(gateway, 'ip nexthop flush; ip route flush proto bgp; ip route flush proto bird; true');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopDaemons();
    for (const agent of this.agents.values()) agent.kill('SIGKILL');
    for (const agent of this.agents.values()) await agent.exited;
    await this.store[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    this.spaces[Symbol.dispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** On sockets in its working directory: namespaces share files and not loopback. */
function etcdScript(directory: string): string {
  const [client, peer] = ['unix://localhost:2379', 'unix://localhost:2380'];
  const clients = `--listen-client-urls ${client} --advertise-client-urls ${client} --listen-peer-urls ${peer}`;
  const cluster = `--initial-advertise-peer-urls ${peer} --initial-cluster default=${peer} --data-dir data`;
  return `cd ${directory} && exec etcd ${clients} ${cluster} --unsafe-no-fsync --log-level error`;
}
