/**
 * What can be done with a block, as functions from block to block. An address goes from free to given to (with a
 * cool-down) cooling and back to the end of the queue of free ones.
 */
import { goTime } from '../../model/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { prefixSize } from '../../net/mod.ts';
import { addressOf } from './block.ts';
import type { Attribute, Block } from './block.ts';
import type { Owner } from './keys.ts';

/** Calico sets aside some addresses of each block on Windows under this handle; they do not count as given. */
const WINDOWS = 'windows-reserved-ipam-handle';

export type IsReserved = (address: IpAddress) => boolean;

/** A block that was never used. `now` is milliseconds since 1970. */
export function newBlock(cidr: Prefix, affinity: Owner, now: number): Block {
  const size = Number(prefixSize(cidr));
  return {
    cidr,
    affinity,
    affinityClaimTime: goTime(now),
    allocations: Array.from({ length: size }, () => null),
    unallocated: Array.from({ length: size }, (_, ordinal) => ordinal),
    attributes: [],
    sequenceNumber: BigInt(Math.floor(now)) * 1_000_000n,
    sequenceNumbers: new Map(),
    others: {},
  };
}

/** Ordinals that could be given now. */
export const freeOrdinals = (block: Block, reserved: IsReserved | undefined): readonly number[] =>
  reserved === undefined ? block.unallocated : block.unallocated.filter((n) => !reserved(addressOf(block, n)));

/** Gives one free ordinal to an owner. */
export function give(
  block: Block,
  ordinal: number,
  handle: string,
  secondary: Readonly<Record<string, string>>,
): Block {
  if (block.allocations[ordinal] !== null) throw new Error(`${addressOf(block, ordinal)} is not free`);
  const wanted: Attribute = { handle, secondary, releasedAt: undefined, others: {} };
  let index = block.attributes.findIndex((attribute) => sameAttribute(attribute, wanted));
  const attributes = index >= 0 ? block.attributes : [...block.attributes, wanted];
  if (index < 0) index = attributes.length - 1;
  return {
    ...block,
    attributes,
    allocations: block.allocations.with(ordinal, index),
    unallocated: block.unallocated.filter((n) => n !== ordinal),
    sequenceNumbers: new Map(block.sequenceNumbers).set(ordinal, block.sequenceNumber),
  };
}

function sameAttribute(a: Attribute, b: Attribute): boolean {
  if (a.handle !== b.handle || a.releasedAt !== b.releasedAt || Object.keys(a.others).length > 0) return false;
  const keys = Object.keys(a.secondary);
  return keys.length === Object.keys(b.secondary).length && keys.every((key) => a.secondary[key] === b.secondary[key]);
}

/** The ordinals a handle holds, cooling ones not among them. */
export function ordinalsOf(block: Block, handle: string): number[] {
  const out: number[] = [];
  for (const [ordinal, index] of block.allocations.entries()) {
    if (index !== null && block.attributes[index]!.handle === handle) out.push(ordinal);
  }
  return out;
}

export const attributeOf = (block: Block, ordinal: number): Attribute | undefined => {
  const index = block.allocations[ordinal];
  return index === null || index === undefined ? undefined : block.attributes[index];
};

/** Takes addresses back. With a cool-down they are held until `collectCooled` finds it over. */
export function takeBack(block: Block, ordinals: readonly number[], cooldownSeconds: number, now: number): Block {
  const given = ordinals.filter((ordinal) => attributeOf(block, ordinal)?.releasedAt === undefined);
  if (given.length === 0) return block;
  if (cooldownSeconds <= 0) return compact(setFree(block, given));
  const released: Attribute = { handle: undefined, secondary: {}, releasedAt: goTime(now), others: {} };
  const allocations = [...block.allocations];
  const sequenceNumbers = new Map(block.sequenceNumbers);
  for (const ordinal of given) {
    allocations[ordinal] = block.attributes.length;
    sequenceNumbers.set(ordinal, block.sequenceNumber);
  }
  return compact({ ...block, allocations, sequenceNumbers, attributes: [...block.attributes, released] });
}

/** Frees what has cooled down; the same block when there is nothing. */
export function collectCooled(block: Block, cooldownSeconds: number, now: number): Block {
  const due = block.attributes.map(({ releasedAt }) => {
    const since = releasedAt === undefined ? Number.NaN : Date.parse(releasedAt);
    return releasedAt !== undefined && !(now - since < cooldownSeconds * 1000);
  });
  if (!due.includes(true)) return block;
  const ordinals: number[] = [];
  for (const [ordinal, index] of block.allocations.entries()) if (index !== null && due[index]) ordinals.push(ordinal);
  return compact(setFree(block, ordinals));
}

function setFree(block: Block, ordinals: readonly number[]): Block {
  const allocations = [...block.allocations];
  const sequenceNumbers = new Map(block.sequenceNumbers);
  for (const ordinal of ordinals) {
    allocations[ordinal] = null;
    sequenceNumbers.delete(ordinal);
  }
  return { ...block, allocations, sequenceNumbers, unallocated: [...block.unallocated, ...ordinals] };
}

/** Drops attributes nothing refers to any more. */
function compact(block: Block): Block {
  const used = new Set(block.allocations);
  const indexes = new Map<number, number>();
  const attributes: Attribute[] = [];
  for (const [index, attribute] of block.attributes.entries()) {
    if (!used.has(index)) continue;
    indexes.set(index, attributes.length);
    attributes.push(attribute);
  }
  const allocations = block.allocations.map((index) => (index === null ? null : indexes.get(index)!));
  return { ...block, allocations, attributes };
}

/** Whether no address is given or cooling. */
export const isEmpty = (block: Block): boolean =>
  block.allocations.every((index) => index === null || block.attributes[index]!.handle?.toLowerCase() === WINDOWS);

/** The block as a writer leaves it behind: one write later. */
export const written = (block: Block): Block => ({ ...block, sequenceNumber: block.sequenceNumber + 1n });
