/**
 * From two OPENs to what the session may do: validation of the peer's OPEN (RFC 4271 §6.2, 6286, 6793, 7607) and the
 * intersection of capabilities (RFC 5492).
 */
import type { OpenMessage, ProtocolError, SessionContext, Capability } from './types.ts';

/** The AS number that counts: the capability's, else the two-octet field. */
export function openAsn(open: OpenMessage): number {
  for (const c of open.capabilities) if (c.type === 'four-octet-as') return c.asn;
  return open.myAs;
}

export interface OpenExpectation {
  readonly localAsn: number;
  readonly localIdentifier: number;
  /** The peer's AS; or which kind of peer may come (dynamic neighbours). */
  readonly remoteAs: number | 'internal' | 'external' | 'any' | ReadonlySet<number>;
}

/** What to send when the OPEN cannot be accepted; undefined when it can. */
export function validateOpen(_open: OpenMessage, _expect: OpenExpectation): ProtocolError | undefined {
  throw new Error('coming with the next merge');
}

export interface Negotiated {
  readonly context: SessionContext;
  readonly peerAsn: number;
  readonly peerIdentifier: number;
  /** Seconds; 0 means neither KEEPALIVEs nor a hold timer. The smaller of the two offers. */
  readonly holdTime: number;
  readonly routeRefresh: boolean;
  readonly enhancedRouteRefresh: boolean;
  /** The peer's graceful restart capability, when both sides sent one. */
  readonly gracefulRestart: Extract<Capability, { type: 'graceful-restart' }> | undefined;
  /** Both sides set the N bit, RFC 8538. */
  readonly gracefulNotification: boolean;
}

/** `sent` is our OPEN, `received` the peer's, already validated. */
export function negotiate(_sent: OpenMessage, _received: OpenMessage): Negotiated {
  throw new Error('coming with the next merge');
}
