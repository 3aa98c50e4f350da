/** What other programs of Calico's would have written into the datastore. */
import type { Datastore } from '../../src/datastore/mod.ts';
import {
  addressOf,
  affinityKey,
  blockKey,
  decodeBlock,
  encodeAffinity,
  encodeBlock,
  hostOwner,
  newBlock,
} from '../../src/ipam/blocks/mod.ts';
import { parseGiven, ResourceClient } from '../../src/model/mod.ts';
import { prefix } from '../../src/net/mod.ts';

/** A resource as a person gives it, by way of the program's own checks. */
export async function putResource(store: Datastore, resource: Record<string, unknown>): Promise<void> {
  const parsed = parseGiven({ apiVersion: 'projectcalico.org/v3', ...resource });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const written = await new ResourceClient(store).apply(parsed.value);
  if (!written.ok) throw new Error(written.error.message);
}

export const poolOf = (cidr: string, spec: Record<string, unknown> = {}) => ({
  kind: 'IPPool',
  metadata: { name: `pool-${cidr.replaceAll(/[.:/]/g, '-')}` },
  spec: { cidr, ...spec },
});

/** A node claims a block, all at once. */
export async function claim(store: Datastore, node: string, cidr: string): Promise<void> {
  const owner = hostOwner(node);
  const block = newBlock(prefix(cidr), owner, Date.now());
  await store.transaction({
    if: [],
    do: [
      { op: 'put', key: blockKey(block.cidr), value: encodeBlock(block) },
      { op: 'put', key: affinityKey(owner, block.cidr), value: encodeAffinity('confirmed') },
    ],
  });
}

/** The claim and the block are gone. */
export async function giveUp(store: Datastore, node: string, cidr: string): Promise<void> {
  const keys = [affinityKey(hostOwner(node), prefix(cidr)), blockKey(prefix(cidr))];
  await store.transaction({ if: [], do: keys.map((key) => ({ op: 'delete', key })) });
}

/** All addresses the blocks record, with their handles; every block must be whole. */
export async function recorded(store: Datastore): Promise<Map<string, string>> {
  const { kvs } = await store.list('/calico/ipam/v2/assignment/');
  const out = new Map<string, string>();
  for (const kv of kvs) {
    const decoded = decodeBlock(kv.value);
    if (!decoded.ok) throw new Error(`${kv.key} ${decoded.error}`);
    const block = decoded.value;
    for (const [ordinal, index] of block.allocations.entries()) {
      if (index !== null) out.set(addressOf(block, ordinal), block.attributes[index]!.handle ?? '');
    }
  }
  return out;
}
