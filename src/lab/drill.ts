/**
 * The drill of a scenario: its steps one after the other, each followed by the check of everything, while traffic flows all
 * the time. For each step: how long it took until all was as demanded, and how many packets it cost.
 */
import { GodwitError, messageOf, printable } from '../base/mod.ts';
import { checkWithin } from './check.ts';
import { findLab } from './lab.ts';
import type { Lab } from './lab.ts';
import type { LabLayout } from './layout.ts';
import { addHost, killProgram, removeHost, restartProgram, startAgain } from './live.ts';
import type { LiveOptions } from './live.ts';
import type { DrillStep, Stream } from './topology.ts';
import { Traffic } from './traffic.ts';
import type { TrafficCount, TrafficEnds } from './traffic.ts';
import { familyOf, parseAddress } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';

export interface StepReport {
  /** `kill announcer1`. */
  readonly step: string;
  readonly ok: boolean;
  /** From the action to the moment all is as demanded. */
  readonly seconds: number;
  readonly traffic: readonly TrafficCount[];
  readonly problems: readonly string[];
}

export interface DrillReport {
  readonly ok: boolean;
  readonly steps: readonly StepReport[];
  readonly sent: number;
  readonly lost: number;
}

/** How long a step may take to settle. */
const SETTLE_MS = 30_000;

const actions: Readonly<
  Record<DrillStep['action'], (layout: LabLayout, who: string, options: LiveOptions) => Promise<void>>
> = { kill: killProgram, start: startAgain, restart: restartProgram, add: addHost, remove: removeHost };

/** Runs all steps, also after one that failed. */
export async function runDrill(layout: LabLayout, options: LiveOptions): Promise<DrillReport> {
  const lab = findLab(layout.name);
  if (lab.scenario.drill.length === 0) {
    const hint =
      'lab kill, start, restart, add and remove do one thing at a time; lab traffic counts packets meanwhile';
    throw new GodwitError('usage', `the scenario of ${layout.name} has no drill`, { hint });
  }
  using traffic = new Traffic(lab.scenario.traffic.flatMap((stream) => endsOf(lab, stream)));
  const steps: StepReport[] = [];
  for (const step of lab.scenario.drill) {
    options.signal.throwIfAborted();
    options.tell(`drill: ${step.action} ${step.who}`);
    const report = await runStep(layout, step, traffic, options);
    const lost = report.traffic.reduce((sum, stream) => sum + stream.lost, 0);
    const sent = report.traffic.reduce((sum, stream) => sum + stream.sent, 0);
    options.tell(`drill: ${report.ok ? 'ok' : 'NOT OK'} after ${report.seconds} s, ${lost} of ${sent} packets lost`);
    steps.push(report);
  }
  const all = steps.flatMap((step) => step.traffic);
  const total = (key: 'sent' | 'lost') => all.reduce((sum, stream) => sum + stream[key], 0);
  return { ok: steps.every(({ ok }) => ok), steps, sent: total('sent'), lost: total('lost') };
}

async function runStep(
  layout: LabLayout,
  { action, who, loss }: DrillStep,
  traffic: Traffic,
  options: LiveOptions,
): Promise<StepReport> {
  const start = performance.now();
  const problems: string[] = [];
  try {
    await actions[action](layout, who, options);
    const report = await checkWithin(() => findLab(layout.name), SETTLE_MS, options.signal);
    problems.push(...report.problems);
  } catch (error) {
    problems.push(messageOf(error));
  }
  const seconds = Math.round((performance.now() - start) / 10) / 100;
  const counts = await traffic.count();
  for (const { from, to, lost, sent } of counts) {
    if (lost > loss) problems.push(`${from} → ${to}: ${lost} of ${sent} packets lost, ${loss} are allowed`);
  }
  return { step: `${action} ${who}`, ok: problems.length === 0, seconds, traffic: counts, problems };
}

/**
 * Where a stream starts and which addresses it goes to, one of each family both have. Throws GodwitError `absent` when one of
 * them is not there.
 */
export function endsOf(lab: Lab, { from, to }: Stream): TrafficEnds[] {
  const families = addressesOf(lab, from).map(familyOf);
  const destinations = addressesOf(lab, to).filter((address) => families.includes(familyOf(address)));
  if (destinations.length === 0) {
    throw new GodwitError('absent', `no traffic from ${from} to ${to}: they have no family of addresses in common`);
  }
  return destinations.map((destination) => ({ from, to, namespace: lab.layout.namespace(from), destination }));
}

function addressesOf({ layout, topology, manifest }: Lab, name: string): IpAddress[] {
  const machine = topology.machines.find((candidate) => candidate.name === name);
  if (machine) return machine.interfaces[0]!.addresses.map(({ address }) => address);
  const given = manifest.pods[name];
  if (given) return given.flatMap((text) => parseAddress(text) ?? []);
  const hint = `there is ${[...topology.machines, ...topology.pods].map((other) => other.name).join(', ')}`;
  throw new GodwitError('absent', `${layout.name} has no host or pod ${printable(name, 60)}`, { hint });
}
