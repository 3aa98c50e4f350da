/**
 * Every code point of BGP-4 that the codec knows, named as in the IANA registries ("BGP Parameters", "Capability Codes",
 * "Address Family Numbers"). No other file of the codec spells such a number.
 */

/** Message types, RFC 4271 §4.1 and RFC 2918. */
export const MessageType = { Open: 1, Update: 2, Notification: 3, Keepalive: 4, RouteRefresh: 5 } as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

export const BGP_VERSION = 4;
export const BGP_PORT = 179;
export const HEADER_LENGTH = 19;
export const MARKER_LENGTH = 16;
/** RFC 4271 §4.1. */
export const MAX_MESSAGE_LENGTH = 4096;
/** RFC 8654: every message but OPEN and KEEPALIVE, once both sides sent the capability. */
export const MAX_EXTENDED_MESSAGE_LENGTH = 65535;
/** Stands in two-octet fields for an AS number that needs four, RFC 6793 §9. */
export const AS_TRANS = 23456;

export const Afi = { IPv4: 1, IPv6: 2 } as const;
export const Safi = { Unicast: 1, Multicast: 2 } as const;

/** An address family as one number, `AFI << 8 | SAFI`: small, comparable, usable as a map key. */
export type AfiSafi = number & { readonly __brand: 'AfiSafi' };
export const afiSafi = (afi: number, safi: number): AfiSafi => ((afi << 8) | safi) as AfiSafi;
export const afiOf = (family: AfiSafi): number => family >>> 8;
export const safiOf = (family: AfiSafi): number => family & 0xff;
export const IPV4_UNICAST = afiSafi(Afi.IPv4, Safi.Unicast);
export const IPV6_UNICAST = afiSafi(Afi.IPv6, Safi.Unicast);

/** Optional parameters of OPEN, RFC 5492 and RFC 9072. */
export const OpenParameter = { Capabilities: 2, ExtendedLength: 255 } as const;

export const CapabilityCode = {
  MultiProtocol: 1, // RFC 2858, 4760
  RouteRefresh: 2, // RFC 2918
  ExtendedNextHop: 5, // RFC 8950
  ExtendedMessage: 6, // RFC 8654
  Role: 9, // RFC 9234
  GracefulRestart: 64, // RFC 4724, 8538
  FourOctetAs: 65, // RFC 6793
  AddPath: 69, // RFC 7911
  EnhancedRouteRefresh: 70, // RFC 7313
  LongLivedGracefulRestart: 71, // RFC 9494
  Fqdn: 73, // draft-walton-bgp-hostname-capability
} as const;

/** Path attribute types, RFC 4271 §5 and the RFC beside each. */
export const AttributeType = {
  Origin: 1,
  AsPath: 2,
  NextHop: 3,
  MultiExitDisc: 4,
  LocalPref: 5,
  AtomicAggregate: 6,
  Aggregator: 7,
  Communities: 8, // RFC 1997
  OriginatorId: 9, // RFC 4456
  ClusterList: 10, // RFC 4456
  MpReachNlri: 14, // RFC 4760
  MpUnreachNlri: 15, // RFC 4760
  ExtendedCommunities: 16, // RFC 4360
  As4Path: 17, // RFC 6793
  As4Aggregator: 18, // RFC 6793
  LargeCommunities: 32, // RFC 8092
} as const;
export type AttributeType = (typeof AttributeType)[keyof typeof AttributeType];

/** The high bits of the attribute flags octet, RFC 4271 §4.3. */
export const AttributeFlag = { Optional: 0x80, Transitive: 0x40, Partial: 0x20, ExtendedLength: 0x10 } as const;

export const Origin = { Igp: 0, Egp: 1, Incomplete: 2 } as const;
export type Origin = (typeof Origin)[keyof typeof Origin];

/** AS_PATH segment types, RFC 4271 §4.3 and RFC 5065. */
export const SegmentType = { Set: 1, Sequence: 2, ConfedSequence: 3, ConfedSet: 4 } as const;

/** RFC 1997, 8326, 7999. */
export const WellKnownCommunity = {
  GracefulShutdown: 0xffff0000,
  Blackhole: 0xffff029a,
  NoExport: 0xffffff01,
  NoAdvertise: 0xffffff02,
  NoExportSubconfed: 0xffffff03,
} as const;

/** NOTIFICATION error codes, RFC 4271 §4.5, RFC 7313, RFC 9687. */
export const ErrorCode = {
  MessageHeader: 1,
  OpenMessage: 2,
  UpdateMessage: 3,
  HoldTimerExpired: 4,
  FiniteStateMachine: 5,
  Cease: 6,
  RouteRefresh: 7,
  SendHoldTimerExpired: 8,
} as const;

export const HeaderError = { NotSynchronized: 1, BadLength: 2, BadType: 3 } as const;
export const OpenError = {
  UnsupportedVersion: 1,
  BadPeerAs: 2,
  BadIdentifier: 3,
  UnsupportedParameter: 4,
  UnacceptableHoldTime: 6,
  UnsupportedCapability: 7,
} as const;
export const UpdateError = {
  MalformedAttributeList: 1,
  UnrecognizedWellKnown: 2,
  MissingWellKnown: 3,
  AttributeFlags: 4,
  AttributeLength: 5,
  InvalidOrigin: 6,
  InvalidNextHop: 8,
  OptionalAttribute: 9,
  InvalidNetworkField: 10,
  MalformedAsPath: 11,
} as const;
/** RFC 6608. */
export const FsmError = { Unspecified: 0, InOpenSent: 1, InOpenConfirm: 2, InEstablished: 3 } as const;
/** RFC 4486, RFC 8538 (9), RFC 9384 (10). */
export const CeaseSubcode = {
  MaximumPrefixes: 1,
  AdministrativeShutdown: 2,
  PeerDeconfigured: 3,
  AdministrativeReset: 4,
  ConnectionRejected: 5,
  OtherConfigurationChange: 6,
  CollisionResolution: 7,
  OutOfResources: 8,
  HardReset: 9,
  BfdDown: 10,
} as const;
export const RouteRefreshError = { InvalidLength: 1 } as const;

/** ROUTE-REFRESH subtypes, RFC 7313. */
export const RefreshSubtype = { Request: 0, BeginOfRefresh: 1, EndOfRefresh: 2 } as const;
export type RefreshSubtype = (typeof RefreshSubtype)[keyof typeof RefreshSubtype];
