/** The real programs of a lab: its datastore, and one agent a host, each as an operator would start it. */
import { existsSync, mkdirSync } from 'node:fs';
import { GodwitError, messageOf, sleep } from '../base/mod.ts';
import { openDatastore } from '../datastore/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { applyResources, claimBlocks } from './calico.ts';
import { configKey, DEFAULT_NETWORK_PREFIX, formatLeaseValue, subnetsName, subnetsPrefix } from '../ipam/mod.ts';
import { prefixAddress, prefixSize, nthAddress } from '../net/mod.ts';
import { NetworkNamespace, selfCommand } from '../sys/mod.ts';
import type { LabLayout } from './layout.ts';
import { addressOf, ipv4Of } from './machine.ts';
import { startDaemon, tailOf } from './process.ts';
import type { Daemon } from './process.ts';
import type { Machine, Topology } from './topology.ts';

const START_TIMEOUT_MS = 20_000;
/** More for each node that starts at the same time: they share this machine's processors. */
export const agentTimeoutMs = (nodes: number): number => START_TIMEOUT_MS + 2_000 * nodes;

/** etcd takes only HOST:PORT after `unix://`, and makes a socket of that name in its working directory. */
const ETCD_SOCKET = 'localhost:2379';

export function datastoreUrl(layout: LabLayout, kind: Topology['datastore']): string {
  return `unix://${layout.datastoreDirectory}/${kind === 'etcd' ? ETCD_SOCKET : 'store.sock'}`;
}

export function startDatastore(layout: LabLayout, kind: Topology['datastore']): Daemon {
  const directory = layout.datastoreDirectory;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  let command: string[];
  if (kind === 'embedded') {
    const listen = datastoreUrl(layout, kind);
    command = [...selfCommand(), 'store', 'serve', '--listen', listen, '--data', `${directory}/data`];
  } else {
    const etcd = Bun.which('etcd');
    if (etcd === null) {
      const hint = 'install it (Debian: apt-get install etcd-server), or use `datastore: embedded`';
      throw new GodwitError('program', 'the scenario asks for etcd, and there is none here', { hint });
    }
    const [client, peer] = [`unix://${ETCD_SOCKET}`, 'unix://localhost:2380'];
    const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer];
    const cluster = ['--name', 'lab', '--initial-advertise-peer-urls', peer, '--initial-cluster', `lab=${peer}`];
    command = [etcd, '--data-dir', `${directory}/data`, ...urls, ...cluster];
  }
  using namespace = NetworkNamespace.open(layout.datastoreNamespace);
  return startDaemon(namespace, command, { log: layout.datastoreLog, cwd: directory });
}

/** Waits until the datastore answers; throws when its process ends first. */
export async function openWhenReady(url: string, daemon: Daemon, log: string, signal: AbortSignal): Promise<Datastore> {
  const store = await openDatastore(url, { requestTimeoutMs: 1_000 });
  const socket = url.slice('unix://'.length);
  let last = 'it does not listen';
  const ready = await waitFor(daemon, log, 'the datastore', signal, async () => {
    if (!existsSync(socket)) return false;
    try {
      await store.get(configKey(DEFAULT_NETWORK_PREFIX));
      return true;
    } catch (error) {
      last = messageOf(error);
      return false;
    }
  }).catch(async (error: unknown) => {
    await store[Symbol.asyncDispose]();
    throw error;
  });
  if (ready) return store;
  await store[Symbol.asyncDispose]();
  throw failure(`the datastore is not ready after ${START_TIMEOUT_MS / 1000} s: ${last}`, log);
}

/** Writes what an administrator writes: Calico's resources, or the configuration of a Flannel network. */
export async function configureNetwork(layout: LabLayout, topology: Topology): Promise<void> {
  const { addressing, mode, datastore } = topology;
  await using store = await openDatastore(datastoreUrl(layout, datastore));
  await applyResources(store, topology);
  if (!addressing) return;
  const config = {
    Network: addressing.network,
    SubnetLen: addressing.subnetLength,
    // Flannel's default leaves the first subnet out, and the scenario may give it to a host
    SubnetMin: prefixAddress(addressing.network),
    SubnetMax: nthAddress(
      addressing.network,
      prefixSize(addressing.network) - (1n << BigInt(32 - addressing.subnetLength)),
    ),
    Backend: { Type: mode },
  };
  await store.put(configKey(DEFAULT_NETWORK_PREFIX), JSON.stringify(config));
}

/**
 * Before their agents start: the blocks that are to be a host's, or a reservation for each host that is to have a particular subnet (a lease key without a lease,
 * which only the host with that address takes).
 */
export async function reserve(layout: LabLayout, topology: Topology, hosts: readonly Machine[]): Promise<void> {
  await using store = await openDatastore(datastoreUrl(layout, topology.datastore));
  await claimBlocks(store, hosts);
  for (const host of hosts) {
    const { subnet } = host;
    if (subnet === undefined) continue;
    const key = `${subnetsPrefix(DEFAULT_NETWORK_PREFIX)}${subnetsName({ ipv4: subnet, ipv6: undefined })}`;
    const attributes = { publicIp: ipv4Of(host), publicIpv6: undefined, backendType: topology.mode };
    await store.put(key, formatLeaseValue(attributes));
  }
}

export function startAgent(layout: LabLayout, topology: Topology, host: Machine, datastore: string): Daemon {
  const directory = layout.hostDirectory(host.name);
  for (const part of ['run', 'state']) mkdirSync(`${directory}/${part}`, { recursive: true, mode: 0o700 });
  const [ipv4, ipv6] = [addressOf(host, 4), addressOf(host, 6)];
  const options = {
    node: host.name,
    datastore,
    ...(ipv4 && { address: ipv4 }),
    ...(ipv6 && { address6: ipv6 }),
    'run-dir': `${directory}/run`,
    'state-dir': `${directory}/state`,
    'subnet-file': `${directory}/run/subnet.env`,
    ...(topology.mode === 'calico' && { network: 'blocks' }),
    ...(topology.announcers.length > 0 && { 'other-segments': 'gateway' }),
  };
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  using namespace = NetworkNamespace.open(layout.namespace(host.name));
  return startDaemon(namespace, [...selfCommand(), 'agent', ...flags], { log: layout.agentLog(host.name) });
}

/** Waits until the agent says it is ready: it has its subnet and every other host's route is in the kernel. */
export async function waitForAgent(
  layout: LabLayout,
  host: string,
  daemon: Daemon,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<void> {
  const log = layout.agentLog(host);
  let last = 'it does not listen';
  const ready = await waitFor(
    daemon,
    log,
    `the agent of ${host}`,
    signal,
    async () => {
      const answer = await askAgent(layout, host, '/readyz');
      if (answer) last = answer.text.trim();
      return answer?.ok === true;
    },
    timeoutMs,
  );
  if (!ready) throw failure(`the agent of ${host} is not ready after ${timeoutMs / 1000} s: ${last}`, log);
}

/** Asks the agent's own socket; undefined when nothing listens there. */
export async function askAgent(
  layout: LabLayout,
  host: string,
  path: string,
): Promise<{ ok: boolean; text: string } | undefined> {
  try {
    const response = await fetch(`http://agent${path}`, {
      unix: layout.agentSocket(host),
      signal: AbortSignal.timeout(2_000),
    });
    return { ok: response.ok, text: await response.text() };
  } catch {
    return undefined;
  }
}

/** False after the time is up; throws when the program ends, or on abort. */
export async function waitFor(
  daemon: Daemon,
  log: string,
  who: string,
  signal: AbortSignal,
  isReady: () => Promise<boolean>,
  timeoutMs = START_TIMEOUT_MS,
): Promise<boolean> {
  let ended: string | undefined;
  void daemon.ended.then((how) => (ended = how));
  const end = performance.now() + timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    if (await isReady()) return true;
    if (ended !== undefined) throw failure(`${who} ended (${ended})`, log);
    if (performance.now() > end) return false;
    await sleep(50, signal);
  }
}

export function failure(message: string, log: string): GodwitError {
  const tail = tailOf(log, 8);
  return new GodwitError('program', message, {
    hint: tail.length === 0 ? 'it wrote no log' : `its log ends:\n${tail.join('\n')}`,
  });
}
