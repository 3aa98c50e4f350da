/**
 * Reads and writes resources, one at a time, by compare-and-swap on etcd's revision: two people who edit one object
 * cannot overwrite each other unseen. Creation stamps identity and time as Calico does; a change keeps them.
 */
import { err, ok } from '../base/mod.ts';
import type { Clock, Result } from '../base/mod.ts';
import type { JsonObject } from './json.ts';
import { kindPrefix, resourceKey } from './keys.ts';
import { describeProblem } from './problem-text.ts';
import type { Problem } from './kind.ts';
import { kinds } from './kinds.ts';
import type { Kind } from './kinds.ts';
import { checkChange, encodeStored, parseStored } from './resource.ts';
import type { AnyResource, Resource } from './resource.ts';

/** The parts of a datastore that resources need; a Datastore is one. */
export interface KeyValueStore {
  get(key: string): Promise<{ readonly kv: StoredValue | undefined }>;
  list(prefix: string): Promise<{ readonly kvs: readonly StoredValue[]; readonly revision: number }>;
  transaction(transaction: {
    readonly if: readonly { readonly key: string; readonly modRevision: number }[];
    readonly do: readonly StoreOperation[];
  }): Promise<{ readonly succeeded: boolean; readonly revision: number }>;
}
export interface StoredValue {
  readonly key: string;
  readonly value: string;
  readonly modRevision: number;
}
export type StoreOperation =
  | { readonly op: 'put'; readonly key: string; readonly value: string }
  | { readonly op: 'delete'; readonly key: string };

export interface ResourceError {
  readonly kind: 'exists' | 'not-found' | 'conflict' | 'broken' | 'invalid';
  readonly message: string;
}

export interface WriteOptions {
  /** Judge and answer as if it were written, but write nothing. */
  readonly dryRun?: boolean;
  /** Written in the same transaction. */
  readonly also?: readonly StoreOperation[];
  /** Must hold at the time of writing, besides the object's own revision. */
  readonly guards?: readonly { readonly key: string; readonly modRevision: number }[];
}

const named = (kind: Kind, name: string, namespace: string | undefined): string =>
  kinds[kind].namespaced ? `${kind} ${namespace ?? 'default'}/${name}` : `${kind} ${name}`;
const nameOf = (resource: AnyResource): string => named(resource.kind, resource.name, resource.namespace);

export class ResourceClient {
  private readonly store: KeyValueStore;
  private readonly clock: Pick<Clock, 'wallNow'>;
  private readonly uuid: () => string;

  constructor(
    store: KeyValueStore,
    options: { readonly clock?: Pick<Clock, 'wallNow'>; readonly uuid?: () => string } = {},
  ) {
    this.store = store;
    this.clock = options.clock ?? { wallNow: () => Date.now() };
    this.uuid = options.uuid ?? (() => crypto.randomUUID());
  }

  async get<K extends Kind>(kind: K, name: string, namespace?: string): Promise<Result<Resource<K>, ResourceError>> {
    const { kv } = await this.store.get(resourceKey(kind, name, namespace));
    if (!kv) return err(notFound(kind, name, namespace));
    const parsed = parseStored(kv.value, kv.modRevision);
    if (parsed.ok) return ok(parsed.value as unknown as Resource<K>);
    return err({ kind: 'broken', message: `${kv.key} in the datastore: ${sentences(parsed.error)}` });
  }

  /** All objects of a kind, in key order; broken ones apart. */
  async list<K extends Kind>(kind: K, namespace?: string): Promise<ResourceList<K>> {
    const { kvs, revision } = await this.store.list(kindPrefix(kind, namespace));
    const items: Resource<K>[] = [];
    const broken: { key: string; problems: readonly Problem[] }[] = [];
    for (const kv of kvs) {
      const parsed = parseStored(kv.value, kv.modRevision);
      if (parsed.ok) items.push(parsed.value as unknown as Resource<K>);
      else broken.push({ key: kv.key, problems: parsed.error });
    }
    return { items, broken, revision };
  }

  async create(resource: AnyResource, options: WriteOptions = {}): Promise<Result<AnyResource, ResourceError>> {
    if (versionOf(resource) !== undefined)
      return err({
        kind: 'invalid',
        message: `${nameOf(resource)}: metadata.resourceVersion: is not for an object that is new`,
      });
    const metadata = resource.raw['metadata'] as JsonObject;
    const stamped = withMetadata(resource, {
      ...metadata,
      uid: resource.metadata.uid ?? this.uuid(),
      creationTimestamp: resource.metadata.creationTimestamp ?? goTime(this.clock.wallNow()),
    });
    const written = await this.write(stamped, 0, options);
    return written ?? err({ kind: 'exists', message: `${nameOf(resource)} exists already` });
  }

  /** Replaces an object that exists; with a resource version, only that version of it. */
  async replace(resource: AnyResource, options: WriteOptions = {}): Promise<Result<AnyResource, ResourceError>> {
    const wanted = versionOf(resource);
    for (let attempt = 0; attempt < 10; attempt++) {
      const current = await this.get(resource.kind, resource.name, resource.namespace);
      // what is broken may be replaced by what is not
      if (!current.ok && current.error.kind !== 'broken') return current;
      const before = current.ok ? (current.value as AnyResource) : undefined;
      const revision = before?.revision ?? (await this.revisionOf(resource));
      if (wanted !== undefined && wanted !== String(revision)) return err(changed(resource, wanted, revision));
      const problems = before ? checkChange(before, resource) : [];
      if (problems.length > 0) return err({ kind: 'invalid', message: `${nameOf(resource)}: ${sentences(problems)}` });
      const metadata = resource.raw['metadata'] as JsonObject;
      const kept = {
        uid: before?.metadata.uid ?? this.uuid(),
        creationTimestamp: before?.metadata.creationTimestamp ?? goTime(this.clock.wallNow()),
      };
      const written = await this.write(withMetadata(resource, { ...metadata, ...kept }), revision, options);
      if (written) return written;
      if (wanted !== undefined) return err(changed(resource, wanted, undefined));
    }
    return err({ kind: 'conflict', message: `${nameOf(resource)} keeps changing under our hands; try again` });
  }

  /** Creates the object, or replaces it when it exists. */
  async apply(resource: AnyResource, options: WriteOptions = {}): Promise<Result<AnyResource, ResourceError>> {
    const replaced = await this.replace(resource, options);
    if (replaced.ok || replaced.error.kind !== 'not-found') return replaced;
    const created = await this.create(withoutVersion(resource), options);
    return created.ok || created.error.kind !== 'exists' ? created : this.replace(resource, options);
  }

  /** Deletes an object; with `version`, only that version of it. Works on broken objects. */
  async delete(
    id: { readonly kind: Kind; readonly name: string; readonly namespace?: string | undefined },
    options: WriteOptions & { readonly version?: string | undefined } = {},
  ): Promise<Result<undefined, ResourceError>> {
    const key = resourceKey(id.kind, id.name, id.namespace);
    const { kv } = await this.store.get(key);
    if (!kv) return err(notFound(id.kind, id.name, id.namespace));
    const conflict = {
      kind: 'conflict',
      message: `${named(id.kind, id.name, id.namespace)} was changed meanwhile; look at it again`,
    } as const;
    if (options.version !== undefined && options.version !== String(kv.modRevision)) return err(conflict);
    if (options.dryRun) return ok(undefined);
    const { succeeded } = await this.store.transaction({
      if: [{ key, modRevision: kv.modRevision }, ...(options.guards ?? [])],
      do: [{ op: 'delete', key }, ...(options.also ?? [])],
    });
    return succeeded ? ok(undefined) : err(conflict);
  }

  /** undefined when somebody else was faster. */
  private async write(
    resource: AnyResource,
    revision: number,
    options: WriteOptions,
  ): Promise<Result<AnyResource, ResourceError> | undefined> {
    const key = resourceKey(resource.kind, resource.name, resource.namespace);
    const value = encodeStored(resource);
    if (options.dryRun) {
      if (revision === 0 && (await this.store.get(key)).kv) return undefined;
      return reread(value, revision);
    }
    const result = await this.store.transaction({
      if: [{ key, modRevision: revision }, ...(options.guards ?? [])],
      do: [{ op: 'put', key, value }, ...(options.also ?? [])],
    });
    return result.succeeded ? reread(value, result.revision) : undefined;
  }

  private async revisionOf({ kind, name, namespace }: AnyResource): Promise<number> {
    return (await this.store.get(resourceKey(kind, name, namespace))).kv?.modRevision ?? 0;
  }
}

export interface ResourceList<K extends Kind> {
  readonly items: readonly Resource<K>[];
  readonly broken: readonly { readonly key: string; readonly problems: readonly Problem[] }[];
  readonly revision: number;
}

function reread(value: string, revision: number): Result<AnyResource, ResourceError> {
  const parsed = parseStored(value, revision);
  if (!parsed.ok) throw new Error(`wrote an object that cannot be read: ${sentences(parsed.error)}`);
  return parsed;
}

const sentences = (problems: readonly Problem[]): string => problems.map(describeProblem).join('; ');

const notFound = (kind: Kind, name: string, namespace: string | undefined): ResourceError => ({
  kind: 'not-found',
  message: `${named(kind, name, namespace)} does not exist`,
});

const changed = (resource: AnyResource, wanted: string, now: number | undefined): ResourceError => ({
  kind: 'conflict',
  message: `${nameOf(resource)} was changed: resource version ${wanted} was edited${now === undefined ? '' : `, ${now} is there`}; get it again`,
});

export function versionOf(resource: AnyResource): string | undefined {
  const version = (resource.raw['metadata'] as JsonObject)['resourceVersion'];
  return typeof version === 'string' && version !== '' ? version : undefined;
}

const withMetadata = <R extends AnyResource>(resource: R, metadata: JsonObject): R => ({
  ...resource,
  raw: { ...resource.raw, metadata },
});

function withoutVersion(resource: AnyResource): AnyResource {
  const { resourceVersion: _, ...metadata } = resource.raw['metadata'] as JsonObject;
  return withMetadata(resource, metadata);
}

/** Kubernetes' times have whole seconds. */
export const goTime = (milliseconds: number): string => `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
