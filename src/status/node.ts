/**
 * The status of one node's agent, as its socket gives it (`GET /status`) and `godwit node status` shows it. Fields are only
 * ever added.
 */
import type { IpAddress, Prefix } from '../net/mod.ts';

export interface AddressStatus {
  readonly family: 4 | 6;
  /** Absent while no address is found. */
  readonly address?: string;
  readonly device?: string;
  readonly method: string;
  /** Why this one, or why none. */
  readonly reason: string;
}

export interface LeaseStatus {
  readonly state: 'waiting' | 'held' | 'lost';
  readonly subnets: readonly Prefix[];
  /** Last part of its key; absent while there is none. */
  readonly name?: string;
  readonly reservation?: boolean;
  readonly reason?: string;
}

export interface DatastoreStatus {
  readonly name: string;
  /** `connecting` until the first full list; `stale`: out of reach since, what was told before still holds. */
  readonly state: 'connecting' | 'in-sync' | 'stale';
  readonly reason?: string;
  readonly revision?: number;
}

export interface NetworkStatus {
  readonly networks: readonly Prefix[];
  readonly backend: string;
  /** Leases in the datastore, this node's own included. */
  readonly leases: number;
}

export interface RouteStatusItem {
  readonly destination: Prefix;
  readonly via?: IpAddress;
  readonly device?: string;
  readonly installed: boolean;
  /** Why it is not. */
  readonly problem?: string;
}

export interface ProblemStatus {
  /** `lease 10.244.7.0-24`, `key /coreos.com/network/config`, `route 10.244.1.0/24`. */
  readonly object: string;
  readonly kind: string;
  readonly reason: string;
}

export interface RoutesStatus {
  readonly protocol: number;
  readonly wanted: number;
  readonly installed: number;
  readonly items: readonly RouteStatusItem[];
  /** Writes since the start, and dumps and resyncs. */
  readonly counters: Readonly<Record<string, number>>;
}

/** A kept part of the kernel: sysctls, bridge, masquerading, subnet.env. */
export interface PartStatusItem {
  readonly name: string;
  readonly inSync: boolean;
  readonly problem: string;
  readonly changes: number;
}

export interface CniStatus {
  readonly socket: string;
  readonly ready: boolean;
  readonly reason?: string;
  readonly pods: readonly PodStatus[];
}

export interface PodStatus {
  readonly container: string;
  readonly interface: string;
  readonly addresses: readonly string[];
  readonly hostInterface: string;
  /** `namespace/name`, where the runtime told it. */
  readonly pod?: string;
}

export interface Readiness {
  readonly ready: boolean;
  /** Why not; empty when ready. */
  readonly reasons: readonly string[];
  /** What is not right, but does not keep the node from working. */
  readonly warnings: readonly string[];
}

export interface NodeStatus extends Readiness {
  readonly node: string;
  readonly pid: number;
  /** Seconds since the agent started. */
  readonly uptime: number;
  readonly addresses: readonly AddressStatus[];
  readonly datastore: DatastoreStatus;
  readonly network?: NetworkStatus;
  readonly lease: LeaseStatus;
  readonly bridge?: { readonly name: string; readonly mtu: number; readonly addresses: readonly string[] };
  readonly routes: RoutesStatus;
  readonly problems: readonly ProblemStatus[];
  readonly parts: readonly PartStatusItem[];
  readonly cni: CniStatus;
}
