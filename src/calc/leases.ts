/**
 * Ownership to routes: every other node's lease becomes a route to its subnet, by way of its public address (host-gw) or
 * through a VXLAN tunnel to it. Pure.
 *
 * A lease that cannot be routed is told as a problem and routed nowhere; it never stops the others. What the datastore
 * holds is not trusted: a subnet outside the network, or one that would take this node's own pods away, is refused.
 *
 * Leases of another BackendType (formats: a network on its way from vxlan to host-gw) are routed when their node is
 * directly reachable, which is what makes a rolling change of backend possible; the mixture is told all the same, because
 * a node that still encapsulates answers by another path.
 */
import { printable } from '../base/mod.ts';
import type { NextHop, Route, VxlanPeer } from '../desired/mod.ts';
import { addressBytes, familyOf, prefixAddress, prefixLength } from '../net/mod.ts';
import type { Family, IpAddress, MacAddress, Prefix } from '../net/mod.ts';

/** One node's lease, as far as routes go. */
export interface LeaseFact {
  /** Its key in the datastore, last part: `10.244.1.0-24`. Orders leases where they conflict. */
  readonly name: string;
  readonly backendType: string;
  /** One entry a family the lease covers. */
  readonly subnets: readonly SubnetFact[];
}

export interface SubnetFact {
  readonly subnet: Prefix;
  readonly publicIp: IpAddress | undefined;
  /** The node's VXLAN end, when it has one of the family. */
  readonly vtep?: { readonly vni: number; readonly mac: MacAddress } | undefined;
}

/** How this network's VXLAN is used. */
export interface LeaseVxlan {
  readonly vni: number;
  readonly device: Readonly<Record<Family, string>>;
  /** Nodes on a connected subnet are sent to without the tunnel. */
  readonly directRouting: boolean;
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
  /** Undefined where the network's backend is host-gw. */
  readonly vxlan?: LeaseVxlan | undefined;
  /** What a node on no connected subnet means: a problem, or the business of gateways that know its subnet. */
  readonly otherSegments?: 'refuse' | 'gateway' | undefined;
}

export type LeaseProblemKind =
  | 'no-address' // the lease names no usable public address for the family
  | 'no-vtep' // on no connected subnet, and the lease names no VXLAN end of this network
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
  /** The nodes that routes go to through a VXLAN. */
  readonly peers: readonly VxlanPeer[];
  readonly problems: readonly LeaseProblem[];
}

interface Claim {
  readonly lease: LeaseFact;
  readonly subnet: Prefix;
  readonly route: Route;
  readonly peer: VxlanPeer | undefined;
}

/** The routes this node wants for the leases of all others, in the order of a route table. */
export function leaseRoutes(leases: readonly LeaseFact[], view: LeaseView): LeaseRoutes {
  const problems: LeaseProblem[] = [];
  const accepted = new Map<Prefix, Claim>();
  const check = new ClaimCheck(view);
  // sorted, so that every node settles a conflict the same way
  for (const lease of leases.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))) {
    if (lease.name === view.ownLease) continue;
    for (const fact of lease.subnets) {
      const { subnet } = fact;
      const tell = (kind: LeaseProblemKind, reason: string, routed = false) =>
        problems.push({ kind, lease: lease.name, subnet, reason, routed });
      const outcome = check.settle(fact);
      if ('kind' in outcome) {
        if (outcome.kind === 'not-connected' && view.otherSegments === 'gateway') continue;
        tell(outcome.kind, outcome.reason);
        continue;
      }
      const holder = accepted.get(subnet);
      if (holder) {
        tell('duplicate', `lease ${printable(holder.lease.name)} holds the same subnet and comes first`);
        continue;
      }
      if (lease.backendType !== view.backendType && !outcome.peer) {
        const theirs = printable(lease.backendType, 32);
        tell('backend', `backend is ${theirs}, this network’s is ${view.backendType}; routed directly`, true);
      }
      accepted.set(subnet, { lease, subnet, ...outcome });
    }
  }
  const ordered = inTableOrder([...accepted.values()], ({ subnet }) => subnet);
  for (const problem of overlaps(ordered)) problems.push(problem);
  const peers = ordered.flatMap(({ peer }) => peer ?? []);
  return { routes: ordered.map(({ route }) => route), peers, problems };
}

type Settled =
  | { readonly route: Route; readonly peer: VxlanPeer | undefined }
  | { readonly kind: LeaseProblemKind; readonly reason: string };

/** What of the view every claim is held against, parsed once. */
export class ClaimCheck {
  private readonly view: LeaseView;
  private readonly networks: readonly Matcher[];
  private readonly own: readonly Matcher[];
  private readonly ownAddresses: ReadonlySet<IpAddress>;
  /** Longest connected prefix first, the uplink before other devices. */
  private readonly connected: readonly (Matcher & { readonly device: string })[];

  constructor(view: LeaseView) {
    this.view = view;
    this.networks = view.networks.map(matcher);
    this.own = view.ownSubnets.map(matcher);
    this.ownAddresses = new Set(view.ownAddresses);
    const connected = view.connected.map(({ prefix, device }) => ({ ...matcher(prefix), device }));
    this.connected = connected.sort(
      (a, b) =>
        b.length - a.length ||
        Number(b.device === view.uplink) - Number(a.device === view.uplink) ||
        (a.device < b.device ? -1 : 1),
    );
  }

  settle({ subnet, publicIp, vtep }: SubnetFact): Settled {
    const family = familyOf(subnet);
    const bytes = addressBytes(prefixAddress(subnet));
    const length = prefixLength(subnet);
    if (!this.networks.some((network) => network.length < length && network.matches(bytes))) {
      const reason = `the subnet is no part of ${this.view.networks.join(', ') || 'any network'}`;
      return { kind: 'outside-network', reason };
    }
    const own = this.own.find((o) => o.length <= length && o.matches(bytes));
    if (own) return { kind: 'own-subnet', reason: `this node holds ${own.prefix}` };
    if (publicIp === undefined || familyOf(publicIp) !== family) {
      return { kind: 'no-address', reason: `the lease has no IPv${family} address of its node` };
    }
    const next = addressBytes(publicIp);
    if (notNodes.some((never) => never.matches(next))) {
      return { kind: 'no-address', reason: `${publicIp} cannot be a node’s address` };
    }
    if (this.networks.some((network) => network.matches(next))) {
      return { kind: 'no-address', reason: `${publicIp} lies inside the pod network` };
    }
    if (this.ownAddresses.has(publicIp)) {
      return { kind: 'own-address', reason: `${publicIp} is this node’s address, but the lease is not its own` };
    }
    const device = this.connected.find((c) => c.matches(next))?.device;
    const { vxlan } = this.view;
    const route = (hop: NextHop): Route => ({ destination: subnet, class: 'lease', type: 'unicast', nextHops: [hop] });
    if (vxlan && vtep?.vni === vxlan.vni && !(vxlan.directRouting && device !== undefined)) {
      // the tunnel's end has the subnet's own address, as Flannel has it
      const gateway = prefixAddress(subnet);
      const hop = { via: gateway, device: vxlan.device[family], onlink: true };
      return { route: route(hop), peer: { node: publicIp, gateway, mac: vtep.mac } };
    }
    if (device !== undefined) return { route: route({ via: publicIp, device }), peer: undefined };
    const where = `${publicIp} is on no subnet that is connected to this node`;
    if (vxlan) return { kind: 'no-vtep', reason: `${where}, and the lease names no end of VXLAN ${vxlan.vni}` };
    return { kind: 'not-connected', reason: `${where}; host-gw needs one shared layer 2 segment` };
  }
}

interface Matcher {
  readonly prefix: Prefix;
  readonly length: number;
  /** Whether an address, as bytes, lies inside; false for the other family. */
  readonly matches: (address: Uint8Array) => boolean;
}

/** `prefixContains` for one prefix and thousands of addresses. */
function matcher(prefix: Prefix): Matcher {
  const bytes = addressBytes(prefixAddress(prefix));
  const length = prefixLength(prefix);
  const whole = length >> 3;
  const rest = (0xff << (8 - (length & 7))) & 0xff;
  const matches = (address: Uint8Array): boolean => {
    if (address.length !== bytes.length) return false;
    for (let i = 0; i < whole; i++) if (address[i] !== bytes[i]) return false;
    return rest === 0 || ((address[whole]! ^ bytes[whole]!) & rest) === 0;
  };
  return { prefix, length, matches };
}

/** Unspecified, loopback and multicast. */
const notNodes = ['0.0.0.0/32', '127.0.0.0/8', '224.0.0.0/4', '::/128', '::1/128', 'ff00::/8'].map((text) =>
  matcher(text as Prefix),
);

/** By family, address and length; each prefix is parsed once, not at every comparison. */
export function inTableOrder<T>(items: readonly T[], prefixOf: (item: T) => Prefix): T[] {
  const keyed = items.map((item) => {
    const subnet = prefixOf(item);
    const hex = Buffer.from(addressBytes(prefixAddress(subnet))).toString('hex');
    return { item, key: `${familyOf(subnet)}${hex}${String(prefixLength(subnet)).padStart(3, '0')}` };
  });
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ item }) => item);
}

/** Claims in table order: what overlaps lies inside the last prefix that lies inside no other. */
function overlaps(claims: readonly Claim[]): LeaseProblem[] {
  const problems: LeaseProblem[] = [];
  let outer: { claim: Claim; matcher: Matcher } | undefined;
  for (const claim of claims) {
    if (outer?.matcher.matches(addressBytes(prefixAddress(claim.subnet))) === true) {
      const { lease, subnet } = outer.claim;
      const reason = `lies inside ${subnet} of lease ${printable(lease.name)}; the longer prefix wins`;
      problems.push({ kind: 'overlap', lease: claim.lease.name, subnet: claim.subnet, reason, routed: true });
    } else outer = { claim, matcher: matcher(claim.subnet) };
  }
  return problems;
}

/** `after`, or the very object of before where nothing changed: what takes it sees at once that it need not look. */
export const keepRoute = (before: Route | undefined, after: Route): Route =>
  before !== undefined && Bun.deepEquals(before, after) ? before : after;
