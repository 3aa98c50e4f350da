/**
 * Frees addresses that were given and are used by nobody, without locking anything. An address goes only if
 *  1. it was suspected before, and that is long enough ago (the grace) for whoever was given it to have said so,
 *  2. it is suspected still, in a picture read now, and it is the same giving (handle and sequence number),
 *  3. and at the moment of the transaction it is still that giving, and its pod's endpoint still does not exist.
 * So a pod that starts at any moment keeps its address: before the first picture it is seen, between the two it clears the
 * suspicion or changes the sequence number, and after the second the transaction's conditions fail.
 */
import type { Datastore } from '../../datastore/mod.ts';
import { ResourceClient } from '../../model/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { audit, endpointKeyOf } from './audit.ts';
import type { Allocation, Audit, IpamPicture, Orphan } from './audit.ts';
import { releaseAffinity } from './affinities.ts';
import { BLOCKS, handleKey, HANDLES } from './keys.ts';
import type { BlockIpam } from './engine.ts';
import { settingsFrom } from './settings.ts';

/** Calico's own collector waits this long. */
export const DEFAULT_GRACE_MS = 15 * 60_000;

/** Reads the whole picture, what is given before what is in use. */
export async function readPicture(
  store: Datastore,
  now: number,
  claimed?: () => Promise<ReadonlyMap<IpAddress, string>>,
): Promise<IpamPicture> {
  const { kvs: blocks } = await store.list(BLOCKS);
  const { kvs: affinities } = await store.list('/calico/ipam/v2/host/');
  const { kvs: handles } = await store.list(HANDLES);
  const client = new ResourceClient(store);
  const [pools, nodes, endpoints] = await Promise.all([
    client.list('IPPool'),
    client.list('Node'),
    client.list('WorkloadEndpoint'),
  ]);
  const broken = [...nodes.broken, ...endpoints.broken];
  // an endpoint that cannot be read might use anything: then nothing is known to be a leak
  if (broken.length > 0) throw new BrokenUsersError(broken.map(({ key }) => key));
  return {
    time: now,
    blocks,
    affinities,
    handles,
    pools: pools.items,
    nodes: nodes.items,
    endpoints: endpoints.items,
    ...(claimed && { claimed: await claimed() }),
  };
}

/** Nodes or endpoints that cannot be read: what they use is not known. */
export class BrokenUsersError extends Error {
  readonly keys: readonly string[];
  constructor(keys: readonly string[]) {
    super(
      `cannot tell what is in use: these objects are broken: ${keys.slice(0, 5).join(', ')}${keys.length > 5 ? ' …' : ''}`,
    );
    this.keys = keys;
  }
}

/** A suspicion: one giving of one address, and since when it looked unused. */
export interface Suspicion {
  readonly address: IpAddress;
  readonly handle: string | undefined;
  readonly sequenceNumber: bigint;
  /** Milliseconds since 1970. */
  readonly since: number;
}

const sameGiving = (a: Allocation, b: Suspicion): boolean =>
  a.address === b.address && a.handle === b.handle && a.sequenceNumber === b.sequenceNumber;

export interface Verdict {
  readonly allocation: Allocation;
  readonly verdict: 'free' | 'too-young' | 'in-use' | 'changed';
}

/** What to make of suspicions in the light of a new picture; pure. */
export function judge(suspicions: readonly Suspicion[], now: Audit, graceMs: number): readonly Verdict[] {
  const out: Verdict[] = [];
  for (const suspicion of suspicions) {
    const allocation = now.allocations.find((a) => a.address === suspicion.address);
    if (!allocation) continue;
    if (!sameGiving(allocation, suspicion)) out.push({ allocation, verdict: 'changed' });
    else if (allocation.coolingDown) continue;
    else if (allocation.owners.length > 0) out.push({ allocation, verdict: 'in-use' });
    else out.push({ allocation, verdict: now.time - suspicion.since >= graceMs ? 'free' : 'too-young' });
  }
  // a handle's addresses go together or not at all: a pod that has one of its addresses has the others too
  const kept = new Set(now.allocations.filter((a) => a.owners.length > 0).map((a) => a.handle));
  return out.map((v) => (v.verdict === 'free' && kept.has(v.allocation.handle) ? { ...v, verdict: 'in-use' } : v));
}

/** Frees what was judged free; tells what really went. */
export async function free(
  ipam: BlockIpam,
  verdicts: readonly Verdict[],
  signal?: AbortSignal,
): Promise<readonly Allocation[]> {
  const freed: Allocation[] = [];
  for (const { allocation, verdict } of verdicts) {
    if (verdict !== 'free') continue;
    const endpoint = endpointKeyOf(allocation);
    const result = await ipam.takeBack({ ...allocation, absent: endpoint === undefined ? [] : [endpoint] }, signal);
    if (!result.ok) throw result.error;
    if (result.value) freed.push(allocation);
  }
  return freed;
}

/** Deletes records of handles that have no address, if they are still as they were seen. */
export async function freeHandles(store: Datastore, handles: Audit['leakedHandles']): Promise<number> {
  let count = 0;
  for (const { handle, revision } of handles) {
    const key = handleKey(handle);
    const { succeeded } = await store.transaction({
      if: [{ key, modRevision: revision }],
      do: [{ op: 'delete', key }],
    });
    if (succeeded) count++;
  }
  return count;
}

/** Gives up the blocks of nodes that are gone, as far as they are empty; tells how many. */
export async function freeOrphans(
  store: Datastore,
  orphans: readonly Orphan[],
  cooldownSeconds: number,
  now: number,
): Promise<number> {
  let count = 0;
  for (const { owner, cidr } of orphans) {
    const outcome = await releaseAffinity(store, owner, cidr, { requireEmpty: true, cooldownSeconds, now });
    if (outcome === 'released') count++;
  }
  return count;
}

/** The collector of a long-lived program: call `pass` every few minutes. */
export class LeakCollector {
  private suspicions: readonly Suspicion[] = [];
  /** Blocks of nodes that are gone, and since when. */
  private orphans = new Map<string, number>();
  private readonly store: Datastore;
  private readonly ipam: BlockIpam;
  private readonly graceMs: number;

  constructor(store: Datastore, ipam: BlockIpam, graceMs = DEFAULT_GRACE_MS) {
    this.store = store;
    this.ipam = ipam;
    this.graceMs = graceMs;
  }

  /** Looks once; frees what has been unused for the whole grace. `claimed`: what live nodes say they use. */
  async pass(
    now: number,
    claimed?: () => Promise<ReadonlyMap<IpAddress, string>>,
    signal?: AbortSignal,
  ): Promise<readonly Allocation[]> {
    const found = audit(await readPicture(this.store, now, claimed));
    const verdicts = judge(this.suspicions, found, this.graceMs);
    const before = this.suspicions;
    this.suspicions = found.leaked.map((allocation) => {
      const { address, handle, sequenceNumber } = allocation;
      return before.find((s) => sameGiving(allocation, s)) ?? { address, handle, sequenceNumber, since: now };
    });
    const freed = await free(this.ipam, verdicts, signal);
    await this.orphanPass(found, now);
    return freed;
  }

  /** A node that comes back within the grace finds its blocks. */
  private async orphanPass(found: Audit, now: number): Promise<void> {
    const key = ({ owner, cidr }: Orphan) => `${owner} ${cidr}`;
    this.orphans = new Map(found.orphans.map((orphan) => [key(orphan), this.orphans.get(key(orphan)) ?? now]));
    const due = found.orphans.filter((orphan) => now - this.orphans.get(key(orphan))! >= this.graceMs);
    if (due.length === 0) return;
    const { ipCooldownSeconds } = (await settingsFrom(this.store).current()).config;
    await freeOrphans(this.store, due, ipCooldownSeconds, now);
  }
}
