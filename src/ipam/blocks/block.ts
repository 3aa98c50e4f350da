/**
 * A block: the record of every address of a small prefix, and Calico's unit of compare-and-swap. Numbers of addresses
 * within it ("ordinals") count from 0. This file is the value and its JSON, byte for byte as Calico writes it; what can
 * be done with it is in `operations.ts`.
 */
import { err, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { goJson, goString, isObject, parseJson, sortedMap } from '../../model/mod.ts';
import type { Json, JsonObject } from '../../model/mod.ts';
import {
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  parsePrefix,
  prefixAddress,
  prefixContains,
  prefixSize,
} from '../../net/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import type { Owner } from './keys.ts';

/** Whose an address is; several addresses of one owner share one entry. */
export interface Attribute {
  /** Names the attachment: `k8s-pod-network.<container id>`. */
  readonly handle: string | undefined;
  /** `pod`, `namespace`, `node`, `type`, `timestamp` … */
  readonly secondary: Readonly<Record<string, string>>;
  /** RFC 3339; the address was given back then and cools down before it is given again. */
  readonly releasedAt: string | undefined;
  /** Fields of other programs, kept as they are. */
  readonly others: JsonObject;
}

export interface Block {
  readonly cidr: Prefix;
  readonly affinity: Owner | undefined;
  readonly affinityClaimTime: string | undefined;
  /** For each ordinal the index into `attributes`, or null for a free address. */
  readonly allocations: readonly (number | null)[];
  /** Free ordinals; the first is given next, freed ones queue up at the end, so that no address comes back soon. */
  readonly unallocated: readonly number[];
  readonly attributes: readonly Attribute[];
  /** Grows with every write. Starts as nanoseconds since 1970, so that it grows over a block's deletion as well. */
  readonly sequenceNumber: bigint;
  /** The block's sequence number when an ordinal was given: tells one giving of an address from the next. */
  readonly sequenceNumbers: ReadonlyMap<number, bigint>;
  readonly others: JsonObject;
}

/** Blocks are /20 to /32 or /116 to /128: no more addresses than this. */
export const MAX_BLOCK = 4096;

export const addressOf = (block: Pick<Block, 'cidr'>, ordinal: number): IpAddress =>
  addressFromBigInt(addressToBigInt(prefixAddress(block.cidr)) + BigInt(ordinal), familyOf(block.cidr));

export function ordinalOf(block: Pick<Block, 'cidr'>, address: IpAddress): number | undefined {
  if (!prefixContains(block.cidr, address)) return undefined;
  return Number(addressToBigInt(address) - addressToBigInt(prefixAddress(block.cidr)));
}

const known = new Set([
  'cidr',
  'affinity',
  'affinity_claim_time',
  'allocations',
  'unallocated',
  'attributes',
  'sequenceNumber',
  'sequenceNumberForAllocation',
  'deleted',
  'hostAffinity',
]);

/** The error says what is wrong with the block, as `godwit ipam check` shows it. */
export function decodeBlock(text: string): Result<Block, string> {
  const json = parseJson(text);
  if (!json.ok) return json;
  const value = json.value;
  if (!isObject(value)) return err('is not an object');
  if (value['deleted'] === true) return err('is marked as deleted');
  const cidr = typeof value['cidr'] === 'string' ? parsePrefix(value['cidr']) : undefined;
  if (cidr === undefined) return err('has no valid cidr');
  const size = prefixSize(cidr);
  if (size > BigInt(MAX_BLOCK)) return err(`${cidr} is larger than any block can be`);
  const attributes = decodeAttributes(value['attributes'] ?? []);
  const allocations = value['allocations'];
  const unallocated = value['unallocated'] ?? [];
  if (!attributes) return err('has attributes of no known form');
  if (!Array.isArray(allocations) || allocations.length !== Number(size)) return err(`has no ${size} allocations`);
  if (!Array.isArray(unallocated)) return err('has no list of unallocated ordinals');
  const sequenceNumbers = decodeSequenceNumbers(value['sequenceNumberForAllocation'] ?? {});
  if (!sequenceNumbers) return err('has sequence numbers of no known form');
  const legacy = value['hostAffinity'];
  const affinity = value['affinity'] ?? (typeof legacy === 'string' ? `host:${legacy}` : undefined);
  const claimed = value['affinity_claim_time'];
  const others = Object.fromEntries(Object.entries(value).filter(([key]) => !known.has(key)));
  const block = {
    cidr,
    affinity: typeof affinity === 'string' && affinity !== '' ? (affinity as Owner) : undefined,
    affinityClaimTime: typeof claimed === 'string' ? claimed : undefined,
    allocations: allocations as (number | null)[],
    unallocated: unallocated as number[],
    attributes,
    sequenceNumber: integer(value['sequenceNumber']) ?? 0n,
    sequenceNumbers,
    others,
  };
  const fault = faultOf(block);
  return fault === undefined ? ok(block) : err(fault);
}

const integer = (value: Json | undefined): bigint | undefined =>
  typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value)) ? BigInt(value) : undefined;

function decodeSequenceNumbers(value: Json): Map<number, bigint> | undefined {
  if (!isObject(value)) return undefined;
  const numbers = new Map<number, bigint>();
  for (const [key, item] of Object.entries(value)) {
    const number = integer(item);
    if (number === undefined || !/^\d{1,4}$/.test(key)) return undefined;
    numbers.set(Number(key), number);
  }
  return numbers;
}

function decodeAttributes(value: Json): Attribute[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const out: Attribute[] = [];
  for (const item of value as readonly Json[]) {
    if (!isObject(item)) return undefined;
    const { handle_id: handle, secondary, releasedAt, ...others } = item;
    const map = secondary ?? {};
    if (handle !== undefined && handle !== null && typeof handle !== 'string') return undefined;
    if (!isObject(map) || !Object.values(map).every((text) => typeof text === 'string')) return undefined;
    out.push({
      // what stands after a carriage return came into old stores by mistake
      handle: handle?.split('\r')[0],
      secondary: map as Readonly<Record<string, string>>,
      releasedAt: typeof releasedAt === 'string' ? releasedAt : undefined,
      others,
    });
  }
  return out;
}

/** Whether every address is exactly one of free and given, and every index is right. */
export function faultOf(block: Pick<Block, 'allocations' | 'unallocated' | 'attributes'>): string | undefined {
  const { allocations, unallocated, attributes } = block;
  const free = new Set<number>();
  for (const ordinal of unallocated) {
    if (!Number.isInteger(ordinal) || ordinal < 0 || ordinal >= allocations.length)
      return `ordinal ${goJson(ordinal)} is unallocated and outside the block`;
    if (free.has(ordinal)) return `ordinal ${ordinal} is unallocated twice`;
    free.add(ordinal);
  }
  for (const [ordinal, index] of allocations.entries()) {
    if (index === null) {
      if (!free.has(ordinal)) return `ordinal ${ordinal} is neither allocated nor unallocated`;
    } else if (!Number.isInteger(index) || index < 0 || index >= attributes.length) {
      return `ordinal ${ordinal} refers to attribute ${goJson(index)}, which is not there`;
    } else if (free.has(ordinal)) return `ordinal ${ordinal} is both allocated and unallocated`;
  }
  return undefined;
}

/** As Go's encoding/json writes the block. */
export function encodeBlock(block: Block): string {
  const numbers: Record<string, bigint> = {};
  for (const [ordinal, number] of block.sequenceNumbers) numbers[ordinal] = number;
  const parts = [
    `"cidr":"${block.cidr}"`,
    `"affinity":${block.affinity === undefined ? 'null' : goString(block.affinity)}`,
  ];
  if (block.affinityClaimTime !== undefined) parts.push(`"affinity_claim_time":${goString(block.affinityClaimTime)}`);
  parts.push(
    `"allocations":[${block.allocations.map((index) => index ?? 'null').join(',')}]`,
    `"unallocated":[${block.unallocated.join(',')}]`,
    `"attributes":[${block.attributes.map(encodeAttribute).join(',')}]`,
    `"sequenceNumber":${block.sequenceNumber}`,
    `"sequenceNumberForAllocation":${sortedMap(numbers)}`,
    '"deleted":false',
  );
  for (const [key, value] of Object.entries(block.others)) parts.push(`${goString(key)}:${goJson(value)}`);
  return `{${parts.join(',')}}`;
}

function encodeAttribute({ handle, secondary, releasedAt, others }: Attribute): string {
  const parts: string[] = [];
  if (handle !== undefined) parts.push(`"handle_id":${goString(handle)}`);
  if (Object.keys(secondary).length > 0) parts.push(`"secondary":${sortedMap(secondary)}`);
  for (const [key, value] of Object.entries(others)) parts.push(`${goString(key)}:${goJson(value)}`);
  if (releasedAt !== undefined) parts.push(`"releasedAt":${goString(releasedAt)}`);
  return `{${parts.join(',')}}`;
}
