/**
 * One resource: Calico's `projectcalico.org/v3` objects as typed values, and as the JSON they came from. The typed value
 * is what the program works with; the JSON is what is written back, so that nothing another program put there is lost.
 * What a person gives is judged strictly, what the store holds generously: unknown fields there are somebody else's.
 */
import type { z } from 'zod';
import { err, ok } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { canonical } from './canonical.ts';
import { emptyObject, goJson, isObject, parseJson } from './json.ts';
import type { JsonObject } from './json.ts';
import type { KindDefinition, Problem } from './kind.ts';
import { groupOf, isKind, kindNames, kinds } from './kinds.ts';
import type { Kind, Specs } from './kinds.ts';
import { checkMetadata, metadataOf, metadataOrder } from './metadata.ts';
import type { ObjectMeta } from './metadata.ts';
import { refusedValue } from './problem-text.ts';

export interface Resource<K extends Kind = Kind> {
  readonly kind: K;
  readonly name: string;
  readonly namespace: string | undefined;
  readonly metadata: ObjectMeta;
  readonly spec: Specs[K];
  /** The whole object as JSON. */
  readonly raw: JsonObject;
  /** etcd's modification revision; 0 when it does not come from a store. */
  readonly revision: number;
  /** Paths of fields that are kept and mean nothing to this program. */
  readonly ignored: readonly string[];
}
export type AnyResource = { [K in Kind]: Resource<K> }[Kind];

/** Reads an object of a store. */
export function parseStored(text: string, revision: number): Result<AnyResource, readonly Problem[]> {
  const json = parseJson(text);
  if (!json.ok) return err([{ path: '', message: json.error }]);
  return read(json.value, 'store', revision);
}

/** Judges an object that a person gave. */
export const parseGiven = (value: unknown): Result<AnyResource, readonly Problem[]> => read(value, 'given', 0);

function read(value: unknown, source: 'store' | 'given', revision: number): Result<AnyResource, readonly Problem[]> {
  if (!isObject(value))
    return err([{ path: '', message: 'allowed: an object with kind, apiVersion, metadata and spec' }]);
  const { kind, apiVersion, metadata } = value;
  const problems: Problem[] = [];
  if (typeof kind !== 'string' || !isKind(kind)) return err([refusedValue('kind', kind, kindNames.join(', '))]);
  const group = groupOf(kind);
  if (apiVersion !== group.apiVersion) problems.push(refusedValue('apiVersion', apiVersion, group.apiVersion));
  problems.push(...checkMetadata(metadata, kinds[kind].namespaced, source));
  if (source === 'given') {
    const known = ['kind', 'apiVersion', 'metadata', 'spec', 'status'];
    for (const key of Object.keys(value)) if (!known.includes(key)) problems.push(unknownField(key, known.join(', ')));
  }
  const { problems: inSpec, ignored, spec } = readSpec(kinds[kind], value, source);
  problems.push(...inSpec);
  if (problems.length > 0) return err(problems);
  const meta = metadataOf(metadata as JsonObject);
  const resource = {
    kind,
    name: meta.name,
    namespace: meta.namespace,
    metadata: meta,
    spec,
    raw: value,
    revision,
    ignored,
  };
  return ok(resource as unknown as AnyResource);
}

function readSpec(definition: KindDefinition<Kind, unknown>, value: JsonObject, source: 'store' | 'given') {
  const given = value['spec'] ?? {};
  const ignored: string[] = [];
  if (!isObject(given)) return { problems: [refusedValue('spec', given, 'an object')], ignored, spec: undefined };
  let rest: JsonObject = without(given, (key) => definition.ignored?.includes(key) ?? false, ignored, 'spec');
  let result = definition.spec.safeParse(rest);
  if (!result.success && source === 'store') {
    const unknown = result.error.issues.filter((issue) => issue.code === 'unrecognized_keys');
    if (unknown.length > 0) {
      rest = structuredClone(rest);
      for (const issue of unknown) dropKeys(rest, issue.path, issue.keys, ignored);
      result = definition.spec.safeParse(rest);
    }
  }
  if (!result.success)
    return { problems: result.error.issues.flatMap((issue) => toProblems(issue, given)), ignored, spec: undefined };
  const name = isObject(value['metadata']) ? metadataOf(value['metadata']).name : '';
  const problems = [...(definition.check?.(result.data, name) ?? []), ...(definition.checkGiven?.(given, name) ?? [])];
  return { problems, ignored, spec: result.data };
}

function without(object: JsonObject, drop: (key: string) => boolean, dropped: string[], path: string): JsonObject {
  const out = emptyObject();
  for (const [key, value] of Object.entries(object)) {
    if (drop(key)) dropped.push(`${path}.${key}`);
    else out[key] = value;
  }
  return { ...out };
}

function dropKeys(spec: JsonObject, path: readonly PropertyKey[], keys: readonly string[], dropped: string[]): void {
  const at = path.reduce<unknown>((object, key) => (object as Record<PropertyKey, unknown>)[key], spec);
  for (const key of keys) {
    delete (at as Record<string, unknown>)[key];
    dropped.push(showPath([...path, key]));
  }
}

const showPath = (path: readonly PropertyKey[]): string =>
  path.reduce<string>((text, key) => (typeof key === 'number' ? `${text}[${key}]` : `${text}.${String(key)}`), 'spec');

function toProblems(issue: z.core.$ZodIssue, spec: JsonObject): Problem[] {
  const path = showPath(issue.path);
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => unknownField(`${path}.${key}`, issue.message.replace(/^allowed: /, '')));
  const value = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], spec);
  return [refusedValue(path, value, issue.message.replace(/^allowed: /, ''))];
}

const unknownField = (path: string, allowed: string): Problem => ({
  path,
  message: `is not known here; allowed: ${allowed}`,
});

/** The object as Calico would store it. The resource version is etcd's and never stored. */
export function storedJson(resource: AnyResource): JsonObject {
  const definition = kinds[resource.kind] as KindDefinition<Kind, unknown>;
  const given = isObject(resource.raw['spec']) ? resource.raw['spec'] : {};
  const spec = canonical(definition.spec, definition.storedDefaults?.(given) ?? given);
  const { kind: _k, apiVersion: _a, metadata, spec: _s, ...others } = resource.raw;
  return {
    kind: resource.kind,
    apiVersion: groupOf(resource.kind).apiVersion,
    metadata: metadataOrder(metadata as JsonObject),
    spec,
    ...others,
  };
}

/** The text that goes into the store. */
export const encodeStored = (resource: AnyResource): string => goJson(storedJson(resource));

/** What forbids to replace `before` by `after`. */
export function checkChange(before: AnyResource, after: AnyResource): readonly Problem[] {
  const definition = kinds[before.kind] as KindDefinition<Kind, unknown>;
  return definition.checkChange?.(before.spec, after.spec) ?? [];
}
