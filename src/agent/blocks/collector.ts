/**
 * The collector of leaked addresses: one node at a time looks for addresses that were given and that nobody uses. What
 * live agents say they use is in use, whatever the resources say; what is on a node whose agent says nothing is in use too,
 * because pods live on without an agent.
 */
import { messageOf, sleep } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import { DatastoreError } from '../../datastore/mod.ts';
import type { Datastore, LeaseId } from '../../datastore/mod.ts';
import { addressOf, BLOCKS, BrokenUsersError, decodeBlock, LeakCollector } from '../../ipam/blocks/mod.ts';
import type { BlockIpam } from '../../ipam/blocks/mod.ts';
import { ResourceClient } from '../../model/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { parsePublished, STATUS_PREFIX } from '../../status/mod.ts';
import { inTurn } from '../leased.ts';

const COLLECTOR_KEY = '/godwit/v1/ipam/collector';
const PAUSE_MS = 5 * 60_000;

export interface CollectorOptions {
  readonly store: Datastore;
  readonly ipam: BlockIpam;
  readonly lease: LeaseId;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Until aborted; throws what the datastore throws, except when it is out of reach in the middle of a look. */
export function collectLeaks({ store, ipam, lease, clock, log }: CollectorOptions, signal: AbortSignal): Promise<void> {
  return inTurn({ store, key: COLLECTOR_KEY, node: ipam.node, lease, clock }, signal, async () => {
    const collector = new LeakCollector(store, ipam);
    log.info({}, 'this node looks for leaked addresses');
    while (!signal.aborted) {
      await sleep(PAUSE_MS, signal, clock);
      if (signal.aborted) return;
      try {
        const freed = await collector.pass(clock.wallNow(), () => claimedAddresses(store), signal);
        for (const { address, handle } of freed) log.warn({ address, handle }, 'a leaked address is free again');
      } catch (error) {
        if (!(error instanceof DatastoreError) && !(error instanceof BrokenUsersError)) throw error;
        log.warn({ error: messageOf(error) }, 'cannot look for leaked addresses; trying again');
      }
    }
  });
}

/** Address → who says so. */
export async function claimedAddresses(store: Datastore): Promise<ReadonlyMap<IpAddress, string>> {
  const { kvs } = await store.list(STATUS_PREFIX);
  const claimed = new Map<IpAddress, string>();
  const heard = new Set<string>();
  for (const { key, value } of kvs) {
    const node = key.slice(STATUS_PREFIX.length);
    const status = parsePublished(value);
    if (!status) continue;
    heard.add(node);
    for (const address of status.inUse) claimed.set(address, `Agent(${node})`);
  }
  const { items } = await new ResourceClient(store).list('Node');
  const silent = new Set(items.map(({ name }) => name).filter((name) => !heard.has(name)));
  if (silent.size === 0) return claimed;
  for (const { value } of (await store.list(BLOCKS)).kvs) {
    const block = decodeBlock(value);
    if (!block.ok) continue;
    for (const [ordinal, index] of block.value.allocations.entries()) {
      const node = index === null ? undefined : block.value.attributes[index]?.secondary['node'];
      if (node === undefined || !silent.has(node)) continue;
      const address = addressOf(block.value, ordinal);
      if (!claimed.has(address)) claimed.set(address, `Node(${node}), whose agent is silent`);
    }
  }
  return claimed;
}
