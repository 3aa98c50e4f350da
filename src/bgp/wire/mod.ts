/**
 * The BGP-4 message codec, without sockets, clocks or state of its own; it never throws on input.
 *
 * Receiving: a `Framer` cuts the TCP stream into messages (RFC 4271 §4.1). OPEN, NOTIFICATION and ROUTE-REFRESH decode to
 * values (`decodeOpen` …); `validateOpen` and `negotiate` make a `SessionContext` of two OPENs, which all later decoding
 * depends on. UPDATE is decoded in two steps, because a full table is a million prefixes over some ten thousand attribute
 * sets: `UpdateView` takes the message apart and turns NLRI into typed arrays; `decodeAttributes` runs only for attribute
 * blocks not seen before, and says with RFC 7606 what to do about a bad one.
 *
 * Sending: `encodeAttributes` once per attribute set and group of peers, `UpdateWriter` packs prefixes into messages.
 */
export * from './as-path.ts';
export * from './attribute-cursor.ts';
export * from './attribute-encoder.ts';
export * from './attributes.ts';
export { formatCommunity, formatExtendedCommunities, formatLargeCommunities } from './communities.ts';
export * from './framing.ts';
export * from './iana.ts';
export * from './messages.ts';
export * from './negotiate.ts';
export { isHostAddress, sameNextHop } from './next-hop.ts';
export * from './notification.ts';
export * from './open.ts';
export * from './prefixes.ts';
export * from './types.ts';
export * from './update.ts';
export * from './update-writer.ts';
