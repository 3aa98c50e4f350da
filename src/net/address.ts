/**
 * IP addresses and prefixes as canonical text with a brand: `10.244.1.0/24`, `fc00::1`. Canonical text (RFC 5952 for
 * IPv6, host bits zero for prefixes) compares and hashes as it is, so it is the key of every map outside the hot paths.
 * Parsing is strict: no leading zeros, no shorthand IPv4, no zone.
 */
export type Family = 4 | 6;
export type IpAddress = string & { readonly __brand: 'IpAddress' };
export type Prefix = string & { readonly __brand: 'Prefix' };

export const familyOf = (text: IpAddress | Prefix): Family => (text.includes(':') ? 6 : 4);
export const addressBits = (family: Family): 32 | 128 => (family === 4 ? 32 : 128);

/** The address in `text[0, end)` as a number; -1 for what is none. */
function ipv4Number(text: string, end: number): number {
  let value = 0;
  let at = 0;
  for (let part = 0; part < 4; part++) {
    const start = at;
    let octet = 0;
    for (let digit = text.charCodeAt(at) - 48; at < end && digit >= 0 && digit <= 9; digit = text.charCodeAt(++at) - 48)
      octet = 10 * octet + digit;
    const length = at - start;
    if (length === 0 || length > 3 || octet > 255 || (length > 1 && text[start] === '0')) return -1;
    value = value * 256 + octet;
    if (part < 3 && (at >= end || text[at++] !== '.')) return -1;
  }
  return at === end ? value : -1;
}

function parseIPv4Bytes(text: string): Uint8Array | undefined {
  const value = ipv4Number(text, text.length);
  if (value < 0) return undefined;
  return Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}

function parseIPv6Bytes(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groups = (half: string): number[] | undefined => {
    if (half === '') return [];
    const out: number[] = [];
    const parts = half.split(':');
    for (const [i, part] of parts.entries()) {
      if (part.includes('.')) {
        const v4 = i === parts.length - 1 ? parseIPv4Bytes(part) : undefined;
        if (!v4) return undefined;
        out.push((v4[0]! << 8) | v4[1]!, (v4[2]! << 8) | v4[3]!);
      } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) out.push(parseInt(part, 16));
      else return undefined;
    }
    return out;
  };
  const head = groups(halves[0]!);
  const tail = groups(halves[1] ?? '');
  if (!head || !tail) return undefined;
  // an embedded IPv4 address stands at the very end only
  if (halves.length === 2 && halves[0]!.includes('.')) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const all = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  const bytes = new Uint8Array(16);
  for (const [i, group] of all.entries()) {
    bytes[2 * i] = group >> 8;
    bytes[2 * i + 1] = group;
  }
  return bytes;
}

/** The address's bytes in network order, 4 or 16 of them; undefined when `text` is not an address. */
function parseBytes(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseIPv6Bytes(text) : parseIPv4Bytes(text);
}

/** Bytes of an address that was parsed before. */
export function addressBytes(address: IpAddress): Uint8Array {
  const bytes = parseBytes(address);
  if (!bytes) throw new Error(`not a canonical address: ${address}`);
  return bytes;
}

/** Canonical text of 4 or 16 bytes in network order; throws on any other length (a broken invariant, not input). */
export function addressFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return `${bytes[0]!}.${bytes[1]!}.${bytes[2]!}.${bytes[3]!}` as IpAddress;
  if (bytes.length !== 16) throw new Error(`an address has 4 or 16 bytes, not ${bytes.length}`);
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! << 8) | bytes[i + 1]!);
  if (groups.slice(0, 5).every((g) => g === 0) && groups[5] === 0xffff) {
    return `::ffff:${addressFromBytes(bytes.subarray(12))}` as IpAddress;
  }
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > length) [start, length] = [i, n];
  }
  const hex = groups.map((g) => g.toString(16));
  if (start < 0) return hex.join(':') as IpAddress;
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}` as IpAddress;
}

export function parseAddress(text: string): IpAddress | undefined {
  const bytes = parseBytes(text);
  return bytes && addressFromBytes(bytes);
}

/** For literals in the source and in tests; throws on anything that does not parse. */
export function ip(text: string): IpAddress {
  const address = parseAddress(text);
  if (!address) throw new Error(`not an IP address: ${text}`);
  return address;
}

function maskBytes(bytes: Uint8Array, length: number): Uint8Array {
  const out = bytes.slice();
  for (let i = 0; i < out.length; i++) {
    const bits = Math.min(8, Math.max(0, length - 8 * i));
    out[i] = out[i]! & (0xff << (8 - bits));
  }
  return out;
}

function splitPrefix(text: string): { bytes: Uint8Array; length: number } | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const bytes = parseBytes(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (!bytes || !/^(0|[1-9]\d{0,2})$/.test(digits)) return undefined;
  const length = Number(digits);
  return length > bytes.length * 8 ? undefined : { bytes, length };
}

/** Parses `ADDRESS/LENGTH`; host bits must be zero. */
export function parsePrefix(text: string): Prefix | undefined {
  const split = splitPrefix(text);
  if (!split) return undefined;
  const prefix = prefixFromBytes(split.bytes, split.length);
  return addressBytes(prefixAddress(prefix)).every((byte, i) => byte === split.bytes[i]) ? prefix : undefined;
}

/** For literals in the source and in tests. */
export function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (!parsed) throw new Error(`not an IP prefix: ${text}`);
  return parsed;
}

/** An address with the length of its network, host bits kept: `10.244.1.1/24`. */
export interface InterfaceAddress {
  readonly address: IpAddress;
  readonly prefixLength: number;
}

export function parseInterfaceAddress(text: string): InterfaceAddress | undefined {
  const split = splitPrefix(text);
  return split && { address: addressFromBytes(split.bytes), prefixLength: split.length };
}

export const formatInterfaceAddress = (a: InterfaceAddress): string => `${a.address}/${a.prefixLength}`;

/** The prefix of `length` bits that holds these address bytes; host bits are cut off. */
export function prefixFromBytes(bytes: Uint8Array, length: number): Prefix {
  return `${addressFromBytes(maskBytes(bytes, length))}/${length}` as Prefix;
}

export function prefixOf(address: IpAddress, length: number): Prefix {
  return prefixFromBytes(addressBytes(address), length);
}

/** The prefix that holds just this address: /32 or /128. */
export const hostPrefix = (address: IpAddress): Prefix => `${address}/${addressBits(familyOf(address))}` as Prefix;

export const prefixAddress = (p: Prefix): IpAddress => p.slice(0, p.indexOf('/')) as IpAddress;
export const prefixLength = (p: Prefix): number => Number(p.slice(p.indexOf('/') + 1));

export function addressToBigInt(address: IpAddress): bigint {
  let value = 0n;
  for (const byte of addressBytes(address)) value = (value << 8n) | BigInt(byte);
  return value;
}

export function addressFromBigInt(value: bigint, family: Family): IpAddress {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return addressFromBytes(bytes);
}

/** The `index`-th address of the prefix, 0 being the network address; throws when it lies outside. */
export function nthAddress(p: Prefix, index: number | bigint): IpAddress {
  const family = familyOf(p);
  const size = 1n << BigInt(addressBits(family) - prefixLength(p));
  if (BigInt(index) < 0n || BigInt(index) >= size) throw new Error(`${p} has no address ${index}`);
  return addressFromBigInt(addressToBigInt(prefixAddress(p)) + BigInt(index), family);
}

/** Number of addresses in the prefix. */
export const prefixSize = (p: Prefix): bigint => 1n << BigInt(addressBits(familyOf(p)) - prefixLength(p));

export function prefixContains(p: Prefix, address: IpAddress): boolean {
  if (familyOf(p) !== familyOf(address)) return false;
  const length = prefixLength(p);
  if (familyOf(p) === 6) return prefixOf(address, length) === p;
  // asked for every route: without a text in between
  const differ = ipv4Number(p, p.indexOf('/')) ^ ipv4Number(address, address.length);
  return length === 0 || differ >>> (32 - length) === 0;
}

/** Whether `inner` lies inside `outer` or is the same. */
export function prefixCovers(outer: Prefix, inner: Prefix): boolean {
  return prefixLength(inner) >= prefixLength(outer) && prefixContains(outer, prefixAddress(inner));
}

export const prefixesOverlap = (a: Prefix, b: Prefix): boolean => prefixCovers(a, b) || prefixCovers(b, a);

/** Orders by family, then numerically, then shorter prefixes first: the order of a route table. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  return compareAddresses(prefixAddress(a), prefixAddress(b)) || prefixLength(a) - prefixLength(b);
}

export function compareAddresses(a: IpAddress, b: IpAddress): number {
  const x = addressBytes(a);
  const y = addressBytes(b);
  if (x.length !== y.length) return x.length - y.length;
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return x[i]! - y[i]!;
  return 0;
}

export const isLinkLocal = (a: IpAddress): boolean =>
  prefixContains('169.254.0.0/16' as Prefix, a) || prefixContains('fe80::/10' as Prefix, a);
export const isLoopback = (a: IpAddress): boolean => prefixContains('127.0.0.0/8' as Prefix, a) || a === '::1';
export const isMulticast = (a: IpAddress): boolean =>
  prefixContains('224.0.0.0/4' as Prefix, a) || prefixContains('ff00::/8' as Prefix, a);
export const isUnspecified = (a: IpAddress): boolean => a === '0.0.0.0' || a === '::';
