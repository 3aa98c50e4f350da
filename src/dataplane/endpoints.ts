/**
 * The writer of pod interfaces: a veth pair, one end on the host, the other the pod's `eth0`. Everything goes to the kernel
 * in a few batches, straight in the two namespaces; an endpoint takes about a millisecond. There are two ways:
 *
 * - `bridge`: the host's end is a port of the node's bridge, which is the pod's gateway.
 * - `routed`: the host's end is a link by itself. The pod has a /32 and sends everything to 169.254.1.1, for which the host
 *   answers; the host finds the pod by a route, which is the route reconciler's and not made here. See `endpoints-routed.ts`.
 *
 * The host's end carries a mark in its alias: `godwit:<container>/<interface> <network> <address>,… <pod>`. It tells our
 * links from others' and is the kernel's own copy of who owns which address, should the record on disk be lost.
 */
import { errno, KernelError, NetworkNamespace, writeSysctl } from '../sys/mod.ts';
import type { Result } from '../base/mod.ts';
import { err, ok } from '../base/mod.ts';
import { familyOf, formatInterfaceAddress } from '../net/mod.ts';
import type { InterfaceAddress, IpAddress, MacAddress, Prefix } from '../net/mod.ts';
import {
  addAddress,
  addLink,
  addRoute,
  IFA_F,
  IFF,
  isUp,
  kernelRoute,
  Rtnetlink,
  RTPROT,
  setBridgePort,
  setLink,
} from '../netlink/mod.ts';
import type { Batch, KernelRoute, Link } from '../netlink/mod.ts';
import { LinkRemover } from './endpoint-remover.ts';
import { guardAgain, guardLink, openLink, reachGateways, unguarded } from './endpoints-routed.ts';

const LOOPBACK_INDEX = 1;

export interface EndpointRoute {
  readonly destination: Prefix;
  readonly gateway: IpAddress;
}

/** What one pod interface shall be. */
export interface Endpoint {
  readonly type: 'bridge' | 'routed';
  /** The host's end: `veth0a1b2c3d`, or `cali0a1b2c3d4e5` where it is routed. */
  readonly hostInterface: string;
  /** The pod's end: `eth0`. */
  readonly interface: string;
  /** Of the type `bridge`; empty otherwise. */
  readonly bridge: string;
  /** Bytes. */
  readonly mtu: number;
  /** The pod's end, and the host's: settled by us, so that no policy of the system's changes them. */
  readonly mac: MacAddress;
  readonly hostMac: MacAddress;
  readonly addresses: readonly InterfaceAddress[];
  readonly routes: readonly EndpointRoute[];
  /** The alias of the host's end. */
  readonly mark: string;
}

/** The bridge as it was found. */
export type BridgeLink = Link;

export type AttachError =
  /** A link of the host's end's name is there already. */
  | { readonly type: 'host-interface-taken' }
  /** The pod has an interface of that name already. */
  | { readonly type: 'interface-taken' }
  | { readonly type: 'kernel'; readonly error: KernelError };

function podRoute(route: EndpointRoute, index: number): KernelRoute {
  // as a person or a runtime's other plugins would add it; the pod's table is not ours to mark
  const nextHops = [{ gateway: route.gateway, index }];
  return kernelRoute({ destination: route.destination, protocol: RTPROT.BOOT, nextHops });
}

/** Acts in the namespace it was made in: the node's. */
export class Endpoints implements Disposable {
  private readonly host: Rtnetlink;
  private readonly namespace = NetworkNamespace.current();
  private readonly remover: LinkRemover;

  /** `gone` is told of host ends that go, whoever deleted them; undefined: it may be any. */
  constructor(gone: (hostInterface: string | undefined) => void = () => {}) {
    this.host = new Rtnetlink();
    this.remover = new LinkRemover(this.namespace, gone);
  }

  /** Links of this node that carry a mark of ours. */
  marked(): Link[] {
    return this.host.links().filter((link) => link.kind === 'veth' && link.alias.startsWith('godwit:'));
  }

  link(name: string): Link | undefined {
    return this.host.link(name);
  }

  /** The bridge of that name, to attach to. */
  bridge(name: string): BridgeLink | undefined {
    const link = this.host.link(name);
    return link?.kind === 'bridge' ? link : undefined;
  }

  /**
   * Makes the endpoint, all of it before it returns; the mark is the last thing that is made, so a link that has it is
   * whole. Gives the host's end. On failure what was made may be left behind in part: the caller calls `detach`, as it
   * must after a crash, too.
   */
  attach(pod: NetworkNamespace, endpoint: Endpoint, bridge?: BridgeLink): Result<Link, AttachError> {
    try {
      using inside = Rtnetlink.in(pod);
      const link = this.makePair(pod, bridge, endpoint);
      const ipv6 = hasIpv6(endpoint);
      // what the pod may not do is settled before it can send
      if (!bridge) {
        guardLink(this.namespace, endpoint.hostInterface, ipv6);
        this.host.change((batch) => openLink(batch, link, ipv6));
      }
      if (ipv6) enableIPv6(pod, endpoint.interface);
      inside.change((batch) => configure(batch, link.link, endpoint));
      this.host.change((batch) => {
        // a pod that reaches itself through a service address needs its frames back on the port they came from
        if (bridge) setBridgePort(batch, link.index, { hairpin: true });
        setLink(batch, link.index, { alias: endpoint.mark }, endpoint.hostInterface);
      });
      return ok(bridge ? link : { ...link, flags: link.flags | IFF.UP });
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      if (error.errno !== errno.EEXIST) return err({ type: 'kernel', error });
      return err({ type: this.host.link(endpoint.hostInterface) ? 'host-interface-taken' : 'interface-taken' });
    }
  }

  private makePair(pod: NetworkNamespace, bridge: BridgeLink | undefined, endpoint: Endpoint): Link {
    const { hostInterface: name, mtu, mac, hostMac } = endpoint;
    const peer = { name: endpoint.interface, namespace: pod.descriptor, mtu, address: mac };
    const port = bridge ? { master: bridge.index, up: true } : {};
    this.host.change((batch) => addLink(batch, { kind: 'veth', name, mtu, address: hostMac, ...port, peer }));
    const link = this.host.link(name);
    if (!link) throw new Error(`${name} is not here after it was made`);
    return link;
  }

  /** Sets the MTU of both ends; the pod's may be gone. */
  setMtu(pod: NetworkNamespace, endpoint: Endpoint, mtu: number): Result<void, KernelError> {
    try {
      using inside = Rtnetlink.in(pod);
      const ends = [
        [inside, inside.link(endpoint.interface)],
        [this.host, this.host.link(endpoint.hostInterface)],
      ] as const;
      for (const [namespace, link] of ends) {
        if (link && link.mtu !== mtu) namespace.change((batch) => setLink(batch, link.index, { mtu }, link.name));
      }
      return ok(undefined);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return err(error);
    }
  }

  /**
   * Takes the pair out of both namespaces; nothing to do is success. Only a veth that carries `mark`, or none yet (its
   * maker was killed in between), is touched.
   */
  async detach(hostInterface: string, owner: string): Promise<Result<void, KernelError>> {
    const link = this.host.link(hostInterface);
    if (link?.kind !== 'veth') return ok(undefined);
    if (link.alias !== '' && link.alias.split(' ', 1)[0] !== owner) return ok(undefined);
    return this.remover.remove(link);
  }

  /** Puts the border to a pod that runs back as it was made, or as it is made today; tells what was otherwise. */
  guard(endpoint: Endpoint): string[] {
    if (endpoint.type !== 'routed') return [];
    return guardAgain(this.namespace, endpoint.hostInterface, hasIpv6(endpoint));
  }

  /** What differs between the kernel and `endpoint`, in words; empty when all is as it was made. */
  inspect(pod: NetworkNamespace, endpoint: Endpoint): string[] {
    const faults: string[] = [];
    using inside = Rtnetlink.in(pod);
    const podLink = inside.link(endpoint.interface);
    const hostLink = this.host.link(endpoint.hostInterface);
    const bridged = endpoint.type === 'bridge';
    const bridge = bridged ? this.host.link(endpoint.bridge) : undefined;
    if (bridged && !bridge) faults.push(`bridge ${endpoint.bridge} is missing`);
    if (!hostLink) faults.push(`host interface ${endpoint.hostInterface} is missing`);
    else {
      if (bridged && hostLink.master !== bridge?.index)
        faults.push(`${hostLink.name} is not a port of ${endpoint.bridge}`);
      if (!bridged) faults.push(...unguarded(this.namespace, hostLink.name, hasIpv6(endpoint)));
      if (!isUp(hostLink)) faults.push(`${hostLink.name} is down`);
      if (hostLink.mtu !== endpoint.mtu) faults.push(`${hostLink.name} has MTU ${hostLink.mtu}, not ${endpoint.mtu}`);
      if (podLink && hostLink.link !== podLink.index) faults.push(`${hostLink.name} leads to another interface`);
    }
    if (!podLink) return [...faults, `interface ${endpoint.interface} is missing in the pod`];
    if (!isUp(podLink)) faults.push(`${podLink.name} is down`);
    if (podLink.mtu !== endpoint.mtu) faults.push(`${podLink.name} has MTU ${podLink.mtu}, not ${endpoint.mtu}`);
    if (podLink.address !== endpoint.mac) {
      faults.push(`${podLink.name} has address ${podLink.address}, not ${endpoint.mac}`);
    }
    return [...faults, ...missingAddresses(inside, podLink, endpoint), ...missingRoutes(inside, podLink, endpoint)];
  }

  [Symbol.dispose](): void {
    this.remover[Symbol.dispose]();
    this.host[Symbol.dispose]();
    this.namespace[Symbol.dispose]();
  }
}

const hasIpv6 = ({ addresses }: Endpoint): boolean => addresses.some(({ address }) => familyOf(address) === 6);

/** The pod's end; `index` is its number there. */
function configure(batch: Batch, index: number, endpoint: Endpoint): void {
  setLink(batch, LOOPBACK_INDEX, { up: true }, 'lo');
  setLink(batch, index, { up: true }, endpoint.interface);
  for (const address of endpoint.addresses) {
    // the address was given by us: nobody else has it, and duplicate detection would delay it by a second
    addAddress(batch, index, address, familyOf(address.address) === 6 ? { flags: IFA_F.NODAD } : {});
  }
  if (endpoint.type === 'routed') reachGateways(batch, index, endpoint);
  for (const route of endpoint.routes) addRoute(batch, podRoute(route, index), 'replace');
}

/** Runtimes may switch IPv6 off in new namespaces; and a pod takes its routes from us, not from a neighbour's advertisement. */
function enableIPv6(pod: NetworkNamespace, name: string): void {
  pod.run(() => {
    try {
      writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, 0);
      writeSysctl(`net/ipv6/conf/${name}/accept_ra`, 0);
    } catch {
      // read-only /proc/sys: the address is refused below if IPv6 is really off
    }
  });
}

function missingAddresses(inside: Rtnetlink, link: Link, endpoint: Endpoint): string[] {
  const have = new Set(inside.addresses().flatMap((a) => (a.index === link.index ? [formatInterfaceAddress(a)] : [])));
  const missing = endpoint.addresses.map(formatInterfaceAddress).filter((address) => !have.has(address));
  return missing.map((address) => `${link.name} lacks the address ${address}`);
}

function missingRoutes(inside: Rtnetlink, link: Link, endpoint: Endpoint): string[] {
  const have = new Set<string>();
  for (const route of endpoint.routes.length > 0 ? [...inside.routes(4), ...inside.routes(6)] : []) {
    for (const hop of route.nextHops) {
      if (hop.index === link.index) have.add(`${route.destination} via ${hop.gateway}`);
    }
  }
  const wanted = endpoint.routes.map((route) => `${route.destination} via ${route.gateway}`);
  return wanted.filter((route) => !have.has(route)).map((route) => `the pod lacks the route ${route}`);
}

/** Who an endpoint belongs to: the first word of its mark. */
export const endpointOwner = (container: string, name: string): string => `godwit:${container}/${name}`;

/** The kernel keeps 255 bytes. */
const MAX_MARK = 255;

export interface EndpointMark {
  readonly container: string;
  readonly interface: string;
  /** Empty where it did not fit. */
  readonly network: string;
  readonly addresses: readonly string[];
  /** The Kubernetes pod; undefined where there is none, or it did not fit. */
  readonly pod?: { readonly namespace: string; readonly name: string } | undefined;
}

export function formatMark(mark: EndpointMark): string {
  const owner = endpointOwner(mark.container, mark.interface);
  const rest = `${mark.network === '' ? '-' : mark.network} ${mark.addresses.join(',')}`;
  const pod = mark.pod ? `${mark.pod.namespace}/${mark.pod.name}` : '';
  const named = /^[a-z0-9.-]+\/[a-z0-9.-]+$/.test(pod) ? [`${owner} ${rest} ${pod}`] : [];
  const candidates = [...named, `${owner} ${rest}`, `${owner} - ${mark.addresses.join(',')}`];
  return candidates.find((text) => text.length <= MAX_MARK) ?? candidates.at(-1)!;
}

export function parseMark(alias: string): EndpointMark | undefined {
  const match = /^godwit:([^/ ]+)\/([^/ ]+) ([^ ]+) ([^ ]*)(?: ([^/ ]+)\/([^/ ]+))?$/.exec(alias);
  if (!match) return undefined;
  const [, container, name, network, addresses, namespace, pod] = match;
  return {
    container: container!,
    interface: name!,
    network: network === '-' ? '' : network!,
    addresses: addresses === '' ? [] : addresses!.split(','),
    ...(namespace !== undefined && pod !== undefined && { pod: { namespace, name: pod } }),
  };
}
