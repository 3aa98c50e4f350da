/**
 * A scenario made sense of: every machine with its interfaces, routes and part in the cluster, every pod with its host.
 * Pure; all names are resolved and all addresses fit, so what is built on it need not look again.
 */
import { err, ok } from '../base/mod.ts';
import type { GodwitError, Result } from '../base/mod.ts';
import {
  addressToBigInt,
  nthAddress,
  prefixContains,
  prefixCovers,
  prefixesOverlap,
  prefixLength,
  prefixSize,
} from '../net/mod.ts';
import type { InterfaceAddress, IpAddress, Prefix } from '../net/mod.ts';
import { ScenarioText } from './scenario.ts';
import type { datastores, Fault, modes, ScenarioFile } from './scenario.ts';

export interface Segment {
  readonly name: string;
  readonly prefix: Prefix;
  /** Bytes. */
  readonly mtu: number;
}

export interface MachineInterface extends InterfaceAddress {
  /** `eth0`, `eth1`, … in the order of the scenario. */
  readonly name: string;
  readonly segment: Segment;
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
}

export interface Pod {
  readonly name: string;
  readonly host: string;
  /** What it asks for; without one it gets any of its host's. */
  readonly address: IpAddress | undefined;
}

export interface Topology {
  readonly name: string;
  readonly description: string;
  readonly mode: (typeof modes)[number];
  readonly datastore: (typeof datastores)[number];
  readonly addressing: { readonly network: Prefix; readonly subnetLength: number } | undefined;
  readonly segments: readonly Segment[];
  readonly machines: readonly Machine[];
  readonly pods: readonly Pod[];
}

const DEFAULT_ROUTE = '0.0.0.0/0' as Prefix;

/** `source` names the text in messages; its last part without `.yaml` is the name of a scenario that gives none. */
export function readScenario(source: string, text: string): Result<Topology, GodwitError> {
  const scenario = new ScenarioText(source, text);
  const file = scenario.parse();
  if (!file.ok) return file;
  const builder = new TopologyBuilder(file.value);
  const topology = builder.build(file.value.name ?? nameFrom(source));
  return builder.faults.length > 0 ? err(scenario.refuse(builder.faults)) : ok(topology);
}

function nameFrom(source: string): string {
  const base = source.slice(source.lastIndexOf('/') + 1).replace(/\.ya?ml$/, '');
  return (
    base
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^[^a-z]+/, '')
      .slice(0, 15)
      .replace(/-$/, '') || 'lab'
  );
}

class TopologyBuilder {
  readonly faults: Fault[] = [];
  private readonly file: ScenarioFile;
  private readonly segments = new Map<string, Segment>();
  private readonly machines = new Map<string, Machine>();
  /** Who has an address, or a subnet: for messages about the second one. */
  private readonly taken = new Map<string, string>();

  constructor(file: ScenarioFile) {
    this.file = file;
  }

  build(name: string): Topology {
    const { file } = this;
    this.uniqueNames();
    for (const [segment, { prefix, mtu }] of Object.entries(file.networks)) this.segment(segment, prefix, mtu);
    for (const [router, machine] of Object.entries(file.routers)) this.machine('router', router, machine);
    for (const [host, machine] of Object.entries(file.hosts)) this.machine('host', host, machine);
    this.cluster();
    const pods = Object.entries(file.pods).map(([pod, { host, address }]) => this.pod(pod, host, address));
    const { description, mode, datastore, addressing } = file;
    const segments = [...this.segments.values()];
    return { name, description, mode, datastore, addressing, segments, machines: [...this.machines.values()], pods };
  }

  private fault(path: readonly PropertyKey[], wanted: string): void {
    this.faults.push({ path, wanted });
  }

  private uniqueNames(): void {
    const owners = new Map<string, string>();
    for (const group of ['networks', 'routers', 'hosts', 'pods'] as const) {
      for (const name of Object.keys(this.file[group])) {
        const owner = owners.get(name);
        if (owner !== undefined) this.fault([group, name], `another name: ${owner}.${name} has it`);
        else if (name === 'datastore') this.fault([group, name], 'another name: the datastore’s own namespace has it');
        owners.set(name, group);
      }
    }
  }

  private segment(name: string, prefix: Prefix, mtu: number): void {
    const { addressing } = this.file;
    for (const other of this.segments.values()) {
      if (prefixesOverlap(prefix, other.prefix)) {
        this.fault(['networks', name, 'prefix'], `a prefix apart from ${other.prefix} of ${other.name}`);
      }
    }
    if (addressing && prefixesOverlap(prefix, addressing.network)) {
      this.fault(['networks', name, 'prefix'], `a prefix apart from the pods' ${addressing.network}`);
    }
    this.segments.set(name, { name, prefix, mtu });
  }

  private machine(
    role: Machine['role'],
    name: string,
    file: ScenarioFile['hosts'][string] | ScenarioFile['routers'][string],
  ): void {
    const at = [`${role}s`, name];
    const interfaces: MachineInterface[] = [];
    for (const [network, address] of Object.entries(file.addresses)) {
      const segment = this.segments.get(network);
      const path = [...at, 'addresses', network];
      if (!segment) {
        this.fault(path, `an address on one of the networks ${[...this.segments.keys()].join(', ')}`);
        continue;
      }
      if (!isHostAddress(segment.prefix, address)) this.fault(path, `a host address of ${segment.prefix}`);
      this.take(address, name, path);
      interfaces.push({
        name: `eth${interfaces.length}`,
        segment,
        address,
        prefixLength: prefixLength(segment.prefix),
      });
    }
    const routes = [...file.routes];
    if (file.default !== undefined) routes.unshift({ to: DEFAULT_ROUTE, via: file.default });
    routes.forEach(({ via }, i) => {
      if (interfaces.some((own) => own.address !== via && prefixContains(own.segment.prefix, via))) return;
      const isDefault = file.default !== undefined && i === 0;
      const index = i - (file.default === undefined ? 0 : 1);
      this.fault(
        [...at, ...(isDefault ? ['default'] : ['routes', index, 'via'])],
        'a neighbour on one of its networks',
      );
    });
    const agent = role === 'host' && (('agent' in file ? file.agent : undefined) ?? this.file.mode !== 'none');
    const subnet = 'subnet' in file ? file.subnet : undefined;
    this.machines.set(name, { name, role, interfaces, routes, agent, subnet });
  }

  /** What the hosts with an agent must have in common. */
  private cluster(): void {
    const { mode, addressing } = this.file;
    const members = [...this.machines.values()].filter((machine) => machine.agent);
    if (mode === 'none') {
      for (const { name } of members) this.fault(['hosts', name, 'agent'], 'false: mode none has no agents');
    } else if (!addressing) this.fault(['addressing'], 'the pod network, such as { network: 10.244.0.0/16 }');
    else if (addressing.subnetLength < prefixLength(addressing.network) + 2) {
      this.fault(
        ['addressing', 'subnetLength'],
        `at least ${prefixLength(addressing.network) + 2}: four subnets or more`,
      );
    }
    if (addressing && members.length > 2 ** (addressing.subnetLength - prefixLength(addressing.network))) {
      const wanted = `long enough for ${members.length} hosts: ${addressing.network} has too few subnets`;
      this.fault(['addressing', 'subnetLength'], wanted);
    }
    if (mode !== 'none' && members.length === 0)
      this.fault(['hosts'], `at least one host with an agent in mode ${mode}`);
    const home = members[0]?.interfaces[0]?.segment;
    for (const { name, interfaces, subnet } of this.machines.values()) {
      const machine = this.machines.get(name)!;
      const at = ['hosts', name];
      if (machine.agent && home && interfaces[0] && interfaces[0].segment !== home) {
        this.fault(
          [...at, 'addresses'],
          `${home.name} first: in mode host-gw all hosts with an agent share one network`,
        );
      }
      if (subnet === undefined) continue;
      const { network, subnetLength } = addressing ?? { network: subnet, subnetLength: prefixLength(subnet) };
      if (!machine.agent) this.fault([...at, 'subnet'], 'no subnet: this host has no agent');
      else if (!prefixCovers(network, subnet) || prefixLength(subnet) !== subnetLength) {
        this.fault([...at, 'subnet'], `a /${subnetLength} of ${network}`);
      }
      this.take(subnet, name, [...at, 'subnet']);
    }
  }

  private pod(name: string, hostName: string, address: IpAddress | undefined): Pod {
    const host = this.machines.get(hostName);
    if (host?.agent !== true) {
      const able = [...this.machines.values()].filter((m) => m.agent).map((m) => m.name);
      this.fault(['pods', name, 'host'], `a host with an agent: ${able.join(', ') || 'there is none'}`);
    } else if (address !== undefined) {
      const path = ['pods', name, 'address'];
      if (host.subnet === undefined) this.fault(path, `hosts.${hostName}.subnet as well, so that the address is there`);
      // the first address is the bridge's
      else if (!isHostAddress(host.subnet, address) || address === nthAddress(host.subnet, 1)) {
        this.fault(path, `a pod address of ${host.subnet}, from ${nthAddress(host.subnet, 2)} on`);
      }
      this.take(address, name, path);
    }
    return { name, host: hostName, address };
  }

  private take(what: string, owner: string, path: readonly PropertyKey[]): void {
    const other = this.taken.get(what);
    if (other !== undefined) this.fault(path, `another one: ${other} has it`);
    this.taken.set(what, owner);
  }
}

/** In the prefix, and neither its network nor its broadcast address. */
function isHostAddress(prefix: Prefix, address: IpAddress): boolean {
  if (!prefixContains(prefix, address)) return false;
  if (prefixLength(prefix) >= 31) return true;
  const offset = addressToBigInt(address) - addressToBigInt(nthAddress(prefix, 0));
  return offset !== 0n && offset !== prefixSize(prefix) - 1n;
}
