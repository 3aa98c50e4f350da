/** Where Calico keeps its IPAM data in etcd. */
import { familyOf, parsePrefix } from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';

const IPAM = '/calico/ipam/v2';
export const CONFIG_KEY = `${IPAM}/config`;
export const HANDLES = `${IPAM}/handle/`;
export const BLOCKS = `${IPAM}/assignment/`;
export const AFFINITIES = `${IPAM}/host/`;

/** Who a block belongs to: `host:node1`, or `virtual:load-balancer`. */
export type Owner = string & { readonly __brand: 'BlockOwner' };
export const hostOwner = (node: string): Owner => `host:${node}` as Owner;

const dashed = (cidr: Prefix): string => cidr.replace('/', '-');
const undashed = (text: string): Prefix | undefined => parsePrefix(text.replace('-', '/'));

export const blocksPrefix = (family: Family): string => `${BLOCKS}ipv${family}/block/`;
export const blockKey = (cidr: Prefix): string => `${blocksPrefix(familyOf(cidr))}${dashed(cidr)}`;
export const handleKey = (handle: string): string => `${HANDLES}${handle}`;

/** All affinities of an owner; ends with a slash, so that `node1` is not found under `node`. */
export const affinitiesPrefix = (owner: Owner): string => `${IPAM}/${owner.replace(':', '/')}/`;
export const affinityKey = (owner: Owner, cidr: Prefix): string =>
  `${affinitiesPrefix(owner)}ipv${familyOf(cidr)}/block/${dashed(cidr)}`;

export function parseBlockKey(key: string): Prefix | undefined {
  const match = /^\/calico\/ipam\/v2\/assignment\/ipv([46])\/block\/([^/]+)$/.exec(key);
  const cidr = match ? undashed(match[2]!) : undefined;
  return cidr !== undefined && String(familyOf(cidr)) === match![1] ? cidr : undefined;
}

export function parseAffinityKey(key: string): { readonly owner: Owner; readonly cidr: Prefix } | undefined {
  const match = /^\/calico\/ipam\/v2\/(host|virtual)\/([^/]+)\/ipv[46]\/block\/([^/]+)$/.exec(key);
  const cidr = match ? undashed(match[3]!) : undefined;
  return cidr === undefined ? undefined : { owner: `${match![1]}:${match![2]}` as Owner, cidr };
}

export const parseHandleKey = (key: string): string | undefined =>
  key.startsWith(HANDLES) ? key.slice(HANDLES.length) : undefined;

/** Handles become part of a key: a slash would reach into other keys. */
export const isHandle = (text: string): boolean => /^[!-.0-~]{1,512}$/.test(text);
