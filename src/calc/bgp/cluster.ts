/** The cluster as BGP sees it: every node's addresses, AS number, reflector id and port, from its resources. */
import type { BgpConfigurationSpec, Resource } from '../../model/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { Asn, Family, IpAddress } from '../../net/mod.ts';

export const DEFAULT_AS = 64512 as Asn;
export const DEFAULT_PORT = 179;

/** What sessions are made from. */
export interface BgpResources {
  readonly nodes: Iterable<Resource<'Node'>>;
  readonly peers: Iterable<Resource<'BGPPeer'>>;
  readonly configurations: Iterable<Resource<'BGPConfiguration'>>;
  readonly filters: Iterable<Resource<'BGPFilter'>>;
  readonly pools: Iterable<Resource<'IPPool'>>;
  /** For sessions with pods of this node; none when left out. */
  readonly endpoints?: Iterable<Resource<'WorkloadEndpoint'>>;
}

export interface Speaker {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: Readonly<Partial<Record<Family, IpAddress>>>;
  readonly as: Asn;
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
      as: asNumber ?? this.as,
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
