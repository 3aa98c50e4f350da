/** Where resources are in etcd. */
import { calicoGroup, godwitGroup } from './kind.ts';
import { groupOf, kindNames, kinds } from './kinds.ts';
import type { Kind } from './kinds.ts';

/** Where Calico's resources are. */
export const RESOURCES = calicoGroup.prefix;

export const kindPrefix = (kind: Kind, namespace?: string): string =>
  `${groupOf(kind).prefix}${kinds[kind].plural}/${namespace === undefined ? '' : `${namespace}/`}`;

export const resourceKey = (kind: Kind, name: string, namespace?: string): string =>
  `${kindPrefix(kind, kinds[kind].namespaced ? (namespace ?? 'default') : undefined)}${name}`;

export interface ResourceId {
  readonly kind: Kind;
  readonly namespace: string | undefined;
  readonly name: string;
}

const byPrefix = new Map<string, Kind>(kindNames.map((kind) => [`${groupOf(kind).prefix}${kinds[kind].plural}`, kind]));

/** undefined for keys of other kinds, and for keys that no resource has. */
export function parseResourceKey(key: string): ResourceId | undefined {
  const group = [calicoGroup, godwitGroup].find(({ prefix }) => key.startsWith(prefix));
  if (!group) return undefined;
  const [plural, ...rest] = key.slice(group.prefix.length).split('/');
  const kind = byPrefix.get(`${group.prefix}${plural}`);
  if (kind === undefined || rest.some((part) => part === '')) return undefined;
  const [first, second] = rest;
  if (kinds[kind].namespaced) return rest.length === 2 ? { kind, namespace: first, name: second! } : undefined;
  return rest.length === 1 ? { kind, namespace: undefined, name: first! } : undefined;
}
