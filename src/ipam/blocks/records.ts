/** The small records around blocks: affinities, handles, and the configuration of IPAM. */
import { err, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { checkIpamConfiguration, describeProblem, goJson, isObject, parseJson, sortedMap } from '../../model/mod.ts';
import type { IpamConfigurationSpec, Json, JsonObject } from '../../model/mod.ts';
import { parsePrefix } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';

/**
 * A node's claim to a block. `pending`: wants it, does not have it; `pendingDeletion`: is giving it up. Only `confirmed`
 * claims count for routes. Ours go in and out with their block in one transaction and are never anything else; the
 * other states are what a Calico that was interrupted leaves behind.
 */
export type AffinityState = 'pending' | 'confirmed' | 'pendingDeletion';

/** undefined for what no Calico wrote. Very old records are empty. */
export function decodeAffinity(text: string): AffinityState | undefined {
  if (text === CONFIRMED) return 'confirmed'; // nearly all are, and there are tens of thousands
  const json = parseJson(text === '' ? '{}' : text);
  if (!json.ok || !isObject(json.value)) return undefined;
  const state = json.value['state'] ?? 'confirmed';
  if (state === '') return 'confirmed';
  return state === 'pending' || state === 'confirmed' || state === 'pendingDeletion' ? state : undefined;
}

export const encodeAffinity = (state: AffinityState): string => `{"state":"${state}","deleted":false}`;
const CONFIRMED = encodeAffinity('confirmed');

/** How many addresses a handle has in each block: an index, the truth is in the blocks. */
export type HandleCounts = ReadonlyMap<Prefix, number>;

/** A handle that cannot be read counts as empty: writing it again repairs it. */
export function decodeHandle(text: string): HandleCounts {
  const json = parseJson(text);
  const blocks = json.ok && isObject(json.value) ? json.value['block'] : undefined;
  const counts = new Map<Prefix, number>();
  if (!isObject(blocks)) return counts;
  for (const [key, count] of Object.entries(blocks)) {
    const cidr = parsePrefix(key);
    if (cidr !== undefined && typeof count === 'number' && count > 0) counts.set(cidr, count);
  }
  return counts;
}

export const encodeHandle = (counts: HandleCounts): string =>
  `{"block":${sortedMap(Object.fromEntries(counts))},"deleted":false}`;

export interface IpamConfig extends IpamConfigurationSpec {
  /** Fields of other programs. */
  readonly others: JsonObject;
}

export const defaultIpamConfig: IpamConfig = {
  strictAffinity: false,
  autoAllocateBlocks: true,
  maxBlocksPerHost: 0,
  kubeVirtVMAddressPersistence: undefined,
  ipCooldownSeconds: 0,
  others: {},
};

/** What is left out is false and 0, as Go reads it; only a configuration that is not there at all means the defaults. */
export function decodeConfig(text: string): Result<IpamConfig, string> {
  const json = parseJson(text);
  if (!json.ok) return json;
  if (!isObject(json.value)) return err('is not an object');
  const {
    strict_affinity: strict = false,
    auto_allocate_blocks: auto = false,
    maxBlocksPerHost = 0,
    kubeVirtVMAddressPersistence: persistence,
    ipCooldownSeconds = 0,
    ...others
  } = json.value;
  const isCount = (value: Json): value is number => typeof value === 'number' && Number.isInteger(value) && value >= 0;
  if (
    typeof strict !== 'boolean' ||
    typeof auto !== 'boolean' ||
    !isCount(maxBlocksPerHost) ||
    !isCount(ipCooldownSeconds)
  )
    return err('has a setting of the wrong type');
  return ok({
    strictAffinity: strict,
    autoAllocateBlocks: auto,
    maxBlocksPerHost,
    kubeVirtVMAddressPersistence: persistence === 'Enabled' || persistence === 'Disabled' ? persistence : undefined,
    ipCooldownSeconds: Math.min(ipCooldownSeconds, 1200),
    others,
  });
}

export function encodeConfig(config: IpamConfig): string {
  return goJson({
    strict_affinity: config.strictAffinity || undefined,
    auto_allocate_blocks: config.autoAllocateBlocks || undefined,
    maxBlocksPerHost: config.maxBlocksPerHost || undefined,
    kubeVirtVMAddressPersistence: config.kubeVirtVMAddressPersistence,
    ipCooldownSeconds: config.ipCooldownSeconds || undefined,
    ...config.others,
  });
}

/** What forbids this configuration, as sentences. */
export const configFaults = (config: IpamConfig): string[] => checkIpamConfiguration(config).map(describeProblem);
