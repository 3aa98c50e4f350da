import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot } from '../../scripts/lib/process.ts';
import { silentLogger, systemClock } from '../../src/base/mod.ts';
import { createCniServer, installExecutable } from '../../src/cni/mod.ts';
import type { CniServer, CniServerOptions } from '../../src/cni/mod.ts';
import type { BridgeNetwork } from '../../src/desired/mod.ts';
import { ip, prefix } from '../../src/net/mod.ts';
import type { MacAddress } from '../../src/net/mod.ts';
import { addAddress, addLink, Rtnetlink } from '../../src/netlink/mod.ts';
import { until } from './netns.ts';
import type { TestNamespaces } from './netns.ts';

/** The complete program as the plugin, as it runs from a checkout. */
export const pluginFromSource = join(repositoryRoot, 'bin/godwit');

const installed = new Map<string, string>();

/** The plugin as it is installed for an agent's socket: the small executable, with the source as complete program. */
export function pluginFor(socketPath: string): string {
  let path = installed.get(socketPath);
  if (path === undefined) {
    const directory = mkdtempSync(join(tmpdir(), 'godwit-plugin-'));
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
    path = join(directory, 'godwit');
    installExecutable(path, socketPath, [pluginFromSource]);
    installed.set(socketPath, path);
  }
  return path;
}

function pluginOf({ config }: PluginCall): string {
  const socket: unknown = typeof config === 'object' && config !== null && 'socket' in config && config.socket;
  return typeof socket === 'string' && socket.startsWith('/') ? pluginFor(socket) : pluginFromSource;
}

export interface PluginCall {
  readonly container?: string;
  readonly interface?: string;
  readonly netns?: string;
  readonly args?: string;
  /** Becomes JSON; bytes go as they are. */
  readonly config: unknown;
  /** More variables, or other values of those above. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface PluginAnswer {
  readonly status: number;
  readonly stdout: string;
  /** stdout parsed; undefined when it is not JSON. */
  readonly json: PluginOutput;
}

/** What tests look at; everything is optional because the output decides. */
export interface PluginOutput {
  readonly cniVersion?: string;
  readonly code?: number;
  readonly msg?: string;
  readonly details?: string;
  readonly supportedVersions?: readonly string[];
  readonly interfaces?: readonly { name: string; mac?: string; mtu?: number; sandbox?: string }[];
  readonly ips?: readonly { address: string; gateway?: string; interface?: number; version?: string }[];
  readonly routes?: readonly { dst: string; gw?: string }[];
  readonly dns?: Readonly<Record<string, unknown>>;
}

/** Executes a plugin as a runtime does: environment, configuration on standard input, a clean environment otherwise. */
export async function runPlugin(verb: string, call: PluginCall, plugin = pluginOf(call)): Promise<PluginAnswer> {
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    CNI_COMMAND: verb,
    CNI_PATH: '/usr/lib/cni',
    ...(call.container !== undefined && { CNI_CONTAINERID: call.container }),
    ...(call.netns !== undefined && { CNI_NETNS: call.netns }),
    ...(call.args !== undefined && { CNI_ARGS: call.args }),
    CNI_IFNAME: call.interface ?? 'eth0',
    ...call.env,
  };
  const input = call.config instanceof Uint8Array ? call.config : new TextEncoder().encode(JSON.stringify(call.config));
  const child = Bun.spawn([plugin], { env, cwd: '/', stdin: input, stdout: 'pipe', stderr: 'pipe' });
  const [stdout, stderr, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  let json: PluginOutput = {};
  try {
    json = JSON.parse(stdout) as PluginOutput;
  } catch {
    if (stdout !== '') throw new Error(`${plugin} ${verb} printed what is not JSON: ${stdout}${stderr}`);
  }
  return { status, stdout, json };
}

export const testNetwork: BridgeNetwork = {
  bridge: 'cni0',
  mtu: 1450,
  subnets: [
    { subnet: prefix('10.244.1.0/24'), gateway: ip('10.244.1.1'), network: prefix('10.244.0.0/16') },
    { subnet: prefix('fd00:10:244:1::/64'), gateway: ip('fd00:10:244:1::1'), network: prefix('fd00:10:244::/48') },
  ],
};

export function makeBridge(network: BridgeNetwork = testNetwork): void {
  using netlink = new Rtnetlink();
  // an address of its own: else a bridge takes that of a port, and changes it as ports come and go
  const address = '0a:58:0a:f4:01:01' as MacAddress;
  netlink.change((b) => addLink(b, { kind: 'bridge', name: network.bridge, mtu: network.mtu, address, up: true }));
  const { index } = netlink.link(network.bridge)!;
  netlink.change((b) => {
    for (const { gateway, subnet } of network.subnets) {
      const flags = subnet.includes(':') ? { flags: 2 } : {};
      addAddress(b, index, { address: gateway, prefixLength: Number(subnet.split('/')[1]) }, flags);
    }
  });
}

/** The CNI half of an agent as a process of its own, in the namespace `host`, that a test can kill. */
export class AgentProcess implements AsyncDisposable {
  readonly pid: number;
  private readonly child: Bun.Subprocess<'ignore', 'pipe', 'inherit'>;

  private constructor(child: Bun.Subprocess<'ignore', 'pipe', 'inherit'>) {
    this.child = child;
    this.pid = child.pid;
  }

  /** Resolves when it answers; throws when it ends before. */
  static async start(
    namespace: string,
    node: { socketPath: string; stateDirectory: string },
    /** Of the agent that attaches routed pods. */
    datastore?: string,
  ): Promise<AgentProcess> {
    const script = join(repositoryRoot, `tests/support/cni-agent${datastore === undefined ? '' : '-routed'}.ts`);
    const command = [process.execPath, script, namespace, node.socketPath, node.stateDirectory, datastore ?? ''];
    const child = Bun.spawn(command, { env: { ...process.env }, stdio: ['ignore', 'pipe', 'inherit'] });
    const { value } = await child.stdout.getReader().read();
    if (value === undefined) throw new Error('the agent ended before it was ready');
    return new AgentProcess(child);
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.child.kill(signal);
    await this.child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** A node of its own: this process enters the namespace `host` for good and serves there. */
export class TestNode implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'godwit-cni-'));
  readonly socketPath = join(this.directory, 'run/cni.sock');
  readonly stateDirectory = join(this.directory, 'state');
  network: ReturnType<CniServerOptions['network']> = { ok: true, value: testNetwork };
  private readonly spaces: TestNamespaces;
  private stopping = new AbortController();
  private running: Promise<void> | undefined;
  server: CniServer | undefined;

  constructor(spaces: TestNamespaces) {
    this.spaces = spaces;
    spaces.add('host').enter();
    makeBridge();
  }

  async start(options: Partial<CniServerOptions> = {}): Promise<void> {
    this.stopping = new AbortController();
    const { socketPath, stateDirectory } = this;
    const network = () => this.network;
    this.server = createCniServer({
      ...{ socketPath, stateDirectory, network, log: silentLogger, clock: systemClock },
      ...options,
    });
    const server = this.server;
    this.running = server.run(this.stopping.signal);
    await Promise.race([this.running, until('the CNI server is ready', () => server.ready)]);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  config(more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    return { cniVersion: '1.1.0', name: 'pods', type: 'godwit', socket: this.socketPath, ...more };
  }

  /** A pod's namespace; gives its path. */
  pod(short: string): string {
    this.spaces.add(short);
    return this.spaces.path(short);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
