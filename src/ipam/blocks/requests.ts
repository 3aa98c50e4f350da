/** What can be asked of IPAM, and what comes of it. */
import type { GodwitError } from '../../base/mod.ts';
import type { Labels } from '../../model/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import type { PoolUse } from './settings.ts';

export interface AssignRequest {
  /** Names the attachment; asking again for the same handle gives the same addresses. */
  readonly handle: string;
  /** Kept with the address: `pod`, `namespace`, `node`, `type`, `timestamp` … */
  readonly attributes: Readonly<Record<string, string>>;
  /** Workload when not given. */
  readonly use?: PoolUse;
  /** All of them or none. */
  readonly want: readonly Want[];
  /** For pools with a namespaceSelector. */
  readonly namespaceLabels?: Labels | undefined;
}

/** Any address of a family (from these pools only, by CIDR or name, when given), or exactly this one. */
export type Want =
  | { readonly family: Family; readonly pools?: readonly string[] | undefined }
  | { readonly address: IpAddress };

export interface Assignment {
  readonly address: IpAddress;
  readonly block: Prefix;
  /** Name of the pool. */
  readonly pool: string;
}

/** One address as somebody saw it given; it is only taken back if it is still given so. */
export interface Given {
  readonly block: Prefix;
  readonly ordinal: number;
  readonly handle: string | undefined;
  readonly sequenceNumber: bigint;
  /** Keys that must not exist at the moment it is taken back: of endpoints that would use it. */
  readonly absent?: readonly string[];
}

/**
 * Kinds of errors: `no-pool` (none may be used), `exhausted` (no free address), `block-limit` (the node has all the
 * blocks it may have), `in-use` (the address asked for), `not-in-pool`, `invalid`, `busy` (too much contention),
 * `unavailable` (the datastore), `aborted`.
 */
export type IpamError = GodwitError;
