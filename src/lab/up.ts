/**
 * Bringing a lab up, in the order in which things need each other: wires, datastore, agents, pods. The manifest says what
 * will be made before any of it is. What fails or is interrupted half way is taken down again.
 */
import { GodwitError } from '../base/mod.ts';
import type { LoadedScenario } from './bundled.ts';
import { takeDown } from './down.ts';
import { NEIGHBOR_LIMITS } from './layout.ts';
import type { LabLayout } from './layout.ts';
import { bootId, claimLab, lockLab, myself, ownerOf, readManifest, writeManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { makeRoom, neighborsOf } from './neighbors.ts';
import { makeMachine, makeNamespace, makeSwitch, namespacesOf, refuseForeign } from './network.ts';
import type { Daemon } from './process.ts';
import { configureNetwork, reserve } from './programs.ts';
import { programsOf, startProgram, waitForProgram } from './roster.ts';
import type { Program } from './roster.ts';
import { refuseMissing } from './routers.ts';
import { attachPod, installPlugin } from './runtime.ts';
import { usesDatastore, without } from './topology.ts';
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
  const { source, text } = scenario;
  const absent = scenario.topology.machines.filter(({ later }) => later).map(({ name }) => name);
  const topology = without(scenario.topology, new Set(absent));
  refuseMissing(scenario.topology);
  const namespaces = namespacesOf(layout, topology);
  const manifest: Manifest = {
    version: 2,
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
    absent,
    killed: [],
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

/** What works on a lab: its description, and what is told and recorded meanwhile. */
export interface Site {
  readonly layout: LabLayout;
  readonly topology: Topology;
  readonly manifest: Manifest;
  readonly tell: (line: string) => void;
  readonly signal: AbortSignal;
}

async function build(layout: LabLayout, topology: Topology, manifest: Manifest, options: UpOptions): Promise<void> {
  const site: Site = { layout, topology, manifest, ...options };
  const { made, refused } = makeRoom(NEIGHBOR_LIMITS, (family) => neighborsOf(topology, family));
  if (made.length > 0) step(site, `the kernel keeps more neighbours while labs are up: ${made.join(' ')}`);
  if (refused.length > 0)
    step(
      site,
      `the kernel keeps too few neighbours for this lab, sessions may fail; as root: sysctl -w ${refused.join(' ')}`,
    );
  for (const segment of topology.segments) {
    step(site, `${segment.name}: switch for ${segment.prefixes.join(', ')}`);
    makeSwitch(layout, segment);
  }
  for (const machine of topology.machines) placeMachine(site, machine);
  const programs = programsOf(topology);
  if (usesDatastore(topology)) {
    makeNamespace(layout, layout.datastoreNamespace)[Symbol.dispose]();
    await launch(site, programs.slice(0, 1));
    await configureNetwork(layout, topology);
    await reserve(layout, topology, topology.machines);
  }
  await launch(site, programs.slice(usesDatastore(topology) ? 1 : 0));
  await attachPods(site, topology.machines);
}

/** Progress, and the place where an interruption is noticed. */
function step({ signal, tell }: Site, line: string): void {
  signal.throwIfAborted();
  tell(line);
}

export function placeMachine(site: Site, machine: Machine): void {
  step(site, `${machine.name}: ${machine.role} with ${describeInterfaces(machine)}`);
  makeMachine(site.layout, machine);
}

const words: Readonly<Record<Program['kind'], readonly [runs: string, ready: string]>> = {
  datastore: ['datastore', 'ready'],
  agent: ['godwit agent', 'ready, every other host’s route is in its kernel'],
  gateway: ['godwit gateway', 'ready'],
  frr: ['FRR', 'ready'],
  bird: ['BIRD', 'ready'],
  godwit: ['godwit bgp', 'ready'],
};

/** Starts programs at the same time, and waits until all do their work. */
export async function launch(site: Site, programs: readonly Program[]): Promise<void> {
  const { layout, topology, manifest, signal } = site;
  for (const kind of new Set(programs.map((program) => program.kind))) {
    const names = programs.filter((program) => program.kind === kind).map(({ who }) => who);
    const runs = kind === 'datastore' && topology.datastore === 'embedded' ? 'godwit store serve' : words[kind][0];
    step(site, `${names.join(', ')}: ${kind === 'datastore' && topology.datastore === 'etcd' ? 'etcd' : runs}`);
  }
  await together(programs, signal, async (program, stop) => {
    const daemons: Daemon[] = [];
    await startProgram(layout, topology, program, (name, daemon) => {
      daemons.push(daemon);
      manifest.processes[name] = daemon.id;
      writeManifest(layout, manifest);
    });
    await waitForProgram(layout, topology, program, daemons, stop);
    if (program.kind !== 'datastore') step(site, `${program.who}: ${words[program.kind][1]}`);
  });
}

/** Hosts at the same time, the pods of one host in order: so the addresses are the same every time. */
export async function attachPods(site: Site, hosts: readonly Machine[]): Promise<void> {
  const { layout, topology, manifest, signal } = site;
  await together(hosts, signal, async (host, stop) => {
    if (host.agent) installPlugin(layout, host.name);
    for (const pod of topology.pods.filter((p) => p.host === host.name)) {
      stop.throwIfAborted();
      const addresses = await attachPod(layout, pod, stop);
      manifest.pods[pod.name] = addresses;
      writeManifest(layout, manifest);
      step(site, `${pod.name}: ${addresses.join(' and ')} on ${host.name}`);
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
  machine.interfaces
    .map(({ addresses, segment }) => `${addresses.map(({ address }) => address).join(' and ')} on ${segment.name}`)
    .join(', ');
