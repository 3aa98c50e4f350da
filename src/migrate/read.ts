/** What a plan is made from, read from the datastore at one go. */
import type { Datastore, Revision } from '../datastore/mod.ts';
import { configKey, parseLease, parseNetworkConfig, subnetsPrefix } from '../ipam/mod.ts';
import { nextBlock, Ownership, OWNERSHIP_PREFIX, settingsFrom } from '../ipam/blocks/mod.ts';
import { ResourceClient } from '../model/mod.ts';
import type { Resource } from '../model/mod.ts';
import type { MigrationInputs, MigrationLease, MigrationNode, MigrationPool } from './plan.ts';
import { MIGRATION_KEY, MIGRATION_REPORTS, parseMigrationReport, parseStages } from './records.ts';
import type { MigrationReport, Stage, Stages } from './records.ts';

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
    readStages(store),
    readReports(store),
  ]);
  const network = config.kv && parseNetworkConfig(config.kv.value);
  const { ipv4, ipv6 } = network?.ok === true ? network.value : {};
  const owned = new Ownership();
  for (const kv of ownership.kvs) owned.apply({ type: 'put', kv });
  return {
    ...{ to, ...stages, reports, ...(only && { only }) },
    networks: [ipv4, ipv6].flatMap((range) => range?.network ?? []),
    leases: leases.kvs.flatMap((kv) => leasesOf(parseLease(etcdPrefix, kv))),
    nodes: nodes.items.map(nodeOf),
    pools: pools.items.map(poolOf),
    blocks: [...owned.owned()].map(([cidr, node]) => ({ cidr, node })),
    nextBlock: (node, family, taken) => nextBlock(settings, node, family, new Set([...taken, ...owned.allBlocks()])),
  };
}

export async function readStages(store: Datastore): Promise<{ stages: Stages; revision: Revision }> {
  const { kv } = await store.get(MIGRATION_KEY);
  const parsed = kv && parseStages(kv.value);
  return { stages: parsed?.ok === true ? parsed.value : new Map(), revision: kv?.modRevision ?? 0 };
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
  return {
    name,
    addresses: { ...(ipv4Address && { 4: ipv4Address.address }), ...(ipv6Address && { 6: ipv6Address.address }) },
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
