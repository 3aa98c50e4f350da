/**
 * What can be done to a lab that is up: a program killed and started again, a host taken away or brought. One command at a
 * time; each leaves the manifest saying what is there now.
 */
import { existsSync, rmSync } from 'node:fs';
import { GodwitError, messageOf, printable, sleep } from '../base/mod.ts';
import { openDatastore } from '../datastore/mod.ts';
import { DEFAULT_NETWORK_PREFIX, parseLease, subnetsPrefix } from '../ipam/mod.ts';
import { isAlive, NetworkNamespace, removeNetworkNamespace } from '../sys/mod.ts';
import { RTN } from '../netlink/mod.ts';
import { forgetNode, giveUpBlocks } from './calico.ts';
import { endProcesses, processesIn } from './process.ts';
import { findLab } from './lab.ts';
import type { Lab } from './lab.ts';
import type { LabLayout } from './layout.ts';
import { ipv4Of } from './machine.ts';
import { lockLab, writeManifest } from './manifest.ts';
import { unplug } from './network.ts';
import { observe } from './observe.ts';
import { datastoreUrl, reserve } from './programs.ts';
import { processesOf, programOf, programsOf, stateOf } from './roster.ts';
import type { Program } from './roster.ts';
import { detachPod } from './runtime.ts';
import type { Machine } from './topology.ts';
import { attachPods, launch, placeMachine } from './up.ts';
import type { Site } from './up.ts';

export interface LiveOptions {
  readonly tell: (line: string) => void;
  readonly signal: AbortSignal;
}

const LOCK_WAIT_MS = 5_000;
const GRACE_MS = 5_000;
const WITHDRAW_MS = 3_000;
const DETACH_MS = 10_000;

/** SIGKILL: it has no time to say goodbye to anybody. */
export const killProgram = (layout: LabLayout, who: string, options: LiveOptions): Promise<void> =>
  changing(layout, options, async (lab) => {
    const program = programOf(lab.topology, who);
    if (stateOf(lab.manifest, program) === 'killed') throw notNow(`${who} was killed before`, `lab start ${who}`);
    await kill(lab, program);
    options.tell(`${who}: killed`);
  });

export const startAgain = (layout: LabLayout, who: string, options: LiveOptions): Promise<void> =>
  changing(layout, options, async (lab, site) => {
    const program = programOf(lab.topology, who);
    if (stateOf(lab.manifest, program) === 'running') throw notNow(`${who} runs`, `lab restart ${who}`);
    await start(site, program);
  });

/** Kills it and starts it again at once. */
export const restartProgram = (layout: LabLayout, who: string, options: LiveOptions): Promise<void> =>
  changing(layout, options, async (lab, site) => {
    const program = programOf(lab.topology, who);
    await kill(lab, program);
    await start(site, program);
  });

/** Brings a host of the scenario that is not there, with its programs and pods. */
export const addHost = (layout: LabLayout, name: string, options: LiveOptions): Promise<void> =>
  changing(layout, options, async ({ scenario, manifest }) => {
    const machine = scenario.machines.find((candidate) => candidate.name === name);
    if (!machine || !manifest.absent.includes(name)) {
      const hint =
        manifest.absent.length > 0
          ? `these do: ${manifest.absent.join(', ')}`
          : 'all of its hosts are there; lab remove takes one away';
      throw new GodwitError('absent', `no host ${printable(name, 60)} of the scenario waits to be added`, { hint });
    }
    manifest.absent = manifest.absent.filter((other) => other !== name);
    const names = [name, ...scenario.pods.filter(({ host }) => host === name).map((pod) => pod.name)];
    manifest.namespaces.push(...names.map((node) => layout.namespace(node)));
    writeManifest(layout, manifest);
    const lab = findLab(layout.name);
    const site: Site = { ...lab, ...options, manifest };
    try {
      placeMachine(site, machine);
      await reserve(layout, lab.topology, [machine]);
      await launch(
        site,
        programsOf(lab.topology).filter((program) => program.machine === name),
      );
      await attachPods(site, [machine]);
    } catch (error) {
      options.tell(`${name}: ${options.signal.aborted ? 'interrupted' : 'failed'}, taking it away again`);
      await clearHost({ ...lab, manifest }, machine, options.tell);
      throw options.signal.aborted ? new GodwitError('interrupted', 'interrupted') : error;
    }
  });

/**
 * Takes a host away as an operator does: its pods are ended, its programs stopped, and the datastore told that its part of
 * the pod network is nobody's any more.
 */
export const removeHost = (layout: LabLayout, name: string, options: LiveOptions): Promise<void> =>
  changing(layout, options, async (lab) => {
    const { topology } = lab;
    const hosts = topology.machines.filter(({ role }) => role === 'host');
    const machine = hosts.find((candidate) => candidate.name === name);
    if (!machine) {
      const hint = `there is ${hosts.map((host) => host.name).join(', ') || 'none'}`;
      throw new GodwitError('absent', `there is no host ${printable(name, 60)}`, { hint });
    }
    await clearHost(lab, machine, options.tell);
    const pods = topology.pods.filter(({ host }) => host === name).map((pod) => pod.name);
    options.tell(`${name}: gone, with ${pods.join(', ') || 'no pod'}`);
  });

/**
 * Also one that is there in part, because adding it was interrupted, or whose agent is dead: what cannot be done is told, and
 * the rest is done. It is not interrupted itself: nobody is served by half of it.
 */
async function clearHost(lab: Lab, machine: Machine, tell: (line: string) => void): Promise<void> {
  const { layout, topology, manifest } = lab;
  const { name } = machine;
  const pods = topology.pods.filter(({ host }) => host === name);
  for (const pod of pods) {
    if (manifest.pods[pod.name] === undefined) continue;
    await detachPod(layout, pod, AbortSignal.timeout(DETACH_MS)).catch((error: unknown) => tell(messageOf(error)));
  }
  const path = layout.namespace(name);
  if (existsSync(path)) {
    if (machine.agent && topology.mode === 'calico') await withdrawBlocks(lab, machine);
    using namespace = NetworkNamespace.open(path);
    const stuck = await endProcesses(() => processesIn(new Set([namespace.identity])), { graceMs: GRACE_MS });
    if (stuck.length > 0) throw new GodwitError('stuck', `${name} does not end: ${stuck.join('; ')}`);
    unplug(layout, machine);
  }
  if (machine.agent) await forget(lab, machine);
  const gone = [name, ...pods.map((pod) => pod.name)].map((node) => layout.namespace(node));
  for (const namespace of gone) removeNetworkNamespace(namespace);
  rmSync(layout.hostDirectory(name), { recursive: true, force: true });
  for (const program of programsOf(topology).filter((p) => p.machine === name)) forgetProcesses(lab, program);
  for (const pod of pods) delete manifest.pods[pod.name];
  manifest.namespaces = manifest.namespaces.filter((namespace) => !gone.includes(namespace));
  manifest.absent.push(name);
  writeManifest(layout, manifest);
}

async function changing(
  layout: LabLayout,
  options: LiveOptions,
  change: (lab: Lab, site: Site) => Promise<void>,
): Promise<void> {
  let lock = lockLab(layout);
  for (const end = performance.now() + LOCK_WAIT_MS; !lock && performance.now() < end; lock = lockLab(layout))
    await sleep(20);
  if (!lock) throw new GodwitError('busy', `another command works on the lab ${layout.name}`);
  using _held = lock;
  const lab = findLab(layout.name);
  if (lab.manifest.state !== 'up') throw new GodwitError('busy', `the lab ${layout.name} is ${lab.manifest.state}`);
  await change(lab, { ...lab, ...options });
}

async function kill(lab: Lab, program: Program): Promise<void> {
  const { layout, manifest } = lab;
  const stuck = await endProcesses(() => processesOf(manifest, program).filter(isAlive), { graceMs: 0 });
  if (stuck.length > 0) throw new GodwitError('stuck', `${program.who} does not end: ${stuck.join('; ')}`);
  forgetProcesses(lab, program);
  manifest.killed.push(program.who);
  writeManifest(layout, manifest);
}

async function start(site: Site, program: Program): Promise<void> {
  const { layout, manifest } = site;
  manifest.killed = manifest.killed.filter((who) => who !== program.who);
  writeManifest(layout, manifest);
  await launch(site, [program]);
}

function forgetProcesses({ manifest }: Lab, { who }: Program): void {
  for (const name of Object.keys(manifest.processes)) {
    if (name === who || name.startsWith(`${who}.`)) delete manifest.processes[name];
  }
  manifest.killed = manifest.killed.filter((killed) => killed !== who);
}

/** Waits until the agent holds no block any more, as far as its kernel tells; not for one that is dead or does not. */
async function withdrawBlocks({ layout, topology }: Lab, { name }: Machine): Promise<void> {
  await using store = await openDatastore(datastoreUrl(layout, topology.datastore));
  await giveUpBlocks(store, name);
  const holds = () => observe(name, layout.namespace(name)).routes.some(({ route }) => route.type === RTN.BLACKHOLE);
  for (const end = performance.now() + WITHDRAW_MS; performance.now() < end && holds();) await sleep(20);
}

/** Deletes what would be the host's own for another day, or for ever. */
async function forget({ layout, topology }: Lab, machine: Machine): Promise<void> {
  await using store = await openDatastore(datastoreUrl(layout, topology.datastore));
  if (topology.mode === 'calico') return await forgetNode(store, machine.name);
  const { kvs } = await store.list(subnetsPrefix(DEFAULT_NETWORK_PREFIX));
  for (const kv of kvs) {
    const lease = parseLease(DEFAULT_NETWORK_PREFIX, kv);
    if (lease.ok && lease.value.attributes.publicIp === ipv4Of(machine)) await store.delete(kv.key);
  }
}

const notNow = (what: string, instead: string): GodwitError =>
  new GodwitError('usage', what, { hint: `godwit ${instead}` });
