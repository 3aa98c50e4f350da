/**
 * From the plan that is in force and what is known of the nodes to the next plan. Pure, and one step at a time: whoever
 * runs it writes the result by compare-and-swap on the plan it started from, so it does not matter who does, nor whether
 * two do. What makes it safe is in the plan itself: sessions are taken away (`keep` becomes empty) only on the word of
 * every node about that very generation.
 *
 * Nothing blocks for ever. A new target may be set at any time: all that served before is kept beside it. A node that does
 * not get in sync within `patience` gets a session with every other (`direct`), and the rest moves on without it; it is
 * tried again every `patience`.
 */
import type { RouteReflectorSettings } from '../../model/mod.ts';
import type { Speaker } from '../bgp/cluster.ts';
import { chooseReflectors } from './choose.ts';
import { isPlainMesh, meshTopology, sameNames, sameTopology, topology, union } from './topology.ts';
import type { ReflectorPlan, Topology, TopologyReport } from './topology.ts';

/** What whoever steps knows. Times are its own observation, milliseconds: no clocks are compared between nodes. */
export interface Situation {
  /** undefined, or mode `off`: as Calico's resources say. */
  readonly settings: RouteReflectorSettings | undefined;
  readonly speakers: Iterable<Speaker>;
  /** The AS number of the cluster. */
  readonly as: number;
  /** BGPConfiguration's `nodeToNodeMeshEnabled`; when false, reflectors serve however few nodes there are. */
  readonly meshEnabled: boolean;
  readonly reports: ReadonlyMap<string, TopologyReport>;
  /** Since when a node has had no report; 0 when it has one. */
  readonly absentFor: (node: string) => number;
  /** Since when a node has not been ready; 0 when it is. */
  readonly unreadyFor: (node: string) => number;
  /** Since when the plan's generation is in force. */
  readonly planAge: number;
}

/** A node that says nothing for this long after it appeared knows nothing of plans: milliseconds. */
export const SILENCE_MS = 30_000;

/** The next plan; the same object when nothing is to change, undefined while there is none and none is needed. */
export function nextPlan(plan: ReflectorPlan | undefined, situation: Situation): ReflectorPlan | undefined {
  const speakers = [...situation.speakers].filter(({ clusterId }) => clusterId === undefined);
  const before = plan ?? firstPlan(situation);
  const next = new Step(before, situation, speakers).next();
  return next === before && !plan ? undefined : next;
}

/** What the resources alone make, as a plan. The generation goes on where reports about a lost plan ended. */
function firstPlan({ meshEnabled, reports }: Situation): ReflectorPlan {
  const generation = Math.max(0, ...[...reports.values()].map((report) => report.generation));
  return { generation, target: meshEnabled ? meshTopology : topology([], []), keep: undefined, members: [] };
}

class Step {
  private readonly plan: ReflectorPlan;
  private readonly situation: Situation;
  private readonly speakers: readonly Speaker[];
  private readonly members: readonly string[];

  constructor(plan: ReflectorPlan, situation: Situation, speakers: readonly Speaker[]) {
    this.plan = plan;
    this.situation = situation;
    this.speakers = speakers;
    const { reports } = situation;
    this.members = speakers
      .map(({ name }) => name)
      .filter((name) => reports.has(name) || plan.members.includes(name))
      .sort();
  }

  next(): ReflectorPlan {
    const { plan, members } = this;
    const serving = this.wanted();
    // a plan that is a mesh and stays one says nothing that the resources do not say
    if (isPlainMesh(serving) && isPlainMesh(plan.target) && !plan.keep) return plan;
    const { target, keep, generation } = plan;
    if (!sameTopology(serving, target)) {
      return { generation: generation + 1, target: serving, keep: union(target, keep), members };
    }
    if (keep && this.confirmed()) return { generation: generation + 1, target, keep: undefined, members };
    // towards a mesh there is nothing to help with, and a few reflectors that go on are no burden
    if (keep && !target.mesh && this.situation.planAge >= this.patience) {
      const direct = [...new Set([...target.direct, ...this.suspects()])];
      const helped = topology(target.reflectors, direct);
      if (sameTopology(helped, target)) return { generation: generation + 1, target, keep: undefined, members };
      return { generation: generation + 1, target: helped, keep: union(target, keep), members };
    }
    return sameNames(members, plan.members) ? plan : { ...plan, members };
  }

  private get patience(): number {
    return (this.situation.settings?.patience ?? 300) * 1000;
  }

  private wanted(): Topology {
    const { settings, as, unreadyFor, reports } = this.situation;
    const { target } = this.plan;
    if (!settings || !this.reflecting(settings)) return meshTopology;
    const outsiders = this.outsiders(settings);
    const fit = this.speakers.filter(
      (node) =>
        node.as === as &&
        node.addresses[4] !== undefined &&
        settings.candidates.matches(node.labels) &&
        settings.exclude?.matches(node.labels) !== true,
    );
    // who is marked to leave becomes none, and goes on being one only while nobody can take its place
    const candidates = fit.map(({ name, labels, leaving = false }) => ({
      name,
      domain: labels[settings.failureDomain],
      ready: !leaving && reports.get(name)?.ready === true,
      lost: leaving || unreadyFor(name) >= settings.holdDown * 1000,
    }));
    const reflectors = chooseReflectors(target.reflectors, candidates, settings.count).map(({ name }) => name);
    // nobody can reflect: what there is stays
    if (reflectors.length === 0) return target;
    return topology(reflectors, [...outsiders, ...this.helped()]);
  }

  /** Whether there are nodes enough for reflectors; once there were, a few less do not count. */
  private reflecting({ mode, threshold }: RouteReflectorSettings): boolean {
    if (mode !== 'auto') return false;
    if (!this.situation.meshEnabled) return true;
    const enough = this.plan.target.reflectors.length > 0 ? lowWater(threshold) : threshold;
    return this.speakers.length > enough;
  }

  /** Nodes that reflectors do not serve: excluded, of another AS, or of a kind that knows nothing of plans. */
  private outsiders({ exclude }: RouteReflectorSettings): string[] {
    const { as, absentFor } = this.situation;
    return this.speakers
      .filter((node) => {
        if (node.as !== as || exclude?.matches(node.labels) === true) return true;
        const { name } = node;
        return !this.members.includes(name) && absentFor(name) >= SILENCE_MS;
      })
      .map(({ name }) => name);
  }

  /** Nodes that were given a session with every other because they were not in sync; after a while, they are tried anew. */
  private helped(): readonly string[] {
    const { direct, mesh } = this.plan.target;
    if (mesh) return [];
    const here = direct.filter((name) => this.members.includes(name));
    if (this.plan.keep || this.situation.planAge < this.patience) return here;
    return here.filter((name) => this.situation.reports.get(name)?.state !== 'synced');
  }

  /** Every node that is there has said that the target carries all. */
  private confirmed(): boolean {
    const { reports, absentFor, settings } = this.situation;
    const holdDown = (settings?.holdDown ?? 30) * 1000;
    // somebody is there whose resource is not known here: this picture is old
    const known = new Set([...this.situation.speakers].map(({ name }) => name));
    if ([...reports.keys()].some((name) => !known.has(name))) return false;
    let heard = false;
    for (const { name } of this.speakers) {
      const report = reports.get(name);
      if (report) {
        if (report.generation !== this.plan.generation || report.state !== 'synced') return false;
        heard = true;
      } else if (this.members.includes(name)) {
        // the datastore may have lost its lease, and nothing else be wrong
        if (absentFor(name) < holdDown) return false;
      } else if (!this.plan.target.mesh && !this.plan.target.direct.includes(name)) return false;
    }
    return heard;
  }

  /** Whom to blame: nodes whose own sessions fail, and nodes whose prefixes others miss. */
  private suspects(): string[] {
    const { reports } = this.situation;
    const known = new Set(this.speakers.map(({ name }) => name));
    const suspects: string[] = [];
    for (const { name } of this.speakers) {
      const report = reports.get(name);
      if (!report) continue;
      const current = report.generation === this.plan.generation;
      if (current && report.state === 'synced') continue;
      // one that others cannot be blamed for has only itself
      const missing = current && report.state === 'routes' ? report.missing.filter((other) => known.has(other)) : [];
      suspects.push(...(missing.length > 0 ? missing : [name]));
    }
    return suspects;
  }
}

/** Back to the mesh below this: a fifth less than it took to leave it. */
export const lowWater = (threshold: number): number => threshold - Math.max(1, Math.floor(threshold / 5));
