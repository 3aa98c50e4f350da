/**
 * The decision process, RFC 4271 §9.1.2 with RFC 4456 §9: which of a prefix's paths is best, and why. One numbered list:
 *
 *  0. only paths that the import policy accepted and whose next hop is reachable take part
 *  1. highest weight                     (local to this speaker)
 *  2. highest LOCAL_PREF                 (§9.1.1; 100 where there is none; 0 with GRACEFUL_SHUTDOWN, RFC 8326)
 *  3. a route of this speaker
 *  4. shortest AS_PATH, a set counts 1   (§9.1.2.2 a)
 *  5. lowest ORIGIN                      (b)
 *  6. lowest MED among paths of the same neighbouring AS (c)
 *  7. eBGP over iBGP                     (d)
 *  8. lowest IGP metric to the next hop  (e)
 *  9. the one that is best already, when asked for and both are eBGP (RFC 5004)
 * 10. lowest ORIGINATOR_ID or BGP Identifier (f, RFC 4456)
 * 11. shortest CLUSTER_LIST              (RFC 4456)
 * 12. lowest neighbour address           (g)
 *
 * Step 6 removes, it does not order: a path goes when another path that is still in the running and came through the same
 * neighbouring AS has a lower MED. Done for all paths at once the outcome does not depend on the order of arrival, which
 * pairwise comparison would make it (RFC 3345). A path without MED counts as 0, or as the worst if so set.
 */
import type { NextHops } from './nexthops.ts';
import type { PathPool } from './paths.ts';
import { SetFlag } from './set-columns.ts';
import type { AttributeSets } from './sets.ts';

export interface DecisionOptions {
  /** Compare MED between paths from different neighbouring ASs too. */
  readonly alwaysCompareMed: boolean;
  /** A path without MED counts as the worst instead of as 0. */
  readonly missingMedWorst: boolean;
  /** Step 9. */
  readonly preferOlder: boolean;
  /** How many equally good paths go to the FIB; 1 turns multipath off. */
  readonly multipathEbgp: number;
  readonly multipathIbgp: number;
  /** Multipath also over paths of different neighbouring ASs (of the same length). */
  readonly multipathRelax: boolean;
}

export const defaultDecision: DecisionOptions = {
  alwaysCompareMed: false,
  missingMedWorst: false,
  preferOlder: false,
  multipathEbgp: 1,
  multipathIbgp: 1,
  multipathRelax: false,
};

/** The steps in their order; the name of the one that decided is the reason shown. */
export const decisionSteps = [
  'only-path',
  'next-hop-unreachable',
  'rejected',
  'weight',
  'local-pref',
  'local-route',
  'as-path-length',
  'origin',
  'med',
  'ebgp-over-ibgp',
  'igp-metric',
  'older',
  'router-id',
  'cluster-list-length',
  'peer-address',
] as const;
export type DecisionReason = (typeof decisionSteps)[number];

export class Decision {
  readonly options: DecisionOptions;
  private readonly sets: AttributeSets;
  private readonly nextHops: NextHops;
  /** Orders peers by address. */
  private readonly comparePeers: (a: number, b: number) => number;
  private candidates: number[] = [];

  constructor(
    options: DecisionOptions,
    sets: AttributeSets,
    nextHops: NextHops,
    comparePeers: (a: number, b: number) => number,
  ) {
    this.options = options;
    this.sets = sets;
    this.nextHops = nextHops;
    this.comparePeers = comparePeers;
  }

  /** Whether a path with this accepted set takes part, step 0. */
  feasible(set: number): boolean {
    return set !== 0 && this.nextHops.reachable[this.sets.nextHop[set]!] !== 0;
  }

  /** The accepted set of the best path in the list that begins at `head`; 0 when there is none. `current`: the one now. */
  best(paths: PathPool, head: number, current: number): number {
    if (head === 0) return 0;
    const first = paths.accepted[head]!;
    if (paths.next[head] === 0) return this.feasible(first) ? first : 0;
    const rest = this.eliminate(paths, head, 0);
    if (rest === 0) return 0;
    const { candidates } = this;
    let best = candidates[0]!;
    for (let i = 1; i < rest; i++) if (this.after(candidates[i]!, best, current) < 0) best = candidates[i]!;
    return best;
  }

  /** The best, then the others that multipath adds to it: equal through step 8, same kind, and same path unless relaxed. */
  multipath(paths: PathPool, head: number, best: number): number[] {
    const out = [best];
    const { sets, options } = this;
    const ebgp = (sets.flags[best]! & SetFlag.Ebgp) !== 0;
    const limit = ebgp ? options.multipathEbgp : options.multipathIbgp;
    if (limit <= 1 || best === 0 || (sets.flags[best]! & SetFlag.Local) !== 0) return out;
    const rest = this.eliminate(paths, head, 0);
    for (let i = 0; i < rest && out.length < limit; i++) {
      const set = this.candidates[i]!;
      if (set === best || this.kindAndMetric(set, best) !== 0) continue;
      if (!options.multipathRelax && sets.neighborAs[set] !== sets.neighborAs[best]) continue;
      out.push(set);
    }
    return out;
  }

  /** The step at which `other` lost to `best` (both accepted sets of the same prefix). */
  reason(paths: PathPool, head: number, best: number, other: number, current: number): DecisionReason {
    if (other === 0) return 'rejected';
    if (!this.feasible(other)) return 'next-hop-unreachable';
    const early = this.before(other, best);
    if (early !== 0) return this.earlyStep(other, best);
    const rest = this.eliminate(paths, head, 0);
    if (!this.candidates.slice(0, rest).includes(other)) return 'med';
    return this.lateStep(other, best, current);
  }

  /** The best path when `without` is left out: what `best` had to beat. */
  runnerUp(paths: PathPool, head: number, without: number): number {
    const rest = this.eliminate(paths, head, without);
    if (rest === 0) return 0;
    let best = this.candidates[0]!;
    for (let i = 1; i < rest; i++) if (this.after(this.candidates[i]!, best, 0) < 0) best = this.candidates[i]!;
    return best;
  }

  /** Steps 0 to 6: leaves in `candidates` the sets that are still in the running and returns how many. */
  private eliminate(paths: PathPool, head: number, without: number): number {
    const { candidates, sets } = this;
    let n = 0;
    for (let path = head; path !== 0; path = paths.next[path]!) {
      const set = paths.accepted[path]!;
      if (set === without || !this.feasible(set)) continue;
      if (n > 0) {
        const order = this.before(set, candidates[0]!);
        if (order > 0) continue;
        if (order < 0) n = 0;
      }
      candidates[n++] = set;
    }
    if (n < 2) return n;
    // step 6: the lowest MED of each neighbouring AS
    let someMed = false;
    for (let i = 0; i < n; i++) someMed ||= (sets.flags[candidates[i]!]! & SetFlag.HasMed) !== 0;
    if (!someMed) return n;
    const lowest = new Map<number, number>();
    for (let i = 0; i < n; i++) {
      const set = candidates[i]!;
      const as = this.medGroup(set);
      const med = this.med(set);
      const low = lowest.get(as);
      if (low === undefined || med < low) lowest.set(as, med);
    }
    let kept = 0;
    for (let i = 0; i < n; i++) {
      const set = candidates[i]!;
      if (this.med(set) === lowest.get(this.medGroup(set))) candidates[kept++] = set;
    }
    return kept;
  }

  private medGroup(set: number): number {
    return this.options.alwaysCompareMed ? 0 : this.sets.neighborAs[set]!;
  }

  private med(set: number): number {
    if ((this.sets.flags[set]! & SetFlag.HasMed) !== 0) return this.sets.med[set]!;
    return this.options.missingMedWorst ? 0x100000000 : 0;
  }

  /** Steps 1 to 5; negative when `a` is better. */
  private before(a: number, b: number): number {
    const s = this.sets;
    return (
      s.weight[b]! - s.weight[a]! ||
      s.localPref[b]! - s.localPref[a]! ||
      (s.flags[b]! & SetFlag.Local) - (s.flags[a]! & SetFlag.Local) ||
      s.pathLength[a]! - s.pathLength[b]! ||
      s.origin[a]! - s.origin[b]!
    );
  }

  private earlyStep(a: number, b: number): DecisionReason {
    const s = this.sets;
    if (s.weight[a] !== s.weight[b]) return 'weight';
    if (s.localPref[a] !== s.localPref[b]) return 'local-pref';
    if ((s.flags[a]! & SetFlag.Local) !== (s.flags[b]! & SetFlag.Local)) return 'local-route';
    if (s.pathLength[a] !== s.pathLength[b]) return 'as-path-length';
    return 'origin';
  }

  /** Steps 7 and 8. */
  private kindAndMetric(a: number, b: number): number {
    const s = this.sets;
    return (
      (s.flags[b]! & SetFlag.Ebgp) - (s.flags[a]! & SetFlag.Ebgp) ||
      this.nextHops.metric[s.nextHop[a]!]! - this.nextHops.metric[s.nextHop[b]!]!
    );
  }

  /** Step 9; RFC 5004 §3 leaves the router id to decide where the two are equal. */
  private older(a: number, b: number, current: number): number {
    if (!this.options.preferOlder || (a !== current && b !== current)) return 0;
    const s = this.sets;
    if ((s.flags[a]! & s.flags[b]! & SetFlag.Ebgp) === 0 || s.routerId[a] === s.routerId[b]) return 0;
    return a === current ? -1 : 1;
  }

  /** Steps 7 to 12. */
  private after(a: number, b: number, current: number): number {
    const s = this.sets;
    return (
      this.kindAndMetric(a, b) ||
      this.older(a, b, current) ||
      s.routerId[a]! - s.routerId[b]! ||
      s.clusterLength[a]! - s.clusterLength[b]! ||
      this.comparePeers(s.peer[a]!, s.peer[b]!)
    );
  }

  private lateStep(a: number, b: number, current: number): DecisionReason {
    const s = this.sets;
    if (((s.flags[a]! ^ s.flags[b]!) & SetFlag.Ebgp) !== 0) return 'ebgp-over-ibgp';
    if (this.kindAndMetric(a, b) !== 0) return 'igp-metric';
    if (this.older(a, b, current) !== 0) return 'older';
    if (s.routerId[a] !== s.routerId[b]) return 'router-id';
    if (s.clusterLength[a] !== s.clusterLength[b]) return 'cluster-list-length';
    return 'peer-address';
  }
}
