/**
 * Compares what IPAM has given with what is in use; pure. The picture is read without a lock, blocks first and users
 * after them: an address that is given and in use is never reported, one that is given while we look may be, as a
 * suspicion. A suspicion is not enough to free anything: see `collect.ts`.
 */
import type { KeyValue } from '../../datastore/mod.ts';
import { resourceKey, workloadEndpointName } from '../../model/mod.ts';
import type { Resource } from '../../model/mod.ts';
import { prefixContains } from '../../net/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { addressOf } from './block.ts';
import type { Block } from './block.ts';
import { seeBlock } from './cache.ts';
import { hostOwner, parseAffinityKey, parseBlockKey, parseHandleKey } from './keys.ts';
import type { Owner } from './keys.ts';
import { decodeAffinity, decodeHandle } from './records.ts';

export interface IpamPicture {
  /** Milliseconds since 1970 at the time of reading. */
  readonly time: number;
  readonly blocks: readonly KeyValue[];
  readonly affinities: readonly KeyValue[];
  readonly handles: readonly KeyValue[];
  readonly pools: readonly Resource<'IPPool'>[];
  readonly nodes: readonly Resource<'Node'>[];
  readonly endpoints: readonly Resource<'WorkloadEndpoint'>[];
  /** Addresses that live nodes say they use, whatever the resources say. */
  readonly claimed?: ReadonlyMap<IpAddress, string>;
}

export interface Allocation {
  readonly address: IpAddress;
  readonly block: Prefix;
  readonly ordinal: number;
  readonly handle: string | undefined;
  readonly sequenceNumber: bigint;
  readonly node: string | undefined;
  readonly pod: string | undefined;
  readonly namespace: string | undefined;
  readonly type: string | undefined;
  readonly timestamp: string | undefined;
  readonly borrowed: boolean;
  readonly coolingDown: boolean;
  /** Who uses it; nobody for a suspected leak. */
  readonly owners: readonly string[];
}

export interface Audit {
  readonly time: number;
  readonly allocations: readonly Allocation[];
  /** Given, not cooling down, used by nobody we know. */
  readonly leaked: readonly Allocation[];
  /** In use and in a pool, but not given to anyone: could be given twice. */
  readonly unrecorded: readonly { readonly address: IpAddress; readonly owners: readonly string[] }[];
  /** In use and in no enabled pool. */
  readonly foreign: readonly { readonly address: IpAddress; readonly owners: readonly string[] }[];
  readonly shared: readonly { readonly address: IpAddress; readonly owners: readonly string[] }[];
  /** Handles none of whose addresses exist. */
  readonly leakedHandles: readonly { readonly handle: string; readonly revision: number }[];
  /** Handles that blocks speak of and that have no record. */
  readonly missingHandles: readonly string[];
  readonly brokenBlocks: readonly { readonly key: string; readonly fault: string }[];
  /** Affinities that are half done, or whose block says otherwise. */
  readonly affinityFaults: readonly { readonly key: string; readonly fault: string }[];
  /** Blocks of nodes that have no Node object. */
  readonly orphans: readonly Orphan[];
  readonly problems: number;
}

export interface Orphan {
  readonly owner: Owner;
  readonly cidr: Prefix;
}

export function audit(picture: IpamPicture): Audit {
  const blocks = new Map<Prefix, Block>();
  const brokenBlocks: { key: string; fault: string }[] = [];
  for (const kv of picture.blocks) {
    const seen = seeBlock(kv);
    const cidr = parseBlockKey(kv.key);
    if (seen.block && cidr === seen.block.cidr) blocks.set(cidr, seen.block);
    else brokenBlocks.push({ key: kv.key, fault: seen.fault ?? 'its key is not its cidr' });
  }
  const users = usersOf(picture);
  const allocations = [...blocks.values()].flatMap((block) => allocationsOf(block, users));
  const leaked = allocations.filter((a) => a.owners.length === 0 && !a.coolingDown);
  const given = new Set(allocations.map((a) => a.address));
  const inUse = [...users].map(([address, owners]) => ({ address, owners }));
  const inPool = (address: IpAddress) =>
    picture.pools.some((pool) => !pool.spec.disabled && prefixContains(pool.spec.cidr, address));
  const unrecorded = inUse.filter(({ address }) => !given.has(address) && inPool(address));
  const foreign = inUse.filter(({ address }) => !given.has(address) && !inPool(address));
  const handles = auditHandles(picture, blocks);
  const affinityFaults = auditAffinities(picture, blocks);
  const orphans = orphansOf(picture);
  const shared = inUse.filter(({ owners }) => owners.length > 1);
  const lists = [
    leaked,
    unrecorded,
    foreign,
    shared,
    handles.leakedHandles,
    handles.missingHandles,
    brokenBlocks,
    affinityFaults,
    orphans,
  ];
  return {
    time: picture.time,
    allocations,
    leaked,
    unrecorded,
    foreign,
    shared,
    ...handles,
    brokenBlocks,
    affinityFaults,
    orphans,
    problems: lists.reduce((sum, list) => sum + list.length, 0),
  };
}

/** Every address somebody uses, and who. */
function usersOf(picture: IpamPicture): Map<IpAddress, string[]> {
  const users = new Map<IpAddress, string[]>();
  const use = (address: IpAddress | undefined, owner: string) => {
    if (address === undefined) return;
    const owners = users.get(address) ?? [];
    if (!owners.includes(owner)) owners.push(owner);
    users.set(address, owners);
  };
  for (const endpoint of picture.endpoints) {
    for (const network of endpoint.spec.ipNetworks)
      use(network.address, `Workload(${endpoint.namespace}/${endpoint.name})`);
  }
  for (const { name, spec } of picture.nodes) {
    const owner = `Node(${name})`;
    use(spec.bgp?.ipv4IPIPTunnelAddr, owner);
    use(spec.ipv4VXLANTunnelAddr, owner);
    use(spec.ipv6VXLANTunnelAddr, owner);
    use(spec.wireguard?.interfaceIPv4Address, owner);
    use(spec.wireguard?.interfaceIPv6Address, owner);
  }
  for (const [address, owner] of picture.claimed ?? []) {
    if (!users.has(address)) use(address, owner);
  }
  return users;
}

function allocationsOf(block: Block, users: ReadonlyMap<IpAddress, readonly string[]>): Allocation[] {
  const host = block.affinity?.startsWith('host:') ? block.affinity.slice('host:'.length) : undefined;
  const out: Allocation[] = [];
  for (const [ordinal, index] of block.allocations.entries()) {
    if (index === null) continue;
    const { handle, secondary, releasedAt } = block.attributes[index]!;
    const address = addressOf(block, ordinal);
    const windows = handle?.toLowerCase() === 'windows-reserved-ipam-handle';
    const { node = host, pod, namespace, type, timestamp } = secondary;
    out.push({
      address,
      block: block.cidr,
      ordinal,
      handle,
      sequenceNumber: block.sequenceNumbers.get(ordinal) ?? 0n,
      node,
      pod,
      namespace,
      type,
      timestamp,
      borrowed: node !== host,
      coolingDown: releasedAt !== undefined,
      owners: windows ? ['Reserved for Windows'] : (users.get(address) ?? []),
    });
  }
  return out;
}

function auditHandles(picture: IpamPicture, blocks: ReadonlyMap<Prefix, Block>) {
  const inBlocks = new Set<string>();
  for (const block of blocks.values()) {
    for (const { handle, releasedAt } of block.attributes)
      if (handle !== undefined && releasedAt === undefined) inBlocks.add(handle);
  }
  const records = new Set<string>();
  const leakedHandles: { handle: string; revision: number }[] = [];
  for (const kv of picture.handles) {
    const handle = parseHandleKey(kv.key);
    if (handle === undefined) continue;
    records.add(handle);
    // a handle with addresses in a block that is broken is not known to have none
    const unreadable = [...decodeHandle(kv.value).keys()].some((cidr) => isPresentAndBroken(cidr, picture, blocks));
    if (!inBlocks.has(handle) && !unreadable) leakedHandles.push({ handle, revision: kv.modRevision });
  }
  return { leakedHandles, missingHandles: [...inBlocks].filter((handle) => !records.has(handle)) };
}

const isPresentAndBroken = (cidr: Prefix, picture: IpamPicture, blocks: ReadonlyMap<Prefix, Block>): boolean =>
  !blocks.has(cidr) && picture.blocks.some((kv) => parseBlockKey(kv.key) === cidr);

function auditAffinities(picture: IpamPicture, blocks: ReadonlyMap<Prefix, Block>) {
  const faults: { key: string; fault: string }[] = [];
  const claimed = new Set<string>();
  for (const kv of picture.affinities) {
    const affinity = parseAffinityKey(kv.key);
    if (!affinity) continue;
    const block = blocks.get(affinity.cidr);
    const state = decodeAffinity(kv.value);
    claimed.add(`${affinity.owner} ${affinity.cidr}`);
    if (state !== 'confirmed')
      faults.push({ key: kv.key, fault: `is ${state ?? 'unreadable'}: a claim that was not completed` });
    else if (!block) faults.push({ key: kv.key, fault: 'has no block' });
    else if (block.affinity !== affinity.owner)
      faults.push({ key: kv.key, fault: `the block belongs to ${block.affinity ?? 'nobody'}` });
  }
  for (const block of blocks.values()) {
    if (block.affinity !== undefined && !claimed.has(`${block.affinity} ${block.cidr}`))
      faults.push({ key: block.cidr, fault: `says it belongs to ${block.affinity}, which has no affinity to it` });
  }
  return faults;
}

function orphansOf(picture: IpamPicture): Orphan[] {
  const nodes = new Set(picture.nodes.map((node) => hostOwner(node.name)));
  return picture.affinities.flatMap((kv) => {
    const affinity = parseAffinityKey(kv.key);
    return affinity?.owner.startsWith('host:') && !nodes.has(affinity.owner) ? [affinity] : [];
  });
}

/** The endpoint that would use the allocation if there were one: its key in the datastore. */
export function endpointKeyOf({ node, pod, namespace }: Allocation): string | undefined {
  if (node === undefined || pod === undefined || namespace === undefined) return undefined;
  const name = workloadEndpointName({
    node,
    pod,
    orchestrator: 'k8s',
    endpoint: 'eth0',
    containerID: undefined,
    workload: undefined,
  });
  return name === undefined ? undefined : resourceKey('WorkloadEndpoint', name, namespace);
}
