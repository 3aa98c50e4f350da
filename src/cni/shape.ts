/** What an attachment shall be, as a value: from what was asked for and the addresses it was given. Pure but for its MACs. */
import { createHash, randomBytes } from 'node:crypto';
import { parseMark, ROUTED_GATEWAY, ROUTED_HOST_MAC, ROUTED_PREFIX } from '../dataplane/mod.ts';
import type { BridgeLink } from '../dataplane/mod.ts';
import type { BridgeNetwork, Route, RoutedNetwork } from '../desired/mod.ts';
import { isHostInterface } from '../ipam/mod.ts';
import type { Attachment } from '../ipam/mod.ts';
import { addressBits, familyOf, hostPrefix, macFromBytes, parseInterfaceAddress } from '../net/mod.ts';
import type { IpAddress, MacAddress, Prefix } from '../net/mod.ts';
import type { Link } from '../netlink/mod.ts';

export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface AttachRequest {
  readonly container: string;
  readonly interface: string;
  /** Name of the CNI network. */
  readonly network: string;
  readonly namespacePath: string;
  /** At most one a family; the others are chosen. */
  readonly addresses: readonly IpAddress[];
  /** For a routed pod: what else decides where its addresses come from. */
  readonly from: AddressWishes;
  readonly mac?: MacAddress | undefined;
  readonly mtu?: number | undefined;
  /** Without a gateway: through the network's own. */
  readonly routes: readonly { readonly dst: Prefix; readonly gw?: IpAddress | undefined }[];
  readonly pod?: PodName | undefined;
}

export interface AddressWishes {
  /** Families the pod shall have; the network's when not given. */
  readonly families?: readonly (4 | 6)[] | undefined;
  /** Pools by name or CIDR. */
  readonly pools: Readonly<Partial<Record<4 | 6, readonly string[]>>>;
  /** The addresses asked for are all there shall be. */
  readonly exactly: boolean;
  /** The configuration has an `ipam` section: it is for routed networks only. */
  readonly ipam: boolean;
}

export const NO_MAC = '00:00:00:00:00:00' as MacAddress;

/** Locally administered, unicast. */
function randomMac(): MacAddress {
  const bytes = randomBytes(6);
  bytes[0] = (bytes[0]! & 0xfc) | 2;
  return macFromBytes(bytes);
}

const NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** The pod, if it has names Kubernetes gives: they become part of the datastore's records, and nothing else may. */
export const kubernetesPod = (pod: PodName | undefined): PodName | undefined =>
  pod && NAME.test(pod.namespace) && NAME.test(pod.name) ? pod : undefined;

type Identity = Pick<AttachRequest, 'container' | 'interface' | 'pod'>;

/**
 * `cali` and eleven hexadecimal digits of SHA-1. Of `namespace.pod` for a Kubernetes pod's first interface, as Calico has
 * it; a further interface's name goes behind that. Where the runtime names no pod: of container id and interface.
 */
export function routedInterfaceName({ container, interface: name, pod }: Identity): string {
  const first = name === 'eth0' ? '' : `/${name}`;
  const text = pod ? `${pod.namespace}.${pod.name}${first}` : `${container}/${name}`;
  return ROUTED_PREFIX + createHash('sha1').update(text).digest('hex').slice(0, 11);
}

/** Calico's handle, `k8s-pod-network.<container>`; a further interface of the container has one of its own. */
export function handleOf(network: string, container: string, name: string): string {
  return name === 'eth0' ? `${network}.${container}` : `${network}.${container}.${name}`;
}

function common(request: AttachRequest, networkMtu: number, namespaceIdentity: string, now: number) {
  return {
    ...{ format: 1 as const, createdAt: now },
    ...{ network: request.network, container: request.container, interface: request.interface },
    ...{ namespace: request.namespacePath, namespaceIdentity },
    mtu: Math.min(networkMtu, request.mtu ?? networkMtu),
    ...(request.mtu !== undefined && { mtuLimit: request.mtu }),
    mac: request.mac ?? randomMac(),
    ...(request.pod && { pod: request.pod }),
  };
}

export interface Place {
  /** Identity of the pod's namespace. */
  readonly namespaceIdentity: string;
  /** Milliseconds since the Unix epoch. */
  readonly now: number;
  readonly hostInterface: string;
}

export function bridgedAttachment(
  request: AttachRequest,
  network: BridgeNetwork,
  addresses: Attachment['addresses'],
  bridge: BridgeLink,
  place: Place,
): Attachment {
  // as Flannel sets them: everything through the bridge, and the network's own prefix, should the default be replaced
  const own = addresses.flatMap(({ address, gateway, network: whole }) => [
    { destination: everything(address), gateway },
    { destination: whole, gateway },
  ]);
  return {
    ...common(request, network.mtu, place.namespaceIdentity, place.now),
    ...{ type: 'bridge', hostInterface: place.hostInterface, bridge: network.bridge },
    ...{ hostMac: randomMac(), bridgeMac: bridge.address ?? NO_MAC },
    addresses,
    routes: [...own, ...askedRoutes(request, addresses)],
  };
}

export function routedAttachment(
  request: AttachRequest,
  network: RoutedNetwork,
  given: readonly IpAddress[],
  place: Place,
): Attachment {
  const addresses = given.map((address) => {
    const family = familyOf(address);
    const [gateway, whole] = [ROUTED_GATEWAY[family], hostPrefix(address)];
    return { address, prefixLength: addressBits(family), gateway, network: whole };
  });
  const own = addresses.map(({ address, gateway }) => ({ destination: everything(address), gateway }));
  return {
    ...common(request, network.mtu, place.namespaceIdentity, place.now),
    ...{ type: 'routed', hostInterface: place.hostInterface, bridge: '' },
    ...{ hostMac: ROUTED_HOST_MAC, bridgeMac: NO_MAC },
    handle: handleOf(request.network, request.container, request.interface),
    addresses,
    routes: [...own, ...askedRoutes(request, addresses)],
  };
}

const everything = (address: IpAddress): Prefix => (familyOf(address) === 4 ? '0.0.0.0/0' : '::/0') as Prefix;

function askedRoutes(request: AttachRequest, addresses: Attachment['addresses']): Attachment['routes'] {
  return request.routes.flatMap(({ dst, gw }) => {
    const gateway = gw ?? addresses.find((a) => familyOf(a.address) === familyOf(dst))?.gateway;
    return gateway === undefined ? [] : [{ destination: dst, gateway }];
  });
}

/**
 * From the mark on a link whose record is lost: enough to keep its addresses and to remove it; undefined when the mark
 * cannot be read.
 */
export function rebuiltAttachment(link: Link, now: number): Attachment | undefined {
  const mark = parseMark(link.alias);
  const addresses = mark?.addresses.map(parseInterfaceAddress);
  if (!mark || !addresses || !isHostInterface(link.name)) return undefined;
  const routed = link.name.startsWith(ROUTED_PREFIX);
  return {
    ...{ format: 1, createdAt: now, type: routed ? 'routed' : 'bridge' },
    ...{ network: mark.network, container: mark.container, interface: mark.interface, hostInterface: link.name },
    ...{ namespace: '', namespaceIdentity: '', bridge: '', mtu: link.mtu },
    ...{ mac: NO_MAC, hostMac: NO_MAC, bridgeMac: NO_MAC },
    ...(mark.pod && { pod: { ...mark.pod, uid: '' } }),
    ...(routed && mark.network !== '' && { handle: handleOf(mark.network, mark.container, mark.interface) }),
    addresses: addresses.flatMap((a) => (a ? [{ ...a, gateway: a.address, network: hostPrefix(a.address) }] : [])),
    routes: [],
  };
}

/** How the node reaches a routed pod: `10.233.2.3 dev cali5863f3… scope link`. */
export function hostRoutes(attachment: Attachment): Route[] {
  if (attachment.type !== 'routed') return [];
  const nextHops = [{ device: attachment.hostInterface }];
  return attachment.addresses.map(({ address }) => {
    return { destination: hostPrefix(address), class: 'endpoint', type: 'unicast', nextHops };
  });
}
