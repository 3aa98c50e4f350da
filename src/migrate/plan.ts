/**
 * What a move from subnet leases to blocks, or back, will change: every route on every node, step by step, before anything
 * is done. Pure. A step moves one node: from then on its new pods come from the other kind. Pods that run keep their
 * addresses, and the routes to them stay, so a step only ever adds routes; what goes in the end, when the last pod of the
 * old kind is gone and agents run the new kind alone, is told apart.
 */
import { printable } from '../base/mod.ts';
import { familyOf, prefixAddress, prefixContains, prefixesOverlap } from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';
import type { MigrationReport, Stage, Stages } from './records.ts';

export interface MigrationNode {
  readonly name: string;
  readonly addresses: Readonly<Partial<Record<Family, IpAddress>>>;
  /** The subnets its addresses are on; left out where they are not known: then it is taken to share one with everybody. */
  readonly connected?: readonly Prefix[];
  /** Its ends of VXLAN, where it has any yet. */
  readonly vxlanEnds?: Readonly<Partial<Record<Family, IpAddress>>>;
}

export interface MigrationLease {
  readonly subnet: Prefix;
  /** The address of its node; undefined where the lease names none. */
  readonly node: IpAddress | undefined;
}

export interface MigrationPool {
  readonly name: string;
  readonly cidr: Prefix;
  readonly disabled: boolean;
  readonly encapsulation: 'none' | 'ipip' | 'vxlan';
  /** Only between nodes that share no subnet. */
  readonly crossSubnet: boolean;
}

export interface MigrationInputs {
  /** Where the move goes. */
  readonly to: Stage;
  /** Flannel's network, a prefix a family. */
  readonly networks: readonly Prefix[];
  /** Its backend, as the configuration names it, and what it says of VXLAN. */
  readonly backend: string;
  readonly vxlan?: { readonly vni: number; readonly directRouting: boolean } | undefined;
  readonly leases: readonly MigrationLease[];
  readonly nodes: readonly MigrationNode[];
  readonly pools: readonly MigrationPool[];
  /** Blocks that nodes have. */
  readonly blocks: readonly { readonly cidr: Prefix; readonly node: string }[];
  readonly stages: Stages;
  readonly finished: boolean;
  readonly reports: ReadonlyMap<string, MigrationReport>;
  /** The block a node would claim next in a family while these are taken; undefined when there is none. */
  readonly nextBlock: (node: string, family: Family, taken: ReadonlySet<Prefix>) => Prefix | undefined;
  /** The nodes to move, in this order; all when absent. */
  readonly only?: readonly string[];
}

/** Routes of one node, as `ip route` shows them. */
export interface RouteChange {
  readonly node: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

export interface MigrationStep {
  readonly node: string;
  readonly from: Stage;
  readonly to: Stage;
  /** Blocks the node claims for it. */
  readonly claims: readonly Prefix[];
  readonly changes: readonly RouteChange[];
}

export interface MigrationPlan {
  /** Why it cannot be done; nothing is done while there are any. */
  readonly problems: readonly string[];
  /** What may pass by itself: nodes that are not ready just now. Nothing is begun before. */
  readonly waiting: readonly string[];
  readonly warnings: readonly string[];
  readonly steps: readonly MigrationStep[];
  /** What goes once no pod of the old kind is left and every agent runs the new kind alone. */
  readonly afterwards: readonly RouteChange[];
  /** All routes to nodes' prefixes, on each node: now, and after the last step. */
  readonly tables: readonly {
    readonly node: string;
    readonly before: readonly string[];
    readonly after: readonly string[];
  }[];
}

/** Our mark on routes, as it is shown. */
const PROTO = 'proto 71';
const BRIDGE = 'cni0';
const shareSubnet = ({ connected }: MigrationNode, address: IpAddress): boolean =>
  !connected || connected.some((prefix) => prefixContains(prefix, address));
const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export function planMigration(inputs: MigrationInputs): MigrationPlan {
  return new Planner(inputs).plan();
}

class Planner {
  private readonly inputs: MigrationInputs;
  private readonly nodes: readonly MigrationNode[];
  private readonly byAddress = new Map<IpAddress, MigrationNode>();

  constructor(inputs: MigrationInputs) {
    this.inputs = inputs;
    this.nodes = inputs.nodes.toSorted((a, b) => byText(a.name, b.name));
    for (const node of this.nodes)
      for (const address of Object.values(node.addresses)) this.byAddress.set(address, node);
  }

  plan(): MigrationPlan {
    const { blocks, to } = this.inputs;
    const before = new Map(this.nodes.map((node) => [node.name, this.table(node, blocks)]));
    const taken = new Set(blocks.map(({ cidr }) => cidr));
    const owned = [...blocks];
    const steps: MigrationStep[] = [];
    const lacking: string[] = [];
    for (const node of this.moving()) {
      const claims = to === 'blocks' ? this.claims(node, owned, taken, lacking) : [];
      for (const cidr of claims) {
        taken.add(cidr);
        owned.push({ cidr, node: node.name });
      }
      const changes = this.nodes.map((on): RouteChange => {
        const added = claims.flatMap((cidr) => this.blockRoute(on, node, cidr) ?? []);
        return { node: on.name, added, removed: [] };
      });
      const from = to === 'blocks' ? 'subnets' : 'blocks';
      steps.push({ node: node.name, from, to, claims, changes: changes.filter(({ added }) => added.length > 0) });
    }
    const afterwards = this.nodes.map((node): RouteChange => {
      const gone =
        to === 'blocks'
          ? this.leaseRoutes(node)
          : owned.flatMap(({ cidr, node: owner }) => this.routeTo(node, owner, cidr));
      return { node: node.name, added: [], removed: gone };
    });
    return {
      problems: [...this.problems(), ...lacking],
      waiting: this.waiting(),
      warnings: this.warnings(),
      steps,
      afterwards: afterwards.filter(({ removed }) => removed.length > 0),
      tables: this.nodes.map((node) => ({
        ...{ node: node.name, before: before.get(node.name)!, after: this.table(node, owned) },
      })),
    };
  }

  /** Nodes that are not where they are to be. */
  private moving(): MigrationNode[] {
    const { only, to } = this.inputs;
    const wanted = only ? only.flatMap((name) => this.nodes.find((node) => node.name === name) ?? []) : this.nodes;
    return wanted.filter((node) => this.stageOf(node.name) !== to);
  }

  private stageOf(name: string): Stage {
    const { stages, reports, finished } = this.inputs;
    if (finished) return 'blocks';
    return stages.get(name) ?? reports.get(name)?.stage ?? 'subnets';
  }

  /** One block of each family a pool gives the node, where it has none. */
  private claims(
    node: MigrationNode,
    owned: readonly { cidr: Prefix; node: string }[],
    taken: ReadonlySet<Prefix>,
    lacking: string[],
  ): Prefix[] {
    const claims: Prefix[] = [];
    for (const family of [4, 6] as const) {
      const pools = this.inputs.pools.filter(({ cidr, disabled }) => !disabled && familyOf(cidr) === family);
      if (pools.length === 0 || node.addresses[family] === undefined) continue;
      if (owned.some(({ cidr, node: owner }) => owner === node.name && familyOf(cidr) === family)) continue;
      const cidr = this.inputs.nextBlock(node.name, family, taken);
      if (cidr === undefined) lacking.push(`node ${node.name}: no pool has an IPv${family} block for it`);
      else claims.push(cidr);
    }
    return claims;
  }

  /** Every route to a node's prefix on one node, as it is with these blocks. */
  private table(on: MigrationNode, blocks: readonly { cidr: Prefix; node: string }[]): string[] {
    const routes = [...this.leaseRoutes(on), ...blocks.flatMap(({ cidr, node }) => this.routeTo(on, node, cidr))];
    return routes.sort(byText);
  }

  private leaseRoutes(on: MigrationNode): string[] {
    const { vxlan, leases } = this.inputs;
    return leases.flatMap(({ subnet, node: address }) => {
      const owner = address === undefined ? undefined : this.byAddress.get(address);
      if (!owner || address === undefined) return [];
      if (owner.name === on.name) return [`${subnet} dev ${BRIDGE}`];
      if (vxlan && !(vxlan.directRouting && shareSubnet(on, address))) {
        const device = `flannel${familyOf(subnet) === 4 ? '' : '-v6'}.${vxlan.vni}`;
        return [`${subnet} via ${prefixAddress(subnet)} dev ${device} ${PROTO} onlink`];
      }
      return [`${subnet} via ${address}${this.device(on)} ${PROTO}`];
    });
  }

  private routeTo(on: MigrationNode, owner: string, cidr: Prefix): string[] {
    const node = this.nodes.find(({ name }) => name === owner);
    return node ? (this.blockRoute(on, node, cidr) ?? []) : [];
  }

  private blockRoute(on: MigrationNode, owner: MigrationNode, cidr: Prefix): string[] | undefined {
    if (on.name === owner.name) return [`blackhole ${cidr} ${PROTO}`];
    const via = owner.addresses[familyOf(cidr)];
    if (via === undefined) return undefined;
    const pool = this.inputs.pools.find((p) => prefixesOverlap(p.cidr, cidr));
    const direct = shareSubnet(on, via);
    const tunnel = pool && !(pool.crossSubnet && direct) ? pool.encapsulation : 'none';
    if (tunnel === 'ipip') return [`${cidr} via ${via} dev tunl0 ${PROTO} onlink`];
    if (tunnel === 'vxlan') {
      const family = familyOf(cidr);
      const end = owner.vxlanEnds?.[family] ?? `(tunnel address of ${owner.name})`;
      return [`${cidr} via ${end} dev vxlan${family === 4 ? '' : '-v6'}.calico ${PROTO} onlink`];
    }
    if (!direct) return [`${cidr} via (the router to ${via}) ${PROTO}`];
    return [`${cidr} via ${via}${this.device(on)} ${PROTO}`];
  }

  private device({ name }: MigrationNode): string {
    const device = this.inputs.reports.get(name)?.device;
    return device === undefined ? '' : ` dev ${device}`;
  }

  private problems(): string[] {
    const { networks, pools, leases, reports, to, only, backend, finished } = this.inputs;
    const problems: string[] = [];
    for (const name of only ?? []) {
      if (!this.nodes.some((node) => node.name === name)) problems.push(`there is no node ${name}`);
    }
    if (finished && to === 'subnets')
      problems.push('the migration is finished: bridges and leases are gone, there is nothing to go back to');
    // back is open until then: whatever is wrong may be the reason
    if (finished || to === 'subnets') return problems;
    if (networks.length === 0) problems.push('there is no network of leases in the datastore');
    if (!['host-gw', 'vxlan', 'udp'].includes(backend)) {
      problems.push(
        `the network of leases has backend ${printable(backend)}, which no agent carries; allowed: host-gw, vxlan`,
      );
    }
    const enabled = pools.filter(({ disabled }) => !disabled);
    if (enabled.length === 0) problems.push('there is no IPPool that blocks could come from: apply one');
    for (const pool of enabled) {
      for (const network of networks) {
        if (!prefixesOverlap(pool.cidr, network)) continue;
        const why = 'an address could be given twice, by a lease and by a block';
        problems.push(
          `pool ${pool.name} (${pool.cidr}) overlaps the network of leases (${network}): ${why}; allowed: a pool beside it`,
        );
      }
    }
    for (const { subnet, node } of leases) {
      if (node !== undefined && this.byAddress.has(node)) continue;
      const who = node === undefined ? 'nobody' : `${node}, which is no node`;
      problems.push(
        `lease ${subnet} is of ${who}: every node must run godwit agent with both networks, or it would not know the blocks`,
      );
    }
    for (const { name } of this.nodes) {
      const report = reports.get(name);
      if (!report)
        problems.push(`node ${name}: its agent does not say that it runs both networks: --network subnets,blocks`);
    }
    return problems;
  }

  private waiting(): string[] {
    if (this.inputs.to === 'subnets') return [];
    return this.nodes.flatMap(({ name }) => {
      const report = this.inputs.reports.get(name);
      return !report || report.ready ? [] : [`node ${name} is not ready: ${report.reason ?? 'it does not say why'}`];
    });
  }

  private warnings(): string[] {
    const { pools, to, networks } = this.inputs;
    const warnings: string[] = [];
    for (const family of to === 'blocks' ? networks.map(familyOf) : []) {
      if (pools.some(({ cidr, disabled }) => !disabled && familyOf(cidr) === family)) continue;
      warnings.push(`pods on leases have IPv${family} addresses, and no pool has any: new pods would have none`);
    }
    for (const { name, encapsulation, crossSubnet } of pools) {
      if (encapsulation === 'none' || crossSubnet || to === 'subnets') continue;
      warnings.push(
        `pool ${name} is encapsulated always: packets between pods of both kinds go one way in a tunnel, the other without`,
      );
    }
    return warnings;
  }
}
