/**
 * Flannel's network configuration: which addresses the network has and how they are cut into one subnet a node. Keys,
 * defaults and limits are Flannel's, so that flanneld and Godwit read one configuration the same way; keys match without
 * regard to case and unknown keys are passed over, as Flannel's JSON reader does.
 */
import { z } from 'zod';
import { err, messageOf, ok, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import {
  addressBits,
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  parseAddress,
  parseInterfaceAddress,
  prefixAddress,
  prefixContains,
  prefixLength,
  prefixOf,
  prefixSize,
} from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';
import { parseVxlanBackend } from './vxlan-backend.ts';
import type { VxlanBackend } from './vxlan-backend.ts';

/** One family's addresses: node subnets of `subnetLength` from `subnetMin` to `subnetMax`, both included. */
export interface SubnetRange {
  readonly network: Prefix;
  readonly subnetLength: number;
  readonly subnetMin: IpAddress;
  readonly subnetMax: IpAddress;
}

export interface NetworkConfig {
  /** At least one of the two is there. */
  readonly ipv4: SubnetRange | undefined;
  readonly ipv6: SubnetRange | undefined;
  readonly enableNftables: boolean;
  /** `udp` when the configuration names none, as Flannel's code (not its documentation) has it. */
  readonly backendType: string;
  /** Of backend `vxlan`. */
  readonly vxlan: VxlanBackend | undefined;
  /** What else stands in `Backend`, by lower-case key. */
  readonly backend: Readonly<Record<string, unknown>>;
}

const schema = z.object({
  network: z.string().optional(),
  ipv6network: z.string().optional(),
  enableipv4: z.boolean().default(true),
  enableipv6: z.boolean().default(false),
  enablenftables: z.boolean().default(false),
  subnetlen: z.number().int().nonnegative().default(0),
  ipv6subnetlen: z.number().int().nonnegative().default(0),
  subnetmin: z.string().optional(),
  subnetmax: z.string().optional(),
  ipv6subnetmin: z.string().optional(),
  ipv6subnetmax: z.string().optional(),
  backend: z.record(z.string(), z.unknown()).default({}),
});

/** The limits of one family: Flannel's. */
const limits = {
  4: { keys: '', longestSubnet: 30, smallestNetwork: 28, usualSubnet: 24 },
  6: { keys: 'IPv6', longestSubnet: 126, smallestNetwork: 124, usualSubnet: 64 },
} as const;

function lowerCaseKeys(value: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key.toLowerCase(), inner as unknown]));
}

/** The error is a sentence that names the key at fault. */
export function parseNetworkConfig(text: string): Result<NetworkConfig, string> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return err(`not JSON: ${printable(messageOf(error))}`);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return err('not a JSON object');
  const parsed = schema.safeParse(lowerCaseKeys(json));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return err(printable(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`));
  }
  const c = parsed.data;
  if (!c.enableipv4 && !c.enableipv6) return err('EnableIPv4 and EnableIPv6 are both false');
  const v4 = c.enableipv4 ? range(4, c.network, c.subnetlen, c.subnetmin, c.subnetmax) : ok(undefined);
  if (!v4.ok) return v4;
  const v6 = c.enableipv6 ? range(6, c.ipv6network, c.ipv6subnetlen, c.ipv6subnetmin, c.ipv6subnetmax) : ok(undefined);
  if (!v6.ok) return v6;
  const { type, ...backend } = lowerCaseKeys(c.backend);
  if (type !== undefined && typeof type !== 'string') return err('Backend.Type is not a string');
  const vxlan = type === 'vxlan' ? parseVxlanBackend(backend) : ok(undefined);
  if (!vxlan.ok) return vxlan;
  return ok({
    ipv4: v4.value,
    ipv6: v6.value,
    enableNftables: c.enablenftables,
    backendType: type === undefined || type === '' ? 'udp' : type,
    vxlan: vxlan.value,
    backend,
  });
}

function range(
  family: Family,
  networkText: string | undefined,
  length: number,
  minText: string | undefined,
  maxText: string | undefined,
): Result<SubnetRange, string> {
  const { keys, longestSubnet, smallestNetwork, usualSubnet } = limits[family];
  if (networkText === undefined) return err(`${keys}Network is missing`);
  const given = parseInterfaceAddress(networkText);
  if (!given || familyOf(given.address) !== family) {
    return err(`${keys}Network is not an IPv${family} prefix: ${printable(networkText)}`);
  }
  const network = prefixOf(given.address, given.prefixLength);
  const { prefixLength } = given;
  if (length > longestSubnet) return err(`${keys}SubnetLen is longer than /${longestSubnet}`);
  if (length > 0 && length < prefixLength + 2) {
    return err(`${keys}SubnetLen /${length}: ${network} must hold at least four subnets`);
  }
  if (length === 0 && prefixLength > smallestNetwork) {
    return err(`${keys}Network ${network} is too small, the smallest is a /${smallestNetwork}`);
  }
  const subnetLength = length > 0 ? length : prefixLength + 2 <= usualSubnet ? usualSubnet : prefixLength + 2;
  const subnetSize = 1n << BigInt(addressBits(family) - subnetLength);
  const first = addressToBigInt(prefixAddress(network));
  const bound = (key: string, text: string | undefined, usual: bigint): Result<IpAddress, string> => {
    const address = text === undefined ? addressFromBigInt(usual, family) : parseAddress(text);
    if (!address || !prefixContains(network, address)) {
      return err(`${keys}${key} is not an address of ${network}: ${printable(text ?? '')}`);
    }
    const aligned = addressToBigInt(address) % subnetSize === 0n;
    return aligned ? ok(address) : err(`${keys}${key} ${address} is not the start of a /${subnetLength}`);
  };
  // Flannel leaves the first subnet out: its network address is the network's own
  const min = bound('SubnetMin', minText, first + subnetSize);
  if (!min.ok) return min;
  const max = bound('SubnetMax', maxText, first + prefixSize(network) - subnetSize);
  if (!max.ok) return max;
  if (addressToBigInt(min.value) > addressToBigInt(max.value)) return err(`${keys}SubnetMin is above ${keys}SubnetMax`);
  return ok({ network, subnetLength, subnetMin: min.value, subnetMax: max.value });
}

/** Whether a subnet could have been cut from this range: length and position. */
export function fitsRange(range: SubnetRange, subnet: Prefix): boolean {
  const address = prefixAddress(subnet);
  if (familyOf(subnet) !== familyOf(range.network) || prefixLength(subnet) !== range.subnetLength) return false;
  const value = addressToBigInt(address);
  return value >= addressToBigInt(range.subnetMin) && value <= addressToBigInt(range.subnetMax);
}
