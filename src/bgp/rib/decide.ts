/** Settings of the decision process and the names of its steps. */
export interface DecisionOptions {
  /** Compare MED between paths from different neighbouring ASs too. Off: RFC 4271 §9.1.2.2 (c). */
  readonly alwaysCompareMed: boolean;
  /** A path without MED counts as the worst instead of as 0. */
  readonly missingMedWorst: boolean;
  /** Between eBGP paths that differ in nothing but the router id, keep the one that is best now (RFC 5004). */
  readonly preferOlder: boolean;
  /** How many equally good paths go to the FIB; 1 turns multipath off. */
  readonly multipathEbgp: number;
  readonly multipathIbgp: number;
  /** Multipath also over paths of different neighbouring ASs (of the same length). */
  readonly multipathRelax: boolean;
}

/** The steps in their order; the name of the one that decided is the reason shown. */
export const decisionSteps = [
  'only-path',
  'next-hop-unreachable',
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
