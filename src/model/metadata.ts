/** The part all resources have: name, labels, annotations, identity. Kubernetes' ObjectMeta, in its order. */
import { refusedValue } from './problem-text.ts';
import { isName } from './fields.ts';
import { compareBytes, emptyObject, isObject } from './json.ts';
import type { Json, JsonObject } from './json.ts';
import type { Problem } from './kind.ts';

export interface ObjectMeta {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly uid: string | undefined;
  readonly creationTimestamp: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const order = [
  'name',
  'generateName',
  'namespace',
  'selfLink',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'labels',
  'annotations',
  'ownerReferences',
  'finalizers',
  'managedFields',
];

const isTextMap = (value: Json | undefined): value is Readonly<Record<string, string>> =>
  isObject(value) && Object.values(value).every((item) => typeof item === 'string');

export function checkMetadata(metadata: Json | undefined, namespaced: boolean, source: 'store' | 'given'): Problem[] {
  if (!isObject(metadata)) return [refusedValue('metadata', metadata, 'an object with at least a name')];
  const problems: Problem[] = [];
  const refuse = (key: string, allowed: string) =>
    problems.push(refusedValue(`metadata.${key}`, metadata[key], allowed));
  const { name, namespace, labels, annotations, uid, creationTimestamp, resourceVersion } = metadata;
  if (typeof name !== 'string' || !isName(name)) refuse('name', 'lower-case letters, digits, - and ., at most 253');
  if (namespaced) {
    if (typeof namespace !== 'string' || !isName(namespace)) refuse('namespace', 'the name of a namespace');
  } else if (namespace !== undefined && namespace !== '' && namespace !== null) {
    refuse('namespace', 'none: this kind is not in a namespace');
  }
  for (const [key, map] of [
    ['labels', labels],
    ['annotations', annotations],
  ] as const) {
    if (map !== undefined && map !== null && !isTextMap(map)) refuse(key, 'an object of texts');
  }
  if (uid !== undefined && typeof uid !== 'string') refuse('uid', 'a text');
  if (resourceVersion !== undefined && typeof resourceVersion !== 'string') refuse('resourceVersion', 'a text');
  if (creationTimestamp !== undefined && creationTimestamp !== null && typeof creationTimestamp !== 'string')
    refuse('creationTimestamp', 'a time, as 2026-01-02T03:04:05Z');
  if (source === 'given') {
    for (const key of Object.keys(metadata)) {
      if (!order.includes(key))
        problems.push({ path: `metadata.${key}`, message: `is not known here; allowed: ${order.join(', ')}` });
    }
  }
  return problems;
}

const text = (value: Json | undefined): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

/** Of metadata that `checkMetadata` found nothing wrong with. */
export function metadataOf(metadata: JsonObject): ObjectMeta {
  return {
    name: text(metadata['name']) ?? '',
    namespace: text(metadata['namespace']),
    uid: text(metadata['uid']),
    creationTimestamp: text(metadata['creationTimestamp']),
    labels: isTextMap(metadata['labels']) ? metadata['labels'] : {},
    annotations: isTextMap(metadata['annotations']) ? metadata['annotations'] : {},
  };
}

/** As Go writes it: in order, maps sorted, empty fields left out, `creationTimestamp` always there. */
export function metadataOrder(metadata: JsonObject): JsonObject {
  const out = emptyObject();
  const keys = [...order, ...Object.keys(metadata).filter((key) => !order.includes(key))];
  for (const key of keys) {
    const value = metadata[key];
    if (key === 'creationTimestamp') out[key] = value ?? null;
    else if (key === 'resourceVersion' || value === undefined || value === null || value === '') continue;
    else if (key === 'labels' || key === 'annotations') {
      if (isTextMap(value) && Object.keys(value).length > 0) out[key] = sorted(value);
    } else if (!Array.isArray(value) || value.length > 0) out[key] = value;
  }
  return out;
}

function sorted(map: Readonly<Record<string, string>>): JsonObject {
  const out = emptyObject();
  for (const key of Object.keys(map).sort(compareBytes)) out[key] = map[key];
  return out;
}
