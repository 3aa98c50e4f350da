/**
 * The values that pass between the codec and the rest of the speaker: messages, path attributes, what a session
 * negotiated, and the outcomes of validation. IPv4 addresses, identifiers and communities are plain u32 numbers
 * (0 … 2^32−1) and IPv6 addresses their 16 bytes: text is made only where a person reads it.
 */
import type { AfiSafi, Origin, RefreshSubtype } from './iana.ts';

/** What OPEN exchange settled and the codec depends on. Made by `negotiate`; one immutable value per session. */
export interface SessionContext {
  /** AS numbers have four octets in AS_PATH and AGGREGATOR, RFC 6793. */
  readonly fourOctetAs: boolean;
  /** UPDATE, NOTIFICATION and ROUTE-REFRESH may reach 65535 octets, RFC 8654. */
  readonly extendedMessages: boolean;
  /** iBGP or eBGP: decides what LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST from this peer mean, RFC 7606 §7. */
  readonly peerType: 'internal' | 'external';
  /** Families both sides announced; IPv4 unicast without any MP capability, RFC 4760 §8. */
  readonly families: ReadonlySet<AfiSafi>;
  /** IPv4 families whose next hop may be IPv6, RFC 8950. */
  readonly extendedNextHop: ReadonlySet<AfiSafi>;
  /** Families where NLRI from the peer carry a path identifier, RFC 7911. */
  readonly addPathReceive: ReadonlySet<AfiSafi>;
  /** Families where NLRI to the peer carry a path identifier, RFC 7911. */
  readonly addPathSend: ReadonlySet<AfiSafi>;
}

// ---- OPEN

export interface GracefulRestartFamily {
  readonly family: AfiSafi;
  /** The F bit: forwarding state for the family was preserved over the restart. */
  readonly forwardingPreserved: boolean;
}

export type Capability =
  | { readonly type: 'multiprotocol'; readonly family: AfiSafi }
  | { readonly type: 'route-refresh' }
  | { readonly type: 'enhanced-route-refresh' }
  | {
      readonly type: 'extended-next-hop';
      readonly entries: readonly { readonly family: AfiSafi; readonly nextHopAfi: number }[];
    }
  | { readonly type: 'extended-message' }
  | {
      readonly type: 'graceful-restart';
      /** The R bit: the sender restarted and waits for End-of-RIB. */
      readonly restarting: boolean;
      /** The N bit, RFC 8538: NOTIFICATION does not end graceful restart, Hard Reset does. */
      readonly notification: boolean;
      /** Seconds, 0 … 4095. */
      readonly restartTime: number;
      readonly families: readonly GracefulRestartFamily[];
    }
  | { readonly type: 'four-octet-as'; readonly asn: number }
  | {
      readonly type: 'add-path';
      readonly entries: readonly { readonly family: AfiSafi; readonly receive: boolean; readonly send: boolean }[];
    }
  | { readonly type: 'fqdn'; readonly host: string; readonly domain: string }
  | { readonly type: 'unknown'; readonly code: number; readonly value: Uint8Array };

export interface OpenMessage {
  readonly version: number;
  /** The two-octet field; `openAsn` gives the number that counts. */
  readonly myAs: number;
  /** Seconds. */
  readonly holdTime: number;
  /** The BGP Identifier as a number, RFC 6286. */
  readonly identifier: number;
  readonly capabilities: readonly Capability[];
}

// ---- NOTIFICATION and ROUTE-REFRESH

export interface NotificationMessage {
  readonly code: number;
  readonly subcode: number;
  readonly data: Uint8Array;
}

/** Why a session must end: what to send, and the same in words for the log. */
export interface ProtocolError {
  readonly notification: NotificationMessage;
  readonly reason: string;
}

export interface RouteRefreshMessage {
  readonly family: AfiSafi;
  readonly subtype: RefreshSubtype;
}

// ---- UPDATE

/** Which routes of an UPDATE a set of attributes is decoded for: their next hop stands in different attributes. */
export const RouteSource = {
  /** The message carries no reachable routes. */
  None: 0,
  /** The NLRI field at the end of the message (IPv4 unicast); next hop from NEXT_HOP. */
  Nlri: 1,
  /** MP_REACH_NLRI; next hop inside it. */
  MpReach: 2,
} as const;
export type RouteSource = (typeof RouteSource)[keyof typeof RouteSource];

export interface AsSegment {
  /** SegmentType.Set or SegmentType.Sequence; confederation segments never get this far. */
  readonly type: 1 | 2;
  readonly asns: readonly number[];
}
export type AsPath = readonly AsSegment[];

/** Bytes of the next hop: 4 (IPv4) or 16 (IPv6); with a link-local address beside the global one, RFC 2545 §3. */
export interface NextHop {
  readonly address: Uint8Array;
  readonly linkLocal: Uint8Array | undefined;
}

export interface Aggregator {
  readonly asn: number;
  readonly address: number;
}

/** An optional transitive attribute this speaker does not know, to be passed on with the Partial bit, RFC 4271 §5. */
export interface UnknownAttribute {
  readonly type: number;
  readonly flags: number;
  readonly value: Uint8Array;
}

/** The path attributes of a route after validation, with AS4_PATH and AS4_AGGREGATOR merged in (RFC 6793 §4.2.3). */
export interface PathAttributes {
  readonly origin: Origin;
  readonly asPath: AsPath;
  readonly nextHop: NextHop;
  readonly med: number | undefined;
  readonly localPref: number | undefined;
  readonly atomicAggregate: boolean;
  readonly aggregator: Aggregator | undefined;
  /** RFC 1997, one u32 each, in the order received. */
  readonly communities: readonly number[];
  readonly originatorId: number | undefined;
  readonly clusterList: readonly number[];
  /** RFC 4360, two u32 each (high, low). */
  readonly extendedCommunities: readonly number[];
  /** RFC 8092, three u32 each (global administrator, local data 1, local data 2). */
  readonly largeCommunities: readonly number[];
  /** Ordered by type. */
  readonly unknown: readonly UnknownAttribute[];
  /** Known attributes that came with the Partial bit, which nobody may clear (RFC 4271 §5): bits `1 << (type & 31)`. */
  readonly partial: number;
}

/** One thing wrong with an attribute and what RFC 7606 asks for. */
export interface AttributeFault {
  readonly type: number;
  readonly treatment: 'attribute-discard' | 'treat-as-withdraw' | 'session-reset';
  readonly reason: string;
}

/**
 * What RFC 7606 makes of a block of path attributes; the severest treatment of all faults wins (§3 h).
 * `attribute-discard` still gives attributes, without those discarded. Outcomes depend on the bytes, the route source and
 * the context's `fourOctetAs`, `peerType` and `extendedNextHop` only, so they may be cached under those.
 */
export type AttributeOutcome =
  | { readonly treatment: 'ok'; readonly attributes: PathAttributes }
  | {
      readonly treatment: 'attribute-discard';
      readonly attributes: PathAttributes;
      readonly faults: readonly AttributeFault[];
    }
  | { readonly treatment: 'treat-as-withdraw'; readonly faults: readonly AttributeFault[] }
  | {
      readonly treatment: 'session-reset';
      readonly error: ProtocolError;
      readonly faults: readonly AttributeFault[];
    };
