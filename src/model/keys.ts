/** Where resources are in etcd. */
import { kindNames, kinds } from './kinds.ts';
import type { Kind } from './kinds.ts';

export const RESOURCES = '/calico/resources/v3/projectcalico.org/';

export const kindPrefix = (kind: Kind, namespace?: string): string =>
  `${RESOURCES}${kinds[kind].plural}/${namespace === undefined ? '' : `${namespace}/`}`;

export const resourceKey = (kind: Kind, name: string, namespace?: string): string =>
  `${kindPrefix(kind, kinds[kind].namespaced ? (namespace ?? 'default') : undefined)}${name}`;

export interface ResourceId {
  readonly kind: Kind;
  readonly namespace: string | undefined;
  readonly name: string;
}

const byPlural = new Map<string, Kind>(kindNames.map((kind) => [kinds[kind].plural, kind]));

/** undefined for keys of other kinds, and for keys that no resource has. */
export function parseResourceKey(key: string): ResourceId | undefined {
  if (!key.startsWith(RESOURCES)) return undefined;
  const [plural, ...rest] = key.slice(RESOURCES.length).split('/');
  const kind = byPlural.get(plural ?? '');
  if (kind === undefined || rest.some((part) => part === '')) return undefined;
  const [first, second] = rest;
  if (kinds[kind].namespaced) return rest.length === 2 ? { kind, namespace: first, name: second! } : undefined;
  return rest.length === 1 ? { kind, namespace: undefined, name: first! } : undefined;
}
