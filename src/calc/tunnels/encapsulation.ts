/**
 * How packets get to another node's part of a pool: plainly, by IPIP or by VXLAN. Pure.
 *
 * The pool names the way; CrossSubnet means plainly to nodes on this node's own subnet. Plain and IPIP routes come from
 * BGP: the best path says whose the prefix is, and the route goes to that node itself, by `tunl0`, or to wherever its
 * address is reached. VXLAN routes come from who owns which block, and win over what BGP says of the same prefix.
 *
 * A node that does not take the pool's way yet (the mode has just changed) is sent to by another tunnel it takes and this
 * node still has, else plainly. So a change of mode needs no moment at which all nodes change at once.
 */
import type { IpipTunnel, NextHop, Route, VxlanPeer, VxlanTunnel } from '../../desired/mod.ts';
import type { IpPoolSpec, Resource } from '../../model/mod.ts';
import { familyOf, hostPrefix, prefixAddress, prefixContains, PrefixMap, prefixLength } from '../../net/mod.ts';
import type { Family, InterfaceAddress, IpAddress, Prefix } from '../../net/mod.ts';
import { subnetOf, TAKES_ANNOTATION, tunnelKinds, tunnelPeer, vxlanKind, vxlanMac } from './peers.ts';
import type { TunnelKind, TunnelPeer } from './peers.ts';
import { IPIP_OVERHEAD, tunnelMtu, VXLAN_OVERHEAD } from './settings.ts';
import type { TunnelSettings } from './settings.ts';

export const IPIP_DEVICE = 'tunl0';
export const VXLAN_DEVICE: Readonly<Record<Family, string>> = { 4: 'vxlan.calico', 6: 'vxlan-v6.calico' };

/** One of this node's own addresses, and the interface it is on. */
export interface Uplink {
  readonly address: InterfaceAddress;
  readonly device: string;
  /** Bytes. */
  readonly mtu: number;
}

export interface EncapsulationView {
  /** This node's name. */
  readonly node: string;
  /** Every pool there is, disabled ones too: their pods live on. */
  readonly pools: Iterable<IpPoolSpec>;
  /** Every node; this one's own among them or not. */
  readonly nodes: Iterable<Resource<'Node'>>;
  readonly settings: TunnelSettings;
  /** One a family at most. */
  readonly uplinks: Readonly<Partial<Record<Family, Uplink>>>;
  /** The addresses of this node's tunnel ends, from a pool; a VXLAN cannot be without. */
  readonly addresses: Readonly<Partial<Record<TunnelKind, IpAddress>>>;
  /** The tunnels that are in place in the kernel, wanted or not wanted any more. */
  readonly inPlace: ReadonlySet<TunnelKind>;
  /** The largest packet that reaches a node, bytes, where ICMP told that it is less than the uplink's. */
  readonly pathMtus?: ReadonlyMap<IpAddress, number>;
}

/** A BGP path: whom it came from, and where packets to that address go; no hops when nowhere. */
export interface BgpPath {
  readonly nextHop: IpAddress;
  readonly hops: readonly NextHop[];
}

/** What the node's own Node resource shall say of its tunnels; undefined: nothing. */
export interface PublishedTunnels {
  /** `spec.bgp.ipv4IPIPTunnelAddr` */
  readonly ipipAddress: IpAddress | undefined;
  /** `spec.ipv4VXLANTunnelAddr`, `spec.ipv6VXLANTunnelAddr`; its MAC is not published, every node derives it. */
  readonly vxlanAddress: Readonly<Partial<Record<Family, IpAddress>>>;
  /** `metadata.annotations` */
  readonly annotations: Readonly<Record<string, string>>;
}

type Way = 'plain' | 'ipip' | 'vxlan';
const wayOf = (kind: TunnelKind): Way => (kind === 'ipip' ? 'ipip' : 'vxlan');

export class Encapsulation {
  /** The tunnels the pools ask for. */
  readonly needed: ReadonlySet<TunnelKind>;
  private readonly view: EncapsulationView;
  private readonly pools = new PrefixMap<IpPoolSpec>();
  private readonly byName = new Map<string, TunnelPeer>();
  private readonly byAddress = new Map<IpAddress, TunnelPeer>();
  private readonly own: Resource<'Node'> | undefined;

  constructor(view: EncapsulationView) {
    this.view = view;
    for (const pool of view.pools) this.pools.set(pool.cidr, pool);
    for (const node of view.nodes) {
      if (node.name === view.node) {
        this.own = node;
        continue;
      }
      const peer = tunnelPeer(node);
      this.byName.set(peer.name, peer);
      for (const { address } of Object.values(peer.addresses)) this.byAddress.set(address, peer);
    }
    this.needed = this.neededTunnels();
  }

  /** The pools whose addresses this tunnel's own end may have: those that use it. */
  poolsFor(kind: TunnelKind): Prefix[] {
    return [...this.pools.entries()].flatMap(([cidr, pool]) => (this.uses(pool) === kind ? [cidr] : []));
  }

  /** The route for a prefix BGP has paths to; undefined when none of them leads anywhere. */
  bgpRoute(destination: Prefix, paths: readonly BgpPath[]): Route | undefined {
    const pool = this.poolOf(destination);
    const hops = new Map<string, NextHop>();
    let mtu: number | undefined;
    for (const { nextHop, hops: resolved } of paths) {
      if (resolved.length === 0) continue;
      const peer = this.byAddress.get(nextHop);
      const way = pool ? this.way(pool, peer, nextHop) : 'plain';
      if (way === 'ipip') {
        hops.set(`${nextHop} ${IPIP_DEVICE}`, { via: nextHop, device: IPIP_DEVICE, onlink: true });
        const path = this.view.pathMtus?.get(nextHop);
        if (path !== undefined) mtu = Math.min(mtu ?? path, path - IPIP_OVERHEAD);
      } else if (pool && peer && way === 'vxlan') {
        // the same as `vxlanRoutes` has, which may not know the owner yet: plainly, it would lead nowhere
        const hop = this.vxlanHop(pool, peer, familyOf(destination));
        if (hop) hops.set(`${hop.via} ${hop.device}`, hop);
      } else for (const hop of resolved) hops.set(`${hop.via} ${hop.device}`, hop);
    }
    if (hops.size === 0) return undefined;
    const route: Route = { destination, class: 'bgp', type: 'unicast', nextHops: [...hops.values()] };
    return mtu === undefined ? route : { ...route, mtu };
  }

  /**
   * The routes to others' parts of VXLAN pools. `owned` is every block with its node, `borrowed` gives the addresses of a
   * block that are with another node than the block's.
   */
  vxlanRoutes(
    owned: Iterable<readonly [Prefix, string]>,
    borrowed: (block: Prefix) => Iterable<{ readonly address: IpAddress; readonly node: string }> = () => [],
  ): Route[] {
    const routes: Route[] = [];
    const add = (destination: Prefix, node: string) => {
      const pool = this.poolOf(destination);
      const peer = this.byName.get(node);
      const hop = pool && peer && this.vxlanHop(pool, peer, familyOf(destination));
      if (hop) routes.push({ destination, class: 'tunnel', type: 'unicast', nextHops: [hop] });
    };
    for (const [block, node] of owned) {
      add(block, node);
      for (const one of borrowed(block)) add(hostPrefix(one.address), one.node);
    }
    return routes;
  }

  /** `tunl0`, or undefined when no pool asks for it. */
  ipip(): IpipTunnel | undefined {
    const uplink = this.view.uplinks[4];
    if (!uplink || !this.needed.has('ipip')) return undefined;
    const { settings, addresses } = this.view;
    return {
      device: IPIP_DEVICE,
      local: uplink.address.address,
      uplink: uplink.device,
      address: addresses.ipip,
      mtu: tunnelMtu(settings.ipipMtu, uplink.mtu, IPIP_OVERHEAD),
      peers: this.senders(4),
    };
  }

  /** `vxlan.calico` or `vxlan-v6.calico`; undefined when no pool asks for it, or its address is not known yet. */
  vxlan(family: Family): VxlanTunnel | undefined {
    const uplink = this.view.uplinks[family];
    const address = this.view.addresses[vxlanKind(family)];
    if (!uplink || address === undefined || !this.needed.has(vxlanKind(family))) return undefined;
    const { settings, node } = this.view;
    const configured = family === 4 ? this.own?.spec.vxlanTunnelMACAddr : this.own?.spec.vxlanTunnelMACAddrV6;
    return {
      device: VXLAN_DEVICE[family],
      ...{ vni: settings.vni, port: settings.port, local: uplink.address.address, uplink: uplink.device, address },
      mac: configured ?? vxlanMac(node, family),
      mtu: tunnelMtu(settings.vxlanMtu[family], uplink.mtu, VXLAN_OVERHEAD[family]),
      peers: this.vxlanPeers(family),
      from: this.senders(family),
    };
  }

  /** From whom encapsulated packets are taken. A node may send before anything is heard of its own end. */
  private senders(family: Family): Set<IpAddress> {
    const nodes = [...this.byName.values()].flatMap((peer) => peer.addresses[family]?.address ?? []);
    return new Set([...nodes, ...this.view.settings.externalNodes.filter((address) => familyOf(address) === family)]);
  }

  /** The other nodes with a VXLAN end of that family; whether or not this node has one. */
  vxlanPeers(family: Family): VxlanPeer[] {
    return [...this.byName.values()].flatMap((peer) => this.vxlanPeer(peer, family) ?? []);
  }

  /** The largest packet a pod may send without being told to send less, whatever pool it and its peers are in. */
  podMtu(): number | undefined {
    const { uplinks, settings } = this.view;
    const sizes = Object.values(uplinks).map(({ mtu }) => mtu);
    if (uplinks[4] && this.needed.has('ipip')) sizes.push(tunnelMtu(settings.ipipMtu, uplinks[4].mtu, IPIP_OVERHEAD));
    for (const family of [4, 6] as const) {
      const uplink = uplinks[family];
      if (uplink && this.needed.has(vxlanKind(family)))
        sizes.push(tunnelMtu(settings.vxlanMtu[family], uplink.mtu, VXLAN_OVERHEAD[family]));
    }
    return sizes.length === 0 ? undefined : Math.min(...sizes);
  }

  /** What the other nodes must know of this one. Only what is in place is told: from then on packets may come. */
  published(): PublishedTunnels {
    const { addresses, inPlace } = this.view;
    const takes = tunnelKinds.filter((kind) => this.needed.has(kind) && inPlace.has(kind));
    const end = (family: Family) => {
      const kind = vxlanKind(family);
      return takes.includes(kind) && addresses[kind] !== undefined ? { [family]: addresses[kind] } : {};
    };
    return {
      ipipAddress: this.needed.has('ipip') ? addresses.ipip : undefined,
      vxlanAddress: { ...end(4), ...end(6) },
      annotations: { [TAKES_ANNOTATION]: takes.length === 0 ? 'none' : takes.join(',') },
    };
  }

  /** The pool a prefix lies in, whole. */
  private poolOf(destination: Prefix): IpPoolSpec | undefined {
    const [cidr, pool] = this.pools.lookup(prefixAddress(destination)) ?? [];
    return cidr !== undefined && prefixLength(cidr) <= prefixLength(destination) ? pool : undefined;
  }

  /** Whether an address is in a pool. */
  isPod(address: IpAddress): boolean {
    return this.pools.lookup(address) !== undefined;
  }

  /** The tunnel a pool uses, always or across subnets. */
  private uses(pool: IpPoolSpec): TunnelKind | undefined {
    const family = familyOf(pool.cidr);
    const { ipipEnabled, vxlanEnabled } = this.view.settings;
    if (pool.ipipMode !== 'Never' && family === 4 && ipipEnabled !== false) return 'ipip';
    return pool.vxlanMode !== 'Never' && vxlanEnabled !== false ? vxlanKind(family) : undefined;
  }

  private neededTunnels(): Set<TunnelKind> {
    const needed = new Set<TunnelKind>();
    for (const [, pool] of this.pools.entries()) {
      const kind = this.uses(pool);
      if (kind !== undefined) needed.add(kind);
    }
    if (this.view.settings.ipipEnabled === true) needed.add('ipip');
    return needed;
  }

  /** How packets for the pool get to a node with this address; `peer` is undefined for one that is no node of ours. */
  private way(pool: IpPoolSpec, peer: TunnelPeer | undefined, address: IpAddress): Way {
    const kind = this.uses(pool);
    if (kind === undefined) return 'plain';
    const mode = kind === 'ipip' ? pool.ipipMode : pool.vxlanMode;
    if (mode === 'CrossSubnet' && this.isLocal(address)) return 'plain';
    // a router that is no node of ours may take IPIP all the same; what the pool says holds
    if (!peer) return kind === 'ipip' ? 'ipip' : 'plain';
    const family = familyOf(pool.cidr);
    const takes = (other: TunnelKind) =>
      other === 'ipip' ? family === 4 && peer.ipip : peer.vxlan[family] !== undefined;
    if (takes(kind)) return wayOf(kind);
    const other = kind === 'ipip' ? vxlanKind(family) : 'ipip';
    return takes(other) && this.view.inPlace.has(other) ? wayOf(other) : 'plain';
  }

  private vxlanHop(pool: IpPoolSpec, peer: TunnelPeer, family: Family): NextHop | undefined {
    const address = peer.addresses[family]?.address;
    const uplink = this.view.uplinks[family];
    if (address === undefined || !uplink) return undefined;
    const way = this.way(pool, peer, address);
    const end = peer.vxlan[family];
    if (way === 'vxlan' && end) return { via: end.address, device: VXLAN_DEVICE[family], onlink: true };
    const direct = way === 'plain' && pool.vxlanMode === 'CrossSubnet' && this.isLocal(address);
    return direct ? { via: address, device: uplink.device, onlink: true } : undefined;
  }

  private vxlanPeer(peer: TunnelPeer, family: Family): VxlanPeer | undefined {
    const [node, end] = [peer.addresses[family]?.address, peer.vxlan[family]];
    return node === undefined || !end ? undefined : { node, gateway: end.address, mac: end.mac };
  }

  /** On the subnet of this node's own address. */
  private isLocal(address: IpAddress): boolean {
    const uplink = this.view.uplinks[familyOf(address)];
    const subnet = uplink && subnetOf(uplink.address);
    return subnet !== undefined && prefixContains(subnet, address);
  }
}
