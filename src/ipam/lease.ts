/**
 * A node's subnet lease as Flannel keeps it: the subnet is in the key, who has it is in the value, and that it lasts is
 * the etcd lease the key hangs on. A key that hangs on no lease is a reservation: it stays until somebody deletes it.
 */
import { z } from 'zod';
import { err, messageOf, ok, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import type { KeyValue, LeaseId, Revision } from '../datastore/mod.ts';
import { familyOf, parseAddress, parsePrefix, prefixAddress, prefixLength } from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';

export const DEFAULT_NETWORK_PREFIX = '/coreos.com/network';
export const configKey = (networkPrefix: string): string => `${networkPrefix}/config`;
export const subnetsPrefix = (networkPrefix: string): string => `${networkPrefix}/subnets/`;

/** A node's subnets, one of each family that the network has. */
export interface Subnets {
  readonly ipv4: Prefix | undefined;
  readonly ipv6: Prefix | undefined;
}

/** What a node says about itself in its lease. */
export interface LeaseAttributes {
  readonly publicIp: IpAddress | undefined;
  readonly publicIpv6: IpAddress | undefined;
  readonly backendType: string;
  /** Backend's own JSON (VXLAN: VNI and VtepMAC); absent for host-gw. */
  readonly backendData?: unknown;
  readonly backendV6Data?: unknown;
}

export interface SubnetLease {
  /** The datastore key, unique for each lease. */
  readonly key: string;
  readonly subnets: Subnets;
  readonly attributes: LeaseAttributes;
  /** The etcd lease the key hangs on, '0' for a reservation. */
  readonly lease: LeaseId;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
}

export const isReservation = (lease: SubnetLease): boolean => lease.lease === '0';

/** The subnets of a lease that are there. */
export const subnetList = ({ ipv4, ipv6 }: Subnets): readonly Prefix[] =>
  [ipv4, ipv6].filter((subnet) => subnet !== undefined);

const keyPart = (subnet: Prefix): string => `${prefixAddress(subnet)}-${prefixLength(subnet)}`;

/** `10.244.1.0-24`, with IPv6 `10.244.1.0-24&fc00:1::-64`; without IPv4 Flannel's zero value stands in its place. */
export function subnetsName({ ipv4, ipv6 }: Subnets): string {
  const first = ipv4 === undefined ? '0.0.0.0-0' : keyPart(ipv4);
  return ipv6 === undefined ? first : `${first}&${keyPart(ipv6)}`;
}

/** The inverse of `subnetsName`; undefined for what is not a lease's name. */
export function parseSubnetsName(name: string): Subnets | undefined {
  const match = /^([\d.]+)-(\d{1,2})(?:&([\da-f:]+)-(\d{1,3}))?$/.exec(name);
  if (!match) return undefined;
  const v4 = `${match[1]!}/${match[2]!}`;
  const ipv4 = parsePrefix(v4);
  const ipv6 = match[3] === undefined ? undefined : parsePrefix(`${match[3]}/${match[4]!}`);
  if (ipv4 === undefined || (match[3] !== undefined && ipv6 === undefined)) return undefined;
  if (v4 === '0.0.0.0/0') return ipv6 === undefined ? undefined : { ipv4: undefined, ipv6 };
  return { ipv4, ipv6 };
}

const valueSchema = z.object({
  PublicIP: z.string().nullish(),
  PublicIPv6: z.string().nullish(),
  BackendType: z.string(),
  BackendData: z.unknown().optional(),
  BackendV6Data: z.unknown().optional(),
});

/** The error says what is wrong with this one key; others are not touched by it. */
export function parseLease(networkPrefix: string, kv: KeyValue): Result<SubnetLease, string> {
  const subnets = parseSubnetsName(kv.key.slice(subnetsPrefix(networkPrefix).length));
  if (!subnets) return err('the key names no subnet');
  let json: unknown;
  try {
    json = JSON.parse(kv.value);
  } catch (error) {
    return err(`the value is not JSON: ${printable(messageOf(error))}`);
  }
  const parsed = valueSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return err(printable(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`));
  }
  const { PublicIP, PublicIPv6, BackendType, BackendData, BackendV6Data } = parsed.data;
  const publicIp = publicAddress(4, PublicIP);
  const publicIpv6 = publicAddress(6, PublicIPv6);
  if (!publicIp.ok) return publicIp;
  if (!publicIpv6.ok) return publicIpv6;
  const attributes: LeaseAttributes = {
    publicIp: publicIp.value,
    publicIpv6: publicIpv6.value,
    backendType: BackendType,
    ...(BackendData !== undefined && BackendData !== null && { backendData: BackendData }),
    ...(BackendV6Data !== undefined && BackendV6Data !== null && { backendV6Data: BackendV6Data }),
  };
  const { key, lease, createRevision, modRevision } = kv;
  return ok({ key, subnets, attributes, lease, createRevision, modRevision });
}

/** Absent, null and the unspecified address all mean "none", as Flannel writes them. */
function publicAddress(family: Family, text: string | null | undefined): Result<IpAddress | undefined, string> {
  if (text === null || text === undefined || text === '' || text === '0.0.0.0' || text === '::') return ok(undefined);
  const address = parseAddress(text);
  if (address && familyOf(address) === family) return ok(address);
  return err(`PublicIP${family === 6 ? 'v6' : ''} is not an IPv${family} address: ${printable(text)}`);
}

/** The value as Flannel writes it. */
export function formatLeaseValue(attributes: LeaseAttributes): string {
  return JSON.stringify({
    PublicIP: attributes.publicIp ?? '0.0.0.0',
    PublicIPv6: attributes.publicIpv6 ?? null,
    BackendType: attributes.backendType,
    BackendData: attributes.backendData,
    BackendV6Data: attributes.backendV6Data,
  });
}
