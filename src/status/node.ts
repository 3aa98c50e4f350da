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
  /**
   * `connecting` until the first full list; `copy`: so is it, and the node runs from its own copy of what was told before it
   * was started; `stale`: out of reach since, what was told before still holds.
   */
  readonly state: 'connecting' | 'copy' | 'in-sync' | 'stale';
  /** Of state `copy`: when it was so, as ISO 8601. */
  readonly copyOf?: string;
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

/** A BGP session of the node. */
export interface BgpSessionStatus {
  /** As Calico names it: `Mesh_192_168_2_2`. */
  readonly name: string;
  readonly neighbor: IpAddress;
  readonly remoteAs: number;
  /** RFC 4271's name: `Established`, `Connect` … */
  readonly state: string;
  /** Milliseconds since 1970, of a session that is up. */
  readonly since?: number;
  /** Routes taken from the neighbour, and announced to it. */
  readonly accepted: number;
  readonly advertised: number;
  /** Whether the neighbour has told all it has (RFC 4724), and been told all there is. */
  readonly endOfRib: boolean;
  readonly inStep: boolean;
  /** Why it is down, as far as is known. */
  readonly reason?: string;
}

export interface TunnelStatus {
  readonly kind: 'ipip' | 'vxlan' | 'vxlan6';
  readonly device: string;
  /** Whether a pool asks for it; one that is not needed any more goes when nobody uses it. */
  readonly needed: boolean;
  readonly inPlace: boolean;
  /** The kernel's own device, or the form made of BPF programs. */
  readonly form?: 'kernel' | 'bpf';
  /** The address of this node's end. */
  readonly address?: IpAddress;
  /** Why it is not as it should be, or what its going waits for. */
  readonly problem?: string;
}

export interface BlocksStatus {
  readonly pools: readonly { readonly name: string; readonly cidr: Prefix; readonly encapsulation: string }[];
  /** This node's own. */
  readonly blocks: readonly Prefix[];
  readonly tunnels: readonly TunnelStatus[];
  /** Absent until the node's own resource and the first full list are there. */
  readonly bgp?: {
    readonly as: number;
    readonly routerId: IpAddress;
    readonly port: number;
    /** What this node announces. */
    readonly announced: readonly Prefix[];
    readonly sessions: readonly BgpSessionStatus[];
  };
}

/** What only one kind of network has to say. */
export interface NetworkSections {
  /** Of subnet leases. */
  readonly network?: NetworkStatus;
  readonly lease?: LeaseStatus;
  readonly bridge?: { readonly name: string; readonly mtu: number; readonly addresses: readonly string[] };
  /** Of pools, blocks and BGP. */
  readonly blocks?: BlocksStatus;
}

export interface NodeStatus extends Readiness, NetworkSections {
  readonly node: string;
  /** The kinds of network this node runs; new pods come from the first. */
  readonly networks: readonly string[];
  readonly pid: number;
  /** Seconds since the agent started. */
  readonly uptime: number;
  readonly addresses: readonly AddressStatus[];
  readonly datastore: DatastoreStatus;
  readonly routes: RoutesStatus;
  readonly problems: readonly ProblemStatus[];
  readonly parts: readonly PartStatusItem[];
  readonly cni: CniStatus;
}
