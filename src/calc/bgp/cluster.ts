/** The cluster as BGP sees it: every node's addresses, AS number, reflector id and port, from its resources. */
import { CORDON_MARK, DRAIN_MARK, isMarked } from '../../model/mod.ts';
import type { BgpConfigurationSpec, Resource } from '../../model/mod.ts';
import { familyOf, parseAsn } from '../../net/mod.ts';
import type { Asn, Family, IpAddress } from '../../net/mod.ts';
import type { Gateways } from './gateways.ts';

export const DEFAULT_AS = 64512 as Asn;
export const DEFAULT_PORT = 179;
/**
 * Labels of a Node, so that whole racks get their AS numbers where their nodes get their other labels: the node's own
 * number, unless its Node object says one, and that of its gateway for BGPPeers with `peerIP: gateway` and no `asNumber`.
 */
export const AS_LABEL = 'godwit.io/as-number';
export const GATEWAY_AS_LABEL = 'godwit.io/gateway-as-number';

/** What sessions are made from. */
export interface BgpResources {
  readonly nodes: Iterable<Resource<'Node'>>;
  readonly peers: Iterable<Resource<'BGPPeer'>>;
  readonly configurations: Iterable<Resource<'BGPConfiguration'>>;
  readonly filters: Iterable<Resource<'BGPFilter'>>;
  readonly pools: Iterable<Resource<'IPPool'>>;
  /** For sessions with pods of this node; none when left out. */
  readonly endpoints?: Iterable<Resource<'WorkloadEndpoint'>>;
  /** This node's default gateways, for BGPPeers with `peerIP: gateway`; such have no session where there is none. */
  readonly gateways?: Gateways;
}

export interface Speaker {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: Readonly<Partial<Record<Family, IpAddress>>>;
  readonly as: Asn;
  /** Of the node's gateway, where a label says it. */
  readonly gatewayAs: Asn | undefined;
  /** Marked by hand: it is, or is to be, out of service. */
  readonly leaving?: boolean;
  /** Of a route reflector. */
  readonly clusterId: IpAddress | undefined;
  /** Only where the configuration says one; then it is part of the session's identity. */
  readonly port: number | undefined;
}

export class Cluster {
  readonly speakers: ReadonlyMap<string, Speaker>;
  /** The configuration named `default`. */
  readonly global: BgpConfigurationSpec | undefined;
  readonly as: Asn;
  private readonly byNode: ReadonlyMap<string, BgpConfigurationSpec>;

  constructor(resources: Pick<BgpResources, 'nodes' | 'configurations'>) {
    const configurations = new Map([...resources.configurations].map(({ name, spec }) => [name, spec]));
    this.byNode = configurations;
    this.global = configurations.get('default');
    this.as = this.global?.asNumber ?? DEFAULT_AS;
    const speakers = [...resources.nodes].map((node) => this.speaker(node));
    this.speakers = new Map(
      speakers.sort((a, b) => (a.name < b.name ? -1 : 1)).map((speaker) => [speaker.name, speaker]),
    );
  }

  /** The node's own configuration, if there is one. */
  own(node: string): BgpConfigurationSpec | undefined {
    return this.byNode.get(`node.${node}`);
  }

  /** What a node listens on. */
  portOf(node: string): number {
    return this.own(node)?.listenPort ?? this.global?.listenPort ?? DEFAULT_PORT;
  }

  private speaker({ name, metadata, spec }: Resource<'Node'>): Speaker {
    const { ipv4Address, ipv6Address, asNumber, routeReflectorClusterID } = spec.bgp ?? {};
    return {
      name,
      labels: metadata.labels,
      addresses: {
        ...(ipv4Address && { 4: ipv4Address.address }),
        ...(ipv6Address && { 6: ipv6Address.address }),
      },
      as: asNumber ?? asOfLabel(metadata.labels[AS_LABEL]) ?? this.as,
      gatewayAs: asOfLabel(metadata.labels[GATEWAY_AS_LABEL]),
      leaving: [CORDON_MARK, DRAIN_MARK].some((mark) => isMarked(mark, metadata.labels, metadata.annotations)),
      clusterId: routeReflectorClusterID,
      port: this.own(name)?.listenPort ?? this.global?.listenPort,
    };
  }

  /** The nodes with this address and AS number, and with this port where one is asked for. */
  withAddress(address: IpAddress, as: Asn | undefined, port: number | undefined): Speaker[] {
    return [...this.speakers.values()].filter(
      (speaker) =>
        speaker.addresses[familyOf(address)] === address &&
        speaker.as === (as ?? this.as) &&
        (port === undefined || speaker.port === undefined || speaker.port === port),
    );
  }
}

/** A label that is no AS number is as if it were not there. */
const asOfLabel = (text: string | undefined): Asn | undefined => (text === undefined ? undefined : parseAsn(text));
