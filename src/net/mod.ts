/** Addresses, prefixes, AS numbers and MACs as branded values; longest-prefix match. */
export * from './address.ts';
export * from './asn.ts';
export * from './lpm.ts';
export * from './mac.ts';
