/** What a plan is made from, read from the datastore at one go. */
import { GodwitError, printable } from '../base/mod.ts';
import type { Datastore, Revision } from '../datastore/mod.ts';
import { configKey, parseLease, parseNetworkConfig, subnetsPrefix } from '../ipam/mod.ts';
import { nextBlock, Ownership, OWNERSHIP_PREFIX, settingsFrom } from '../ipam/blocks/mod.ts';
import { ResourceClient } from '../model/mod.ts';
import type { Resource } from '../model/mod.ts';
import { prefixOf } from '../net/mod.ts';
import type { MigrationInputs, MigrationLease, MigrationNode, MigrationPool } from './plan.ts';
import { MIGRATION_KEY, MIGRATION_REPORTS, parseDecisions, parseMigrationReport } from './records.ts';
import type { Decisions, MigrationReport, Stage } from './records.ts';

export interface MigrationPicture extends MigrationInputs {
  /** Of the record of stages; 0 when there is none. */
  readonly revision: Revision;
}

export interface ReadOptions {
  readonly to: Stage;
  readonly etcdPrefix: string;
  readonly only?: readonly string[] | undefined;
}

export async function readMigration(
  store: Datastore,
  { to, etcdPrefix, only }: ReadOptions,
): Promise<MigrationPicture> {
  const client = new ResourceClient(store);
  const [config, leases, nodes, pools, ownership, settings, stages, reports] = await Promise.all([
    store.get(configKey(etcdPrefix)),
    store.list(subnetsPrefix(etcdPrefix)),
    client.list('Node'),
    client.list('IPPool'),
    store.list(OWNERSHIP_PREFIX),
    settingsFrom(store).current(),
    readDecisions(store),
    readReports(store),
  ]);
  const network = config.kv && parseNetworkConfig(config.kv.value);
  const { ipv4, ipv6, vxlan, backendType = 'host-gw' } = network?.ok === true ? network.value : {};
  const owned = new Ownership();
  for (const kv of ownership.kvs) owned.apply({ type: 'put', kv });
  return {
    ...{ to, ...stages, reports, ...(only && { only }) },
    ...{ backend: backendType, vxlan },
    networks: [ipv4, ipv6].flatMap((range) => range?.network ?? []),
    leases: leases.kvs.flatMap((kv) => leasesOf(parseLease(etcdPrefix, kv))),
    nodes: nodes.items.map(nodeOf),
    pools: pools.items.map(poolOf),
    blocks: [...owned.owned()].map(([cidr, node]) => ({ cidr, node })),
    nextBlock: (node, family, taken) => nextBlock(settings, node, family, new Set([...taken, ...owned.allBlocks()])),
  };
}

/** Throws GodwitError where it is there and says nothing: what was decided must not be decided anew. */
export async function readDecisions(store: Datastore): Promise<Decisions & { readonly revision: Revision }> {
  const { kv } = await store.get(MIGRATION_KEY);
  if (!kv) return { stages: new Map(), finished: false, revision: 0 };
  const parsed = parseDecisions(kv.value);
  if (parsed.ok) return { ...parsed.value, revision: kv.modRevision };
  throw new GodwitError('broken', `${MIGRATION_KEY} cannot be read: ${printable(parsed.error)}`, {
    hint: 'Nodes keep the stages they have. Repair the key, or delete it: then each node follows its configuration.',
  });
}

export async function readReports(store: Datastore): Promise<Map<string, MigrationReport>> {
  const reports = new Map<string, MigrationReport>();
  for (const { key, value } of (await store.list(MIGRATION_REPORTS)).kvs) {
    const parsed = parseMigrationReport(value);
    if (parsed.ok) reports.set(key.slice(MIGRATION_REPORTS.length), parsed.value);
  }
  return reports;
}

function leasesOf(parsed: ReturnType<typeof parseLease>): MigrationLease[] {
  if (!parsed.ok) return [];
  const { subnets, attributes, lease } = parsed.value;
  // a key without a lease that names no node keeps a subnet free
  if (lease === '0' && attributes.publicIp === undefined && attributes.publicIpv6 === undefined) return [];
  return [
    ...(subnets.ipv4 === undefined ? [] : [{ subnet: subnets.ipv4, node: attributes.publicIp }]),
    ...(subnets.ipv6 === undefined ? [] : [{ subnet: subnets.ipv6, node: attributes.publicIpv6 }]),
  ];
}

function nodeOf({ name, spec }: Resource<'Node'>): MigrationNode {
  const { ipv4Address, ipv6Address } = spec.bgp ?? {};
  const { ipv4VXLANTunnelAddr: end4, ipv6VXLANTunnelAddr: end6 } = spec;
  const given = [ipv4Address, ipv6Address].flatMap((address) => address ?? []);
  return {
    name,
    addresses: { ...(ipv4Address && { 4: ipv4Address.address }), ...(ipv6Address && { 6: ipv6Address.address }) },
    connected: given.map(({ address, prefixLength }) => prefixOf(address, prefixLength)),
    vxlanEnds: { ...(end4 && { 4: end4 }), ...(end6 && { 6: end6 }) },
  };
}

function poolOf({ name, spec }: Resource<'IPPool'>): MigrationPool {
  const { cidr, disabled, ipipMode, vxlanMode } = spec;
  const encapsulation = ipipMode !== 'Never' ? 'ipip' : vxlanMode !== 'Never' ? 'vxlan' : 'none';
  return {
    name,
    cidr,
    disabled,
    encapsulation,
    crossSubnet: ipipMode === 'CrossSubnet' || vxlanMode === 'CrossSubnet',
  };
}
