/** A scenario made sense of: from the shape of the file to a topology, or to every fault that keeps it from being one. Pure. */
import { err, ok } from '../base/mod.ts';
import type { GodwitError, Result } from '../base/mod.ts';
import {
  addressToBigInt,
  familyOf,
  nthAddress,
  parsePrefix,
  prefixContains,
  prefixCovers,
  prefixesOverlap,
  prefixLength,
  prefixSize,
} from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import { drillActions, ScenarioText } from './scenario.ts';
import type { Fault, ScenarioFile } from './scenario.ts';
import type {
  AnnouncerPlan,
  DrillStep,
  Machine,
  MachineInterface,
  Pod,
  RoutingProgram,
  Segment,
  Topology,
} from './topology.ts';

const DEFAULT_ROUTES = { 4: '0.0.0.0/0' as Prefix, 6: '::/0' as Prefix } as const;
/** RFC 8200, section 5. */
const MIN_IPV6_MTU = 1280;

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
      .slice(0, 32)
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
    const announcers = Object.entries(file.announcers).map(([announcer, plan]) => this.announcer(announcer, plan));
    const drill = file.drill.map((step, i) => this.step(step, i));
    this.streams();
    const { description, mode, datastore, addressing, resources, traffic } = file;
    const [segments, machines] = [[...this.segments.values()], [...this.machines.values()]];
    return {
      ...{ name, description, mode, datastore, addressing, segments, machines, pods },
      ...{ resources, announcers, traffic, drill, podNetworks: this.podNetworks() },
    };
  }

  private fault(path: readonly PropertyKey[], wanted: string): void {
    this.faults.push({ path, wanted });
  }

  private uniqueNames(): void {
    const owners = new Map<string, string>();
    for (const group of ['networks', 'routers', 'hosts', 'pods', 'announcers'] as const) {
      for (const name of Object.keys(this.file[group])) {
        const owner = owners.get(name);
        if (owner !== undefined) this.fault([group, name], `another name: ${owner}.${name} has it`);
        else if (name === 'datastore') this.fault([group, name], 'another name: the datastore’s own namespace has it');
        owners.set(name, group);
      }
    }
  }

  private segment(name: string, prefixes: readonly Prefix[], mtu: number): void {
    const { addressing } = this.file;
    const others = [...this.segments.values()];
    for (const prefix of prefixes) {
      for (const other of others) {
        const theirs = other.prefixes.find((candidate) => prefixesOverlap(prefix, candidate));
        if (theirs !== undefined)
          this.fault(['networks', name, 'prefix'], `a prefix apart from ${theirs} of ${other.name}`);
      }
      if (addressing && prefixesOverlap(prefix, addressing.network)) {
        this.fault(['networks', name, 'prefix'], `a prefix apart from the pods' ${addressing.network}`);
      }
      if (familyOf(prefix) === 6 && mtu < MIN_IPV6_MTU)
        this.fault(['networks', name, 'mtu'], `${MIN_IPV6_MTU} at least: less is not for IPv6`);
    }
    this.segments.set(name, { name, prefixes, mtu });
  }

  private machine(
    role: Machine['role'],
    name: string,
    file: ScenarioFile['hosts'][string] | ScenarioFile['routers'][string],
  ): void {
    const at = [`${role}s`, name];
    const interfaces: MachineInterface[] = [];
    for (const [network, given] of Object.entries(file.addresses)) {
      const segment = this.segments.get(network);
      const path = [...at, 'addresses', network];
      if (!segment) {
        this.fault(path, `an address on one of the networks ${[...this.segments.keys()].join(', ')}`);
        continue;
      }
      const addresses = given.flatMap((address) => {
        this.take(address, name, path);
        const prefix = segment.prefixes.find((candidate) => isHostAddress(candidate, address));
        if (prefix !== undefined) return [{ address, prefixLength: prefixLength(prefix) }];
        this.fault(path, `a host address of ${segment.prefixes.join(' or ')}`);
        return [];
      });
      interfaces.push({ name: `eth${interfaces.length}`, segment, addresses });
    }
    const routes = [...file.default.map((via) => ({ to: DEFAULT_ROUTES[familyOf(via)], via })), ...file.routes];
    routes.forEach(({ to, via }, i) => {
      const index = i - file.default.length;
      const path = [...at, ...(index < 0 ? ['default'] : ['routes', index, 'via'])];
      if (familyOf(to) !== familyOf(via)) this.fault(path, `an IPv${familyOf(to)} address`);
      else if (!isNeighbour(interfaces, via)) this.fault(path, 'a neighbour on one of its networks');
    });
    if (file.bgp && !interfaces[0]?.addresses.some(({ address }) => familyOf(address) === 4))
      this.fault([...at, 'addresses'], 'an IPv4 address first: its routing program is known by it');
    const host = 'later' in file ? file : undefined;
    if (host?.agent === true && file.bgp) this.fault([...at, 'bgp'], 'nothing: the agent speaks BGP itself');
    const agent = role === 'host' && (host?.agent ?? (this.file.mode !== 'none' && file.bgp === undefined));
    this.machines.set(name, {
      ...{ name, role, interfaces, routes, agent, expect: file.expect },
      ...{ subnet: host?.subnet, blocks: host?.blocks ?? [], later: host?.later ?? false },
      bgp: file.bgp && this.routing([...at, 'bgp'], file.bgp),
    });
  }

  private routing(
    at: readonly PropertyKey[],
    file: NonNullable<ScenarioFile['routers'][string]['bgp']>,
  ): RoutingProgram {
    const { program, config, as, neighbors, ranges, networks } = file;
    if (config === undefined && as === undefined) this.fault(at, 'an AS number (as), or a configuration (config)');
    const accept = this.podNetworks();
    return {
      ...{ program, config, as: as ?? 0, networks },
      neighbors: neighbors.map((neighbor) => ({ ...neighbor, accept: neighbor.accept ?? accept })),
      ranges: ranges.map((range) => ({ ...range, accept: range.accept ?? accept })),
    };
  }

  /** Where pods' addresses are from: the network, and the pools among the resources. */
  private podNetworks(): Prefix[] {
    const pools = this.file.resources.filter(({ kind }) => kind === 'IPPool');
    const cidrs = pools.map(({ spec }) => parsePrefix(String(Object(spec).cidr)));
    return [this.file.addressing?.network, ...cidrs].filter((network) => network !== undefined);
  }

  private announcer(name: string, plan: ScenarioFile['announcers'][string]): AnnouncerPlan {
    const at = ['announcers', name];
    if (!this.machines.has(plan.host))
      this.fault([...at, 'host'], `a machine: ${[...this.machines.keys()].join(', ')}`);
    plan.gateways.forEach((gateway, i) => {
      if (this.machines.get(gateway)?.bgp) return;
      const able = [...this.machines.values()].filter((m) => m.bgp).map((m) => m.name);
      this.fault([...at, 'gateways', i], `a machine with bgp: ${able.join(', ') || 'there is none'}`);
    });
    if (this.podNetworks().length === 0) this.fault(at, 'nothing: the scenario has no pod network to announce');
    return { name, ...plan };
  }

  private step(step: ScenarioFile['drill'][number], index: number): DrillStep {
    const action = drillActions.find((candidate) => step[candidate] !== undefined)!;
    const who = step[action]!;
    const hosts = [...this.machines.values()].filter(({ role }) => role === 'host').map(({ name }) => name);
    const programs = [
      ...[...this.machines.values()].filter((m) => m.agent || m.bgp).map((m) => m.name),
      ...Object.keys(this.file.announcers),
      'datastore',
    ];
    const able = action === 'add' || action === 'remove' ? hosts : programs;
    if (!able.includes(who)) this.fault(['drill', index, action], `one of ${able.join(', ')}`);
    return { action, who, loss: step.loss };
  }

  private streams(): void {
    const names = [...Object.keys(this.file.hosts), ...Object.keys(this.file.pods)];
    this.file.traffic.forEach((stream, i) => {
      for (const end of ['from', 'to'] as const) {
        if (!names.includes(stream[end])) this.fault(['traffic', i, end], 'a host or a pod');
      }
      if (stream.from === stream.to) this.fault(['traffic', i, 'to'], 'another one than it comes from');
    });
  }

  /** What the hosts with an agent must have in common. */
  private cluster(): void {
    const { mode, addressing } = this.file;
    const members = [...this.machines.values()].filter((machine) => machine.agent);
    if (mode === 'none') {
      for (const { name } of members) this.fault(['hosts', name, 'agent'], 'false: mode none has no agents');
    } else if (mode === 'calico') {
      if (addressing) this.fault(['addressing'], 'nothing: in mode calico the pools among the resources say it');
      else if (this.podNetworks().length === 0) this.fault(['resources'], 'an IPPool at least');
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
    const oneSegment = mode === 'host-gw' && Object.keys(this.file.announcers).length === 0;
    for (const { name, interfaces, subnet, blocks } of this.machines.values()) {
      const machine = this.machines.get(name)!;
      const at = ['hosts', name];
      if (mode === 'host-gw' && machine.agent && !interfaces[0]?.addresses.some((own) => familyOf(own.address) === 4))
        this.fault([...at, 'addresses'], 'an IPv4 address first: in mode host-gw its lease carries it');
      if (oneSegment && machine.agent && home && interfaces[0] && interfaces[0].segment !== home) {
        const wanted = 'in mode host-gw without announcers all hosts with an agent share one network';
        this.fault([...at, 'addresses'], `${home.name} first: ${wanted}`);
      }
      blocks.forEach((block, i) => {
        if (!machine.agent || mode !== 'calico') this.fault([...at, 'blocks', i], 'none: blocks are for mode calico');
        this.take(block, name, [...at, 'blocks', i]);
      });
      if (subnet === undefined) continue;
      const { network, subnetLength } = addressing ?? { network: subnet, subnetLength: prefixLength(subnet) };
      if (!machine.agent) this.fault([...at, 'subnet'], 'no subnet: this host has no agent');
      else if (mode === 'calico') this.fault([...at, 'subnet'], 'blocks: subnets are for mode host-gw');
      else if (!prefixCovers(network, subnet) || prefixLength(subnet) !== subnetLength) {
        this.fault([...at, 'subnet'], `a /${subnetLength} of ${network}`);
      }
      this.take(subnet, name, [...at, 'subnet']);
    }
  }

  private pod(name: string, hostName: string, addresses: readonly IpAddress[]): Pod {
    const host = this.machines.get(hostName);
    if (host?.agent !== true) {
      const able = [...this.machines.values()].filter((m) => m.agent).map((m) => m.name);
      this.fault(['pods', name, 'host'], `a host with an agent: ${able.join(', ') || 'there is none'}`);
    } else for (const address of addresses) this.podAddress(name, host, address);
    return { name, host: hostName, addresses };
  }

  private podAddress(name: string, host: Machine, address: IpAddress): void {
    const path = ['pods', name, 'address'];
    if (this.file.mode === 'calico') {
      if (!this.podNetworks().some((network) => prefixContains(network, address))) {
        this.fault(path, `an address of ${this.podNetworks().join(', ')}`);
      }
    } else if (host.subnet === undefined)
      this.fault(path, `hosts.${host.name}.subnet as well, so that the address is there`);
    // the first address is the bridge's
    else if (!isHostAddress(host.subnet, address) || address === nthAddress(host.subnet, 1)) {
      this.fault(path, `a pod address of ${host.subnet}, from ${nthAddress(host.subnet, 2)} on`);
    }
    this.take(address, name, path);
  }

  private take(what: string, owner: string, path: readonly PropertyKey[]): void {
    const other = this.taken.get(what);
    if (other !== undefined) this.fault(path, `another one: ${other} has it`);
    this.taken.set(what, owner);
  }
}

/** Whether it is on a segment of one of the interfaces, and is not their own. */
const isNeighbour = (interfaces: readonly MachineInterface[], via: IpAddress): boolean =>
  interfaces.some(
    ({ segment, addresses }) =>
      segment.prefixes.some((prefix) => prefixContains(prefix, via)) &&
      !addresses.some(({ address }) => address === via),
  );

/** In the prefix, and neither its network (in IPv6: all routers') nor its broadcast address. */
function isHostAddress(prefix: Prefix, address: IpAddress): boolean {
  if (!prefixContains(prefix, address)) return false;
  if (prefixLength(prefix) >= (familyOf(prefix) === 4 ? 31 : 127)) return true;
  const offset = addressToBigInt(address) - addressToBigInt(nthAddress(prefix, 0));
  return offset !== 0n && (familyOf(prefix) === 6 || offset !== prefixSize(prefix) - 1n);
}
