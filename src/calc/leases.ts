/**
 * Ownership to routes, host-gw: every other node's lease becomes a route to its subnet by way of its public address. Pure.
 *
 * A lease that cannot be routed is told as a problem and routed nowhere; it never stops the others. What the datastore
 * holds is not trusted: a subnet outside the network, or one that would take this node's own pods away, is refused.
 *
 * Leases of another BackendType (formats: a network on its way from vxlan to host-gw) are routed when their node is
 * directly reachable, which is what makes a rolling change of backend possible; the mixture is told all the same, because
 * a node that still encapsulates answers by another path.
 */
import { printable } from '../base/mod.ts';
import type { Route } from '../desired/mod.ts';
import {
  comparePrefixes,
  familyOf,
  isLoopback,
  isMulticast,
  isUnspecified,
  prefixContains,
  prefixCovers,
  prefixesOverlap,
  prefixLength,
} from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';

/** One node's lease, as far as routes go. */
export interface LeaseFact {
  /** Its key in the datastore, last part: `10.244.1.0-24`. Orders leases where they conflict. */
  readonly name: string;
  readonly backendType: string;
  /** One entry a family the lease covers. */
  readonly subnets: readonly { readonly subnet: Prefix; readonly publicIp: IpAddress | undefined }[];
}

/** A prefix that this node reaches without a gateway. */
export interface Connected {
  readonly prefix: Prefix;
  readonly device: string;
}

/** This node: what the routes are calculated for. */
export interface LeaseView {
  /** The networks of the configuration, one a family at most. */
  readonly networks: readonly Prefix[];
  readonly backendType: string;
  /** Name of this node's own lease; undefined while it has none. */
  readonly ownLease: string | undefined;
  /** This node's own subnets. */
  readonly ownSubnets: readonly Prefix[];
  readonly ownAddresses: readonly IpAddress[];
  /** Prefixes on the underlay; the pod bridge's own is not among them. */
  readonly connected: readonly Connected[];
  /** The device of this node's address: wins where two devices carry the same prefix. */
  readonly uplink: string | undefined;
}

export type LeaseProblemKind =
  | 'no-address' // the lease names no usable public address for the family
  | 'not-connected' // the public address is on no connected subnet
  | 'outside-network' // the subnet is not part of the network
  | 'own-subnet' // another node claims (part of) this node's subnet
  | 'own-address' // a lease other than this node's carries this node's address
  | 'duplicate' // another lease holds the same subnet
  | 'overlap' // another lease holds part of the same addresses; both are routed, the longer prefix wins
  | 'backend'; // another BackendType; routed

export interface LeaseProblem {
  readonly kind: LeaseProblemKind;
  readonly lease: string;
  readonly subnet: Prefix;
  /** A sentence for people. */
  readonly reason: string;
  /** Whether the subnet is routed nevertheless. */
  readonly routed: boolean;
}

export interface LeaseRoutes {
  readonly routes: readonly Route[];
  readonly problems: readonly LeaseProblem[];
}

interface Claim {
  readonly lease: LeaseFact;
  readonly subnet: Prefix;
  readonly publicIp: IpAddress | undefined;
}

/** The routes this node wants for the leases of all others, in the order of a route table. */
export function leaseRoutes(leases: readonly LeaseFact[], view: LeaseView): LeaseRoutes {
  const problems: LeaseProblem[] = [];
  const accepted = new Map<Prefix, { claim: Claim; route: Route }>();
  const reach = reachability(view);
  // sorted, so that every node settles a conflict the same way
  for (const lease of leases.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))) {
    if (lease.name === view.ownLease) continue;
    for (const { subnet, publicIp } of lease.subnets) {
      const claim: Claim = { lease, subnet, publicIp };
      const tell = (kind: LeaseProblemKind, reason: string, routed = false) =>
        problems.push({ kind, lease: lease.name, subnet, reason, routed });
      const refused = refuse(claim, view);
      if (refused) {
        tell(refused.kind, refused.reason);
        continue;
      }
      const holder = accepted.get(subnet);
      if (holder) {
        tell('duplicate', `lease ${printable(holder.claim.lease.name)} holds the same subnet and comes first`);
        continue;
      }
      const device = reach(publicIp!);
      if (device === undefined) {
        tell(
          'not-connected',
          `${publicIp} is on no subnet that is connected to this node; host-gw needs one shared layer 2 segment`,
        );
        continue;
      }
      if (lease.backendType !== view.backendType) {
        tell(
          'backend',
          `backend is ${printable(lease.backendType, 32)}, this network’s is ${view.backendType}; routed directly`,
          true,
        );
      }
      const route: Route = {
        destination: subnet,
        class: 'lease',
        type: 'unicast',
        nextHops: [{ via: publicIp!, device }],
      };
      accepted.set(subnet, { claim, route });
    }
  }
  for (const problem of overlaps([...accepted.values()].map(({ claim }) => claim))) problems.push(problem);
  const routes = [...accepted.values()].map(({ route }) => route);
  return { routes: routes.sort((a, b) => comparePrefixes(a.destination, b.destination)), problems };
}

function refuse({ subnet, publicIp }: Claim, view: LeaseView): { kind: LeaseProblemKind; reason: string } | undefined {
  const family = familyOf(subnet);
  if (!view.networks.some((network) => network !== subnet && prefixCovers(network, subnet))) {
    return { kind: 'outside-network', reason: `the subnet is no part of ${view.networks.join(', ') || 'any network'}` };
  }
  const own = view.ownSubnets.find((o) => prefixCovers(o, subnet));
  if (own !== undefined) return { kind: 'own-subnet', reason: `this node holds ${own}` };
  if (publicIp === undefined || familyOf(publicIp) !== family) {
    return { kind: 'no-address', reason: `the lease has no IPv${family} address of its node` };
  }
  if (isUnspecified(publicIp) || isLoopback(publicIp) || isMulticast(publicIp)) {
    return { kind: 'no-address', reason: `${publicIp} cannot be a node’s address` };
  }
  if (view.networks.some((network) => prefixContains(network, publicIp))) {
    return { kind: 'no-address', reason: `${publicIp} lies inside the pod network` };
  }
  if (view.ownAddresses.includes(publicIp)) {
    return { kind: 'own-address', reason: `${publicIp} is this node’s address, but the lease is not its own` };
  }
  return undefined;
}

/** Longest connected prefix first, the uplink before other devices. */
function reachability(view: LeaseView): (address: IpAddress) => string | undefined {
  const ordered = view.connected.toSorted(
    (a, b) =>
      prefixLength(b.prefix) - prefixLength(a.prefix) ||
      Number(b.device === view.uplink) - Number(a.device === view.uplink) ||
      (a.device < b.device ? -1 : 1),
  );
  return (address) => ordered.find(({ prefix }) => prefixContains(prefix, address))?.device;
}

/** Neighbours in table order are enough: what overlaps is adjacent to, or inside, an earlier and shorter prefix. */
function overlaps(claims: readonly Claim[]): LeaseProblem[] {
  const problems: LeaseProblem[] = [];
  const open: Record<Family, Claim | undefined> = { 4: undefined, 6: undefined };
  for (const claim of claims.toSorted((a, b) => comparePrefixes(a.subnet, b.subnet))) {
    const family = familyOf(claim.subnet);
    const outer = open[family];
    if (outer !== undefined && prefixesOverlap(outer.subnet, claim.subnet)) {
      const reason = `lies inside ${outer.subnet} of lease ${printable(outer.lease.name)}; the longer prefix wins`;
      problems.push({ kind: 'overlap', lease: claim.lease.name, subnet: claim.subnet, reason, routed: true });
    } else open[family] = claim;
  }
  return problems;
}
