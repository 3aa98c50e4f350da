/**
 * The BGP-4 message codec, without sockets, clocks or state of its own; it never throws on input.
 *
 * Receiving: a `Framer` cuts the TCP stream into messages (RFC 4271 §4.1). OPEN, NOTIFICATION and ROUTE-REFRESH decode to
 * values (`decodeOpen` …). UPDATE is decoded in three steps, because a full table is a million prefixes over some ten
 * thousand attribute sets: `UpdateView.scan` finds the parts in the receive buffer; `decodePrefixes` turns NLRI into
 * typed arrays; `decodeAttributes` runs only for attribute blocks not seen before, and says with RFC 7606 what to do about
 * a bad one.
 *
 * Sending: `encodeAttributes` once per attribute set and peer group, `UpdateWriter` packs prefixes into messages.
 */
export * from './attributes.ts';
export * from './framing.ts';
export * from './iana.ts';
export * from './messages.ts';
export * from './negotiate.ts';
export * from './next-hop.ts';
export * from './notification.ts';
export * from './open.ts';
export * from './prefixes.ts';
export * from './types.ts';
export * from './update.ts';
export * from './update-writer.ts';
