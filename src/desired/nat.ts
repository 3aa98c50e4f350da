import type { IpAddress, Prefix } from '../net/mod.ts';

/** Masquerading on this node, both families. */
export interface NatRules {
  /** What comes from here leaves with this node's address… */
  readonly sources: readonly Prefix[];
  /** …unless it goes here, */
  readonly inside: readonly Prefix[];
  /** or to one of these nodes. */
  readonly hosts: readonly IpAddress[];
}
