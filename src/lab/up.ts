/**
 * Bringing a lab up, in the order in which things need each other: wires, datastore, agents, pods. The manifest says what
 * will be made before any of it is. What fails or is interrupted half way is taken down again.
 */
import { GodwitError } from '../base/mod.ts';
import type { LoadedScenario } from './bundled.ts';
import { takeDown } from './down.ts';
import type { LabLayout } from './layout.ts';
import { bootId, claimLab, lockLab, myself, ownerOf, readManifest, writeManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { makeMachine, makeNamespace, makeSwitch, namespacesOf, refuseForeign } from './network.ts';
import { configureNetwork, datastoreUrl, openWhenReady, startAgent, startDatastore, waitForAgent } from './programs.ts';
import type { Daemon } from './process.ts';
import { attachPod, installPlugin } from './runtime.ts';
import type { Machine, Topology } from './topology.ts';

export interface UpOptions {
  /** One line a step. */
  readonly tell: (line: string) => void;
  /** Aborted: what is up so far is taken down again. */
  readonly signal: AbortSignal;
  /** Aborted when taking down shall not wait for anybody. */
  readonly force?: AbortSignal;
  /** The lab goes when this process does (`lab run`), as `lab list` and `lab down` need to know. */
  readonly hold: boolean;
}

export async function bringUp(layout: LabLayout, scenario: LoadedScenario, options: UpOptions): Promise<void> {
  const { topology, source, text } = scenario;
  const namespaces = namespacesOf(layout, topology);
  const manifest: Manifest = {
    version: 1,
    name: layout.name,
    source,
    scenario: text,
    state: 'starting',
    created: Date.now(),
    boot: bootId(),
    owner: myself(),
    namespaces,
    processes: {},
    pods: {},
  };
  refuseExisting(layout);
  refuseForeign(namespaces);
  if (!claimLab(layout, manifest)) throw exists(layout, 'already there');
  try {
    using _lock = lockLab(layout);
    await build(layout, topology, manifest, options);
    manifest.state = 'up';
    if (!options.hold) delete manifest.owner;
    writeManifest(layout, manifest);
  } catch (error) {
    options.tell(
      options.signal.aborted ? 'interrupted: taking down what is there' : 'failed: taking down what is there',
    );
    await takeDown(layout, { graceMs: 2_000, ...(options.force && { force: options.force }) });
    throw options.signal.aborted ? new GodwitError('interrupted', 'interrupted') : error;
  }
}

function refuseExisting(layout: LabLayout): void {
  const read = readManifest(layout);
  if (!read.ok) {
    if (read.error.kind !== 'absent') throw read.error;
    return;
  }
  const owner = ownerOf(read.value);
  if (owner) throw exists(layout, `held by process ${owner.pid}`);
  throw exists(layout, read.value.state === 'up' ? 'already up' : 'there in part: what was working on it was killed');
}

function exists(layout: LabLayout, state: string): GodwitError {
  const { name } = layout;
  const hint = `look at it: godwit lab check ${name}; take it down: godwit lab down ${name}; or choose another name: --name`;
  return new GodwitError('exists', `the lab ${name} is ${state}`, { hint });
}

async function build(layout: LabLayout, topology: Topology, manifest: Manifest, options: UpOptions): Promise<void> {
  const { tell, signal } = options;
  const step = (line: string) => {
    signal.throwIfAborted();
    tell(line);
  };
  for (const segment of topology.segments) {
    step(`${segment.name}: switch for ${segment.prefix}`);
    makeSwitch(layout, segment);
  }
  for (const machine of topology.machines) {
    step(`${machine.name}: ${machine.role} with ${describeInterfaces(machine)}`);
    makeMachine(layout, machine);
  }
  const hosts = topology.machines.filter((machine) => machine.agent);
  if (hosts.length === 0) return;

  const record = (who: string, daemon: Daemon) => {
    manifest.processes[who] = daemon.id;
    writeManifest(layout, manifest);
    return daemon;
  };
  step(`datastore: ${topology.datastore === 'etcd' ? 'etcd' : 'godwit store serve'}`);
  makeNamespace(layout, layout.datastoreNamespace)[Symbol.dispose]();
  const url = datastoreUrl(layout, topology.datastore);
  const datastore = record('datastore', startDatastore(layout, topology.datastore));
  {
    await using store = await openWhenReady(url, datastore, layout.datastoreLog, signal);
    await configureNetwork(store, topology);
  }
  step(`${hosts.map((host) => host.name).join(', ')}: godwit agent`);
  const agents = hosts.map((host) => ({ host, daemon: record(host.name, startAgent(layout, host, url)) }));
  for (const host of hosts) installPlugin(layout, host.name);
  await together(agents, signal, async ({ host, daemon }, stop) => {
    await waitForAgent(layout, host.name, daemon, stop);
    step(`${host.name}: ready, every other host's route is in its kernel`);
  });
  // hosts at the same time, the pods of one host in order: so the addresses are the same every time
  await together(hosts, signal, async (host, stop) => {
    for (const pod of topology.pods.filter((p) => p.host === host.name)) {
      stop.throwIfAborted();
      const address = await attachPod(layout, pod, stop);
      manifest.pods[pod.name] = address;
      writeManifest(layout, manifest);
      step(`${pod.name}: ${address} on ${host.name}`);
    }
  });
}

/** Runs all at once; the first failure stops the others, and nothing is under way any more when it is thrown. */
async function together<T>(
  items: readonly T[],
  signal: AbortSignal,
  run: (item: T, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  const errors: unknown[] = [];
  const guarded = items.map(async (item) => {
    try {
      await run(item, stop);
    } catch (error) {
      errors.push(error);
      failed.abort();
    }
  });
  await Promise.all(guarded);
  if (errors.length > 0) throw errors[0];
}

const describeInterfaces = (machine: Machine): string =>
  machine.interfaces.map((own) => `${own.address} on ${own.segment.name}`).join(', ');
