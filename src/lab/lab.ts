/** A lab that is there: found by name, with what its scenario demands. */
import { GodwitError, printable } from '../base/mod.ts';
import { LabLayout } from './layout.ts';
import { listLabs, ownerOf, readManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { readScenario } from './read.ts';
import { programsOf, stateOf } from './roster.ts';
import { without } from './topology.ts';
import type { Topology } from './topology.ts';

export interface Lab {
  readonly layout: LabLayout;
  readonly manifest: Manifest;
  /** What is there now: the scenario without the machines that are absent. */
  readonly topology: Topology;
  /** All of the scenario. */
  readonly scenario: Topology;
}

/** By name, or the only one there is. Throws GodwitError `absent`, `unreadable` or, when several are there, `usage`. */
export function findLab(name?: string): Lab {
  const layout = new LabLayout(name ?? onlyLab());
  const manifest = readManifest(layout);
  if (!manifest.ok) throw manifest.error;
  const topology = readScenario(manifest.value.source, manifest.value.scenario);
  if (!topology.ok) throw topology.error;
  const absent = new Set(manifest.value.absent);
  return { layout, manifest: manifest.value, topology: without(topology.value, absent), scenario: topology.value };
}

function onlyLab(): string {
  const labs = listLabs();
  if (labs.length === 1) return labs[0]!;
  if (labs.length === 0) {
    throw new GodwitError('absent', 'no lab is up', { hint: 'bring one up: godwit lab up host-gw --detach' });
  }
  throw new GodwitError('usage', `several labs are up: ${labs.join(', ')}`, {
    hint: 'say which one: `lab check`, `status`, `drill` and `down` take its name, the other commands --lab NAME',
  });
}

/** The namespace of a machine or pod of the lab; throws GodwitError `absent` with the names there are. */
export function namespaceIn({ layout, topology }: Lab, node: string): string {
  const names = [...topology.machines, ...topology.pods, ...topology.segments].map(({ name }) => name);
  if (names.includes(node)) return layout.namespace(node);
  throw new GodwitError('absent', `${layout.name} has no ${printable(node, 60)}`, {
    hint: `there is ${names.join(', ')}`,
  });
}

export interface LabSummary {
  readonly name: string;
  readonly scenario: string;
  /** `broken`: what was working on it was killed, or its manifest cannot be read. */
  readonly state: 'starting' | 'up' | 'stopping' | 'broken';
  /** The process that holds it up, if any. */
  readonly owner?: number;
  readonly hosts: number;
  readonly pods: number;
  /** Programs that run, of how many there should be. */
  readonly running: number;
  readonly programs: number;
  /** RFC 3339. */
  readonly created?: string;
  readonly problem?: string;
}

export const summarizeLabs = (): LabSummary[] => listLabs().map(summarizeLab);

export function summarizeLab(name: string): LabSummary {
  const read = readManifest(new LabLayout(name));
  if (!read.ok)
    return {
      name,
      scenario: '',
      state: 'broken',
      hosts: 0,
      pods: 0,
      running: 0,
      programs: 0,
      problem: read.error.message,
    };
  const { source, scenario, state, created } = read.value;
  const owner = ownerOf(read.value);
  const topology = readScenario(source, scenario);
  const present = topology.ok ? without(topology.value, new Set(read.value.absent)) : undefined;
  const killed = read.value.owner !== undefined && !owner;
  const states = present ? programsOf(present).map((program) => stateOf(read.value, program)) : [];
  return {
    name,
    scenario: source,
    state: killed || !topology.ok ? 'broken' : state,
    ...(owner && { owner: owner.pid }),
    hosts: present?.machines.filter(({ role }) => role === 'host').length ?? 0,
    pods: present?.pods.length ?? 0,
    running: states.filter((state) => state === 'running').length,
    programs: states.length,
    created: new Date(created).toISOString(),
    ...(killed && { problem: 'the process that held it up is gone' }),
  };
}
