/**
 * What decides where addresses may come from: pools, reservations, configuration, and the labels of nodes. A value, read
 * from a followed ResourceStore by a long-lived program or straight from the datastore by a short-lived one.
 */
import { err, GodwitError, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import { ResourceClient } from '../../model/mod.ts';
import type { Labels, poolUses, Resource, ResourceStore } from '../../model/mod.ts';
import { addressToBigInt, familyOf, prefixContains, prefixOf, prefixSize } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { CONFIG_KEY } from './keys.ts';
import type { IsReserved } from './operations.ts';
import { decodeConfig, defaultIpamConfig } from './records.ts';
import type { IpamConfig } from './records.ts';

export type Pool = Resource<'IPPool'>;
export type PoolUse = (typeof poolUses)[number];

export interface IpamSettings {
  /** In the order of their names, which is the order they are used in. */
  readonly pools: readonly Pool[];
  readonly reserved: readonly Prefix[];
  readonly config: IpamConfig;
  /** etcd's revision of the configuration, 0 when there is none. */
  readonly configRevision: number;
  nodeLabels(node: string): Labels;
}

/** Gives the settings as of now; `renew` says that they turned out to be old. */
export interface SettingsSource {
  current(): Promise<IpamSettings>;
  renew(): void;
}

/** Reads everything from the datastore, and keeps it until `renew`. */
export function settingsFrom(store: Datastore): SettingsSource {
  let loading: Promise<IpamSettings> | undefined;
  return {
    current: () => {
      loading ??= loadSettings(store).catch((error: unknown) => {
        loading = undefined;
        throw error;
      });
      return loading;
    },
    renew: () => {
      loading = undefined;
    },
  };
}

async function loadSettings(store: Datastore): Promise<IpamSettings> {
  const client = new ResourceClient(store);
  const [pools, reservations, nodes, config] = await Promise.all([
    client.list('IPPool'),
    client.list('IPReservation'),
    client.list('Node'),
    store.get(CONFIG_KEY),
  ]);
  const labels = new Map(nodes.items.map((node) => [node.name, node.metadata.labels]));
  return makeSettings(pools.items, reservations.items, config.kv, (node) => labels.get(node) ?? {});
}

/** The settings of a followed store; `config` is the current record at CONFIG_KEY. */
export const settingsOf = (
  store: ResourceStore,
  config: { readonly value: string; readonly modRevision: number } | undefined,
): IpamSettings =>
  makeSettings([...store.list('IPPool')], [...store.list('IPReservation')], config, (node) => {
    return store.get('Node', node)?.metadata.labels ?? {};
  });

function makeSettings(
  pools: readonly Pool[],
  reservations: readonly Resource<'IPReservation'>[],
  config: { readonly value: string; readonly modRevision: number } | undefined,
  nodeLabels: (node: string) => Labels,
): IpamSettings {
  const decoded = config ? decodeConfig(config.value) : ok(defaultIpamConfig);
  if (!decoded.ok)
    throw new GodwitError('ipam-config', `${CONFIG_KEY} in the datastore ${decoded.error}`, {
      hint: 'Write it anew with: godwit ipam configure',
    });
  return {
    pools: [...pools].sort((a, b) => (a.name < b.name ? -1 : 1)),
    reserved: reservations.flatMap((r) => r.spec.reservedCIDRs.map((c) => prefixOf(c.address, c.prefixLength))),
    config: decoded.value,
    configRevision: config?.modRevision ?? 0,
    nodeLabels,
  };
}

export interface PoolQuery {
  readonly family: Family;
  readonly node: string;
  readonly use: PoolUse;
  /** CIDRs or names of pools; these alone are used, whatever their selectors say. */
  readonly pools?: readonly string[] | undefined;
  /** undefined for addresses that belong to no namespace, as tunnels' do. */
  readonly namespaceLabels?: Labels | undefined;
}

/** The pools a request may use; the error says which there are and why they do not do. */
export function eligiblePools(settings: IpamSettings, query: PoolQuery): Result<readonly Pool[], string> {
  const family = settings.pools.filter((pool) => familyOf(pool.spec.cidr) === query.family);
  const candidates: Pool[] = [];
  const refusals: string[] = [];
  for (const wanted of query.pools ?? []) {
    const pool = family.find(({ name, spec }) => name === wanted || spec.cidr === wanted);
    if (!pool) return err(`there is no IPv${query.family} pool ${wanted}`);
    if (pool.spec.disabled) return err(`pool ${pool.name} (${pool.spec.cidr}) is disabled`);
    candidates.push(pool);
  }
  if (candidates.length === 0) {
    const labels = settings.nodeLabels(query.node);
    for (const pool of family) {
      const refusal = refusalOf(pool, labels, query);
      if (refusal === undefined) candidates.push(pool);
      else refusals.push(`${pool.name} ${refusal}`);
    }
  }
  const usable = candidates.filter((pool) => pool.spec.allowedUses.includes(query.use));
  for (const pool of candidates) if (!usable.includes(pool)) refusals.push(`${pool.name} is not for ${query.use}`);
  if (usable.length > 0) return ok(usable);
  const why = refusals.length > 0 ? `: ${refusals.join('; ')}` : '';
  return err(`no IPv${query.family} pool for ${query.use} on node ${query.node}${why}`);
}

function refusalOf({ spec }: Pool, nodeLabels: Labels, query: PoolQuery): string | undefined {
  if (spec.disabled) return 'is disabled';
  if (spec.assignmentMode !== 'Automatic') return 'is for manual assignment';
  if (!spec.nodeSelector.matches(nodeLabels)) return `does not select the node (${spec.nodeSelector.text})`;
  const namespace = spec.namespaceSelector;
  if (namespace && !(query.namespaceLabels && namespace.matches(query.namespaceLabels)))
    return `does not select the namespace (${namespace.text})`;
  return undefined;
}

/** The enabled pool an address lies in. */
export const poolOf = (settings: IpamSettings, address: IpAddress): Pool | undefined =>
  settings.pools.find((pool) => !pool.spec.disabled && prefixContains(pool.spec.cidr, address));

/** undefined when no reservation touches `cidr`. */
export function reservedIn(settings: IpamSettings, cidr: Prefix): IsReserved | undefined {
  const family = familyOf(cidr);
  const [first, last] = range(cidr);
  const ranges = settings.reserved
    .filter((prefix) => familyOf(prefix) === family)
    .map(range)
    .filter(([from, to]) => from <= last && to >= first);
  if (ranges.length === 0) return undefined;
  return (address) => {
    const value = addressToBigInt(address);
    return ranges.some(([from, to]) => from <= value && value <= to);
  };
}

function range(prefix: Prefix): readonly [bigint, bigint] {
  const first = addressToBigInt(prefix.slice(0, prefix.indexOf('/')) as IpAddress);
  return [first, first + prefixSize(prefix) - 1n];
}
