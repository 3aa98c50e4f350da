/**
 * What a scenario comes to: every machine with its interfaces, routes and programs, every pod with its host. All names are
 * resolved and all addresses fit, so what is built on it need not look again. `read.ts` makes one.
 */
import type { InterfaceAddress, IpAddress, Prefix } from '../net/mod.ts';
import type { datastores, drillActions, modes, routingPrograms } from './scenario.ts';

export interface Segment {
  readonly name: string;
  /** One for each family it has, IPv4 first. */
  readonly prefixes: readonly Prefix[];
  /** Bytes. */
  readonly mtu: number;
}

export interface MachineInterface {
  /** `eth0`, `eth1`, … in the order of the scenario. */
  readonly name: string;
  readonly segment: Segment;
  /** One for each family it has, IPv4 first. */
  readonly addresses: readonly InterfaceAddress[];
}

export interface StaticRoute {
  readonly to: Prefix;
  readonly via: IpAddress;
}

/** A host or a router: a namespace with interfaces on segments. */
export interface Machine {
  readonly name: string;
  readonly role: 'host' | 'router';
  readonly interfaces: readonly MachineInterface[];
  /** The default route among them. */
  readonly routes: readonly StaticRoute[];
  /** Whether `godwit agent` runs here, so that pods can. */
  readonly agent: boolean;
  /** The pod subnet reserved for this host; without one it takes any. */
  readonly subnet: Prefix | undefined;
  /** Calico's blocks that are this host's before its agent starts. */
  readonly blocks: readonly Prefix[];
  /** What speaks BGP here, when that is not an agent. */
  readonly bgp: RoutingProgram | undefined;
  /** Not there at first; a step of the drill, or `lab add`, brings it. */
  readonly later: boolean;
  /** All of its main table, where the scenario says so line by line. */
  readonly expect: readonly string[] | undefined;
}

/** A BGP speaker of a machine: its own configuration, or what to make one of. */
export interface RoutingProgram {
  readonly program: (typeof routingPrograms)[number];
  readonly config: string | undefined;
  readonly as: number;
  readonly neighbors: readonly (BgpSession & { readonly address: IpAddress })[];
  readonly ranges: readonly (BgpSession & { readonly range: Prefix })[];
  readonly networks: readonly Prefix[];
}

export interface BgpSession {
  readonly as: number;
  /** Only prefixes inside these are taken. */
  readonly accept: readonly Prefix[];
  readonly export: 'none' | 'all';
  /** Of a route reflector. */
  readonly client: boolean;
  readonly nextHopSelf: boolean;
}

/** A `godwit gateway` on a machine, and the routers it tells. */
export interface AnnouncerPlan {
  readonly name: string;
  readonly host: string;
  readonly as: number;
  readonly gateways: readonly string[];
}

/** A step of the drill: what is done to whom, and how many packets of each stream it may cost. */
export interface DrillStep {
  readonly action: (typeof drillActions)[number];
  readonly who: string;
  readonly loss: number;
}

export interface Stream {
  readonly from: string;
  readonly to: string;
}

export interface Pod {
  readonly name: string;
  readonly host: string;
  /** What it asks for; without any it gets any of its host's. */
  readonly addresses: readonly IpAddress[];
}

export interface Topology {
  readonly name: string;
  readonly description: string;
  readonly mode: (typeof modes)[number];
  readonly datastore: (typeof datastores)[number];
  readonly addressing: { readonly network: Prefix; readonly subnetLength: number } | undefined;
  /** Where pods' addresses are from. */
  readonly podNetworks: readonly Prefix[];
  readonly segments: readonly Segment[];
  readonly machines: readonly Machine[];
  readonly pods: readonly Pod[];
  /** Objects of projectcalico.org/v3, put into the datastore before the agents start. */
  readonly resources: readonly Readonly<Record<string, unknown>>[];
  readonly announcers: readonly AnnouncerPlan[];
  /** Packets that flow all through the drill. */
  readonly traffic: readonly Stream[];
  readonly drill: readonly DrillStep[];
}

export const usesDatastore = ({ machines, announcers }: Topology): boolean =>
  machines.some((machine) => machine.agent) || announcers.length > 0;

/** The topology without these machines and what is on them. */
export function without(topology: Topology, absent: ReadonlySet<string>): Topology {
  const there = ({ name }: { readonly name: string }) => !absent.has(name);
  return {
    ...topology,
    machines: topology.machines.filter(there),
    pods: topology.pods.filter(({ host }) => !absent.has(host)),
    announcers: topology.announcers.filter(({ host }) => !absent.has(host)),
  };
}
