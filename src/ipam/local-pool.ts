/**
 * Which address of the node's own subnet a new pod gets: the next free one after the last that was given, going round.
 * An address therefore rests as long as the subnet allows before somebody else has it, and what peers still remember of
 * its former owner (ARP entries, connections) dies out in between.
 */
import { addressBits, addressFromBigInt, addressToBigInt, familyOf } from '../net/mod.ts';
import { prefixAddress, prefixContains, prefixLength, prefixSize } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';

export interface PoolView {
  /** The node's own prefix. */
  readonly subnet: Prefix;
  /** The bridge's address, never given to a pod. */
  readonly gateway: IpAddress;
}

/**
 * Whether a pod may have `address`: inside the subnet, not the gateway, not the network's own (for IPv6 the
 * subnet-router anycast address, RFC 4291 section 2.6.1), not the IPv4 broadcast address.
 */
export function isAssignable(pool: PoolView, address: IpAddress): boolean {
  if (!prefixContains(pool.subnet, address) || address === pool.gateway) return false;
  const family = familyOf(pool.subnet);
  if (addressBits(family) - prefixLength(pool.subnet) < 2) return true;
  const offset = addressToBigInt(address) - addressToBigInt(prefixAddress(pool.subnet));
  return offset !== 0n && !(family === 4 && offset === prefixSize(pool.subnet) - 1n);
}

/** The next free address after `last`; undefined when none is left. */
export function nextAddress(
  pool: PoolView,
  taken: ReadonlySet<string> | ReadonlyMap<string, unknown>,
  last?: IpAddress,
): IpAddress | undefined {
  const family = familyOf(pool.subnet);
  const size = prefixSize(pool.subnet);
  const base = addressToBigInt(prefixAddress(pool.subnet));
  const start = last !== undefined && prefixContains(pool.subnet, last) ? addressToBigInt(last) - base + 1n : 0n;
  // every taken address can be in the way once, besides the three that are never given
  const tries = BigInt(taken.size) + 4n < size ? BigInt(taken.size) + 4n : size;
  for (let i = 0n; i < tries; i++) {
    const candidate = addressFromBigInt(base + ((start + i) % size), family);
    if (!taken.has(candidate) && isAssignable(pool, candidate)) return candidate;
  }
  return undefined;
}
