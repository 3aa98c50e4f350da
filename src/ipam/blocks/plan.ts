/**
 * From requests to changes of a draft; pure. Each function answers what became of the request: it is `done` if the
 * draft's transaction goes through, it `failed` whatever the datastore says, it needs `reading`, or it needs `room`: a
 * block that has to be searched for.
 */
import { err, GodwitError, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { familyOf, prefixCovers, prefixOf } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { addressOf, ordinalOf } from './block.ts';
import type { Block } from './block.ts';
import type { Cache } from './cache.ts';
import type { Draft } from './draft.ts';
import { attributeOf, freeOrdinals, give, newBlock, ordinalsOf, takeBack } from './operations.ts';
import type { HandleCounts } from './records.ts';
import type { AssignRequest, Assignment, Given, IpamError, Want } from './requests.ts';
import { eligiblePools, poolOf, reservedIn } from './settings.ts';
import type { Pool } from './settings.ts';

export type Planned<T> =
  | { readonly type: 'done'; readonly value: T }
  | { readonly type: 'failed'; readonly error: IpamError }
  | { readonly type: 'reading' }
  | { readonly type: 'room'; readonly family: Family; readonly pools: readonly Pool[] };

/** A block the node does not own and may take addresses from in this transaction. */
export interface Claim {
  readonly cidr: Prefix;
  readonly pool: Pool;
  /** Take it over as our own, or give only the address. */
  readonly own: boolean;
  /** The affinity of the node it is taken from, empty and old as it is. */
  readonly from?: { readonly key: string; readonly revision: number };
}

export interface Context {
  readonly draft: Draft;
  readonly cache: Cache;
  readonly node: string;
  readonly claims: readonly Claim[];
}

const failed = (kind: string, message: string, hint = ''): { type: 'failed'; error: IpamError } => ({
  type: 'failed',
  error: new GodwitError(kind, message, { hint }),
});

export function planAssign(context: Context, request: AssignRequest): Planned<readonly Assignment[]> {
  const { draft } = context;
  const mark = draft.mark();
  const planned = assignAll(context, request);
  if (planned.type !== 'done') draft.restore(mark);
  return planned;
}

function assignAll(context: Context, request: AssignRequest): Planned<readonly Assignment[]> {
  const { draft } = context;
  const counts = draft.handle(request.handle, true);
  if (counts === 'unknown') return { type: 'reading' };
  const held = heldBy(draft, request.handle, counts);
  if (!held) return { type: 'reading' };
  const free = [...held.assignments];
  const out: Assignment[] = [];
  const after = new Map(held.counts);
  for (const want of request.want) {
    const index = free.findIndex((assignment) => fits(assignment, want, draft));
    if (index >= 0) {
      out.push(...free.splice(index, 1));
      continue;
    }
    const planned =
      'address' in want ? assignExactly(context, request, want.address) : assignAny(context, request, want);
    if (planned.type !== 'done') return planned;
    const { block } = planned.value;
    after.set(block, (after.get(block) ?? 0) + 1);
    out.push(planned.value);
  }
  // also when nothing was given: a Calico that was interrupted between handle and block counted an address too many
  if (!sameCounts(after, counts)) draft.setHandle(request.handle, after);
  return { type: 'done', value: out };
}

/** What the handle really has, according to the blocks; undefined when some must be read first. */
function heldBy(draft: Draft, handle: string, counts: HandleCounts) {
  const assignments: Assignment[] = [];
  const real = new Map<Prefix, number>();
  let complete = true;
  for (const cidr of counts.keys()) {
    const block = draft.block(cidr);
    if (block === 'unknown') complete = false;
    if (typeof block === 'string') continue;
    const ordinals = ordinalsOf(block, handle);
    if (ordinals.length > 0) real.set(cidr, ordinals.length);
    for (const ordinal of ordinals) assignments.push(assignment(draft, block, ordinal));
  }
  return complete ? { assignments, counts: real } : undefined;
}

function assignment(draft: Draft, block: Block, ordinal: number): Assignment {
  const address = addressOf(block, ordinal);
  return { address, block: block.cidr, pool: poolOf(draft.settings, address)?.name ?? '' };
}

function fits(given: Assignment, want: Want, draft: Draft): boolean {
  if ('address' in want) return given.address === want.address;
  if (familyOf(given.address) !== want.family) return false;
  if (want.pools === undefined) return true;
  const pool = poolOf(draft.settings, given.address);
  return pool !== undefined && (want.pools.includes(pool.name) || want.pools.includes(pool.spec.cidr));
}

const sameCounts = (a: HandleCounts, b: HandleCounts): boolean =>
  a.size === b.size && [...a].every(([cidr, count]) => b.get(cidr) === count);

function assignAny(
  context: Context,
  request: AssignRequest,
  want: Extract<Want, { family: Family }>,
): Planned<Assignment> {
  const { draft, cache, node, claims } = context;
  const { use = 'Workload', namespaceLabels } = request;
  const pools = eligiblePools(draft.settings, { ...want, node, use, namespaceLabels });
  if (!pools.ok) return failed('no-pool', pools.error, 'godwit get ippools -o wide shows the pools.');
  for (const cidr of cache.affinities.keys()) {
    const pool = pools.value.find(({ spec }) => prefixCovers(spec.cidr, cidr));
    if (!pool || draft.isDropped(cidr)) continue;
    const block = ownBlock(context, cidr);
    if (block === 'unknown') return { type: 'reading' };
    const given = block && giveFrom(draft, block, pool, request);
    if (given) return { type: 'done', value: given };
  }
  for (const claim of claims) {
    if (!pools.value.includes(claim.pool)) continue;
    const block = claimed(draft, claim);
    const given = block && giveFrom(draft, block, claim.pool, request);
    if (given) return { type: 'done', value: given };
  }
  return { type: 'room', family: want.family, pools: pools.value };
}

/** An own block as it may be given from; half-done claims are completed, claims that failed are dropped. */
function ownBlock(context: Context, cidr: Prefix): Block | 'unknown' | undefined {
  const { draft, cache } = context;
  const block = draft.block(cidr);
  if (block === 'unknown' || block === 'broken') return block === 'unknown' ? block : undefined;
  const confirmed = cache.affinities.get(cidr)?.state === 'confirmed';
  if (block === 'absent') {
    draft.confirmAffinity(cidr);
    return newBlock(cidr, draft.owner, draft.now);
  }
  if (block.affinity !== draft.owner) {
    draft.dropAffinity(cidr);
    return undefined;
  }
  if (!confirmed) {
    draft.confirmAffinity(cidr);
    // written in any case: whoever works on the block with the affinity half gone has to look again
    draft.setBlock(cidr, block);
  }
  return block;
}

/** A claimed block joins the draft when the first address is given from it. */
function claimed(draft: Draft, claim: Claim): Block | undefined {
  const block = draft.block(claim.cidr);
  if (!claim.own) return typeof block === 'string' ? undefined : block;
  if (block === 'absent' || (typeof block !== 'string' && claim.from && block.affinity !== draft.owner)) {
    if (claim.from) draft.takeFrom(claim.from.key, claim.from.revision);
    draft.confirmAffinity(claim.cidr);
    const fresh = newBlock(claim.cidr, draft.owner, draft.now);
    const before = typeof block === 'string' ? 0n : block.sequenceNumber;
    return before < fresh.sequenceNumber ? fresh : { ...fresh, sequenceNumber: before + 1n };
  }
  return typeof block === 'string' || block.affinity !== draft.owner ? undefined : block;
}

function giveFrom(draft: Draft, block: Block, pool: Pool, request: AssignRequest): Assignment | undefined {
  const [ordinal] = freeOrdinals(block, reservedIn(draft.settings, block.cidr));
  if (ordinal === undefined) return undefined;
  draft.setBlock(block.cidr, give(block, ordinal, request.handle, request.attributes));
  draft.usePool(pool);
  return { address: addressOf(block, ordinal), block: block.cidr, pool: pool.name };
}

function assignExactly(context: Context, request: AssignRequest, address: IpAddress): Planned<Assignment> {
  const { draft, cache } = context;
  const pool = poolOf(draft.settings, address);
  if (!pool) return failed('not-in-pool', `${address} is in no enabled pool`);
  const { use = 'Workload' } = request;
  if (!pool.spec.allowedUses.includes(use))
    return failed('no-pool', `${address} is in pool ${pool.name}, which is not for ${use}`);
  const cidr = prefixOf(address, pool.spec.blockSize);
  const found = cache.affinities.has(cidr) && !draft.isDropped(cidr) ? ownBlock(context, cidr) : draft.block(cidr);
  if (found === 'unknown') return { type: 'reading' };
  if (found === 'broken')
    return failed('invalid', `the block ${cidr} of ${address} is broken`, 'godwit ipam check says how.');
  let block = found;
  if (block === undefined || block === 'absent') {
    draft.confirmAffinity(cidr);
    block = newBlock(cidr, draft.owner, draft.now);
  }
  if (draft.settings.config.strictAffinity && block.affinity !== draft.owner)
    return failed(
      'in-use',
      `${address} is in block ${cidr} of ${block.affinity ?? 'no node'}, and strictAffinity forbids borrowing`,
    );
  const ordinal = ordinalOf(block, address)!;
  const holder = attributeOf(block, ordinal);
  if (holder) return failed('in-use', `${address} is ${describeHolder(holder)}`);
  draft.setBlock(cidr, give(block, ordinal, request.handle, request.attributes));
  draft.usePool(pool);
  return { type: 'done', value: { address, block: cidr, pool: pool.name } };
}

function describeHolder(holder: NonNullable<ReturnType<typeof attributeOf>>): string {
  if (holder.releasedAt !== undefined) return `cooling down since ${holder.releasedAt}`;
  const { pod, namespace } = holder.secondary;
  return `in use by ${pod === undefined ? (holder.handle ?? 'an unknown owner') : `pod ${namespace ?? ''}/${pod}`}`;
}

/** Takes back all addresses of a handle. Of an unknown handle: nothing, and no error. */
export function planRelease({ draft, cache }: Context, handle: string): Planned<readonly IpAddress[]> {
  const counts = draft.handle(handle, false);
  if (counts === 'unknown') return { type: 'reading' };
  const cidrs = new Set(counts.keys());
  // a block may name a handle that has no record any more; our own are at hand
  for (const [cidr, { block }] of cache.blocks) if (block && ordinalsOf(block, handle).length > 0) cidrs.add(cidr);
  const out: IpAddress[] = [];
  let complete = true;
  for (const cidr of cidrs) {
    const block = draft.block(cidr);
    if (block === 'unknown') complete = false;
    if (typeof block === 'string') continue;
    const ordinals = ordinalsOf(block, handle);
    if (ordinals.length === 0) continue;
    out.push(...ordinals.map((ordinal) => addressOf(block, ordinal)));
    draft.setReleased(cidr, takeBack(block, ordinals, draft.cooldownSeconds, draft.now));
  }
  if (!complete) return { type: 'reading' };
  if (counts.size > 0) draft.setHandle(handle, new Map());
  return { type: 'done', value: out };
}

/** Takes back exactly this giving of an address; false when it is not given so any more. */
export function planTakeBack({ draft }: Context, given: Given): Planned<boolean> {
  const block = draft.block(given.block);
  const counts = given.handle === undefined ? undefined : draft.handle(given.handle, false);
  if (block === 'unknown' || counts === 'unknown') return { type: 'reading' };
  const appeared = given.absent?.some((key) => draft.isPresent(key)) ?? false;
  if (typeof block === 'string' || !isStillGiven(block, given) || appeared) return { type: 'done', value: false };
  for (const key of given.absent ?? []) draft.requireAbsent(key);
  draft.setReleased(given.block, takeBack(block, [given.ordinal], draft.cooldownSeconds, draft.now));
  if (given.handle !== undefined && counts && counts.has(given.block)) {
    const after = new Map(counts);
    const left = ordinalsOf(block, given.handle).length - 1;
    if (left > 0) after.set(given.block, left);
    else after.delete(given.block);
    draft.setHandle(given.handle, after);
  }
  return { type: 'done', value: true };
}

export function isStillGiven(block: Block, { ordinal, handle, sequenceNumber }: Given): boolean {
  const holder = attributeOf(block, ordinal);
  if (!holder || holder.releasedAt !== undefined || holder.handle !== handle) return false;
  return (block.sequenceNumbers.get(ordinal) ?? 0n) === sequenceNumber;
}

export const toResult = <T>(planned: Planned<T>): Result<T, IpamError> | undefined =>
  planned.type === 'done' ? ok(planned.value) : planned.type === 'failed' ? err(planned.error) : undefined;
