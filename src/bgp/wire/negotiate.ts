/**
 * From two OPENs to what the session may do: validation of the peer's OPEN (RFC 4271 §6.2, 6286, 6793, 7607) and the
 * intersection of capabilities (RFC 5492).
 */
import { Afi, type AfiSafi, afiOf, AS_TRANS, ErrorCode, IPV4_UNICAST, OpenError } from './iana.ts';
import { protocolError } from './notification.ts';
import type { Capability, OpenMessage, ProtocolError, SessionContext } from './types.ts';

type Of<T extends Capability['type']> = Extract<Capability, { type: T }>;

/** The last capability of a kind: RFC 4724 §3 and RFC 7911 §4 let the last count where there should be one. */
function last<T extends Capability['type']>(open: OpenMessage, type: T): Of<T> | undefined {
  return open.capabilities.findLast((c): c is Of<T> => c.type === type);
}

/** The AS number that counts: the capability's, else the two-octet field (RFC 6793 §4.1). */
export const openAsn = (open: OpenMessage): number => last(open, 'four-octet-as')?.asn ?? open.myAs;

export interface OpenExpectation {
  readonly localAsn: number;
  /** Our BGP Identifier. */
  readonly localIdentifier: number;
  /** The peer's AS; or, for dynamic neighbours, which may come. */
  readonly remoteAs: number | 'internal' | 'external' | 'any' | ReadonlySet<number>;
}

/** What to send when the peer's OPEN cannot be accepted; undefined when it can. */
export function validateOpen(open: OpenMessage, expect: OpenExpectation): ProtocolError | undefined {
  const asn = openAsn(open);
  const internal = asn === expect.localAsn;
  // AS 0 by RFC 7607; AS_TRANS stands for a number, it is none
  if (asn === 0 || asn === AS_TRANS || !asnExpected(asn, internal, expect.remoteAs)) {
    return refuse(OpenError.BadPeerAs, `AS ${asn}`);
  }
  // RFC 6286 §2.2
  if (open.identifier === 0) return refuse(OpenError.BadIdentifier, 'identifier 0.0.0.0');
  if (internal && open.identifier === expect.localIdentifier) {
    return refuse(OpenError.BadIdentifier, 'our own identifier, from an internal peer');
  }
  if (open.holdTime === 1 || open.holdTime === 2) {
    return refuse(OpenError.UnacceptableHoldTime, `hold time ${open.holdTime}`);
  }
  return undefined;
}

function asnExpected(asn: number, internal: boolean, remoteAs: OpenExpectation['remoteAs']): boolean {
  if (typeof remoteAs === 'number') return asn === remoteAs;
  if (remoteAs === 'any') return true;
  if (remoteAs === 'internal') return internal;
  if (remoteAs === 'external') return !internal;
  return remoteAs.has(asn);
}

const refuse = (subcode: number, what: string): ProtocolError =>
  protocolError(ErrorCode.OpenMessage, subcode, `OPEN with ${what}`);

/** What the two ends of an established session agreed on. */
export interface Negotiated {
  readonly context: SessionContext;
  readonly peerAsn: number;
  readonly peerIdentifier: number;
  /** Seconds, the smaller of the two offers; 0 means neither KEEPALIVEs nor a hold timer. */
  readonly holdTime: number;
  readonly routeRefresh: boolean;
  readonly enhancedRouteRefresh: boolean;
  /** The peer's graceful restart capability, when both sides sent one. */
  readonly gracefulRestart: Of<'graceful-restart'> | undefined;
  /** We offered RFC 8654, so the peer may send messages of up to 65535 octets, whether it offered the same or not (§4, §6). */
  readonly receivesExtended: boolean;
  /** Both sides set the N bit, RFC 8538. */
  readonly gracefulNotification: boolean;
}

/** `sent` is our OPEN, `received` the peer's, already validated. */
export function negotiate(sent: OpenMessage, received: OpenMessage): Negotiated {
  const both = (type: Capability['type']) => last(sent, type) !== undefined && last(received, type) !== undefined;
  const peerAsn = openAsn(received);
  const families = intersect(announcedFamilies(sent), announcedFamilies(received));
  const ours = last(sent, 'graceful-restart');
  const theirs = last(received, 'graceful-restart');
  const fourOctetAs = both('four-octet-as');
  return {
    context: {
      fourOctetAs,
      extendedMessages: both('extended-message'),
      peerType: peerAsn === openAsn(sent) ? 'internal' : 'external',
      families,
      extendedNextHop: intersect(ipv6NextHopFamilies(sent), ipv6NextHopFamilies(received)),
      addPathReceive: intersect(addPathFamilies(sent, 'receive'), addPathFamilies(received, 'send')),
      addPathSend: intersect(addPathFamilies(sent, 'send'), addPathFamilies(received, 'receive')),
    },
    peerAsn,
    peerIdentifier: received.identifier,
    holdTime: Math.min(sent.holdTime, received.holdTime),
    routeRefresh: both('route-refresh'),
    enhancedRouteRefresh: both('enhanced-route-refresh'),
    gracefulRestart: ours && theirs,
    receivesExtended: last(sent, 'extended-message') !== undefined,
    gracefulNotification: ours?.notification === true && theirs?.notification === true,
  };
}

/** RFC 4760 §8: a speaker without any multiprotocol capability speaks IPv4 unicast. */
function announcedFamilies(open: OpenMessage): ReadonlySet<AfiSafi> {
  const families = new Set<AfiSafi>();
  for (const c of open.capabilities) if (c.type === 'multiprotocol') families.add(c.family);
  return families.size > 0 ? families : new Set([IPV4_UNICAST]);
}

function ipv6NextHopFamilies(open: OpenMessage): ReadonlySet<AfiSafi> {
  const families = new Set<AfiSafi>();
  for (const c of open.capabilities) {
    if (c.type !== 'extended-next-hop') continue;
    for (const e of c.entries) if (afiOf(e.family) === Afi.IPv4 && e.nextHopAfi === Afi.IPv6) families.add(e.family);
  }
  return families;
}

function addPathFamilies(open: OpenMessage, way: 'receive' | 'send'): ReadonlySet<AfiSafi> {
  const families = new Set<AfiSafi>();
  for (const e of last(open, 'add-path')?.entries ?? []) if (e[way]) families.add(e.family);
  return families;
}

const intersect = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>): ReadonlySet<T> => new Set([...a].filter((x) => b.has(x)));
