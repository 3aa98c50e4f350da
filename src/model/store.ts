/**
 * The resources of a datastore as typed values, kept up to date. An object that is broken is set aside alone and
 * reported: its last good form stays in force while there is one, because a slip in an editor must not take a network
 * down; without one the object is as if it were not there. Everything else works on.
 */
import { messageOf } from '../base/mod.ts';
import { parseResourceKey, RESOURCES } from './keys.ts';
import type { Problem } from './kind.ts';
import { kindNames } from './kinds.ts';
import type { Kind } from './kinds.ts';
import { parseStored } from './resource.ts';
import type { AnyResource, Resource } from './resource.ts';

/** What a datastore tells a follower; the datastore's own updates fit. */
export type FeedUpdate =
  | {
      readonly type: 'put';
      readonly kv: { readonly key: string; readonly value: string; readonly modRevision: number };
    }
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'inSync'; readonly revision: number }
  | { readonly type: 'stale'; readonly reason: string };

export interface BrokenObject {
  readonly key: string;
  readonly problems: readonly Problem[];
  /** Whether an earlier, good form of the object is still in force. */
  readonly kept: boolean;
}

export interface ResourceChange {
  readonly kind: Kind;
  readonly before: AnyResource | undefined;
  readonly after: AnyResource | undefined;
}
type Listener = (event: ResourceChange | 'inSync' | 'stale' | 'broken') => void;

export class ResourceStore {
  private readonly objects = new Map<Kind, Map<string, AnyResource>>(kindNames.map((kind) => [kind, new Map()]));
  private readonly brokenObjects = new Map<string, BrokenObject>();
  private readonly listeners = new Set<Listener>();
  private synced = false;
  private latest = 0;
  private reason: string | undefined;

  /** Whether a complete picture has been told at least once. Nothing may be swept before. */
  get inSync(): boolean {
    return this.synced;
  }

  /** Why the picture may be old, when the datastore is out of reach. */
  get staleReason(): string | undefined {
    return this.reason;
  }

  /** The newest revision heard of. */
  get revision(): number {
    return this.latest;
  }

  get<K extends Kind>(kind: K, name: string, namespace?: string): Resource<K> | undefined {
    return this.objects.get(kind)?.get(idOf(name, namespace)) as Resource<K> | undefined;
  }

  /** All objects of a kind, in no order. */
  list<K extends Kind>(kind: K): IterableIterator<Resource<K>> {
    return this.objects.get(kind)!.values() as IterableIterator<Resource<K>>;
  }

  /** Objects in the datastore that cannot be used as they are. */
  get broken(): readonly BrokenObject[] {
    return [...this.brokenObjects.values()];
  }

  /** Calls `listener` after each change, until disposed of. */
  onChange(listener: Listener): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  /** Takes updates for ever; the argument is `datastore.follow(ResourceStore.prefix, signal)`. */
  async run(updates: AsyncIterable<FeedUpdate>): Promise<void> {
    for await (const update of updates) this.apply(update);
  }
  static readonly prefix = RESOURCES;

  apply(update: FeedUpdate): void {
    switch (update.type) {
      case 'put':
        this.put(update.kv.key, update.kv.value, update.kv.modRevision);
        break;
      case 'delete':
        this.delete(update.key);
        break;
      case 'inSync':
        this.synced = true;
        this.reason = undefined;
        this.latest = Math.max(this.latest, update.revision);
        this.tell('inSync');
        break;
      case 'stale':
        this.reason = update.reason;
        this.tell('stale');
        break;
    }
  }

  private put(key: string, value: string, revision: number): void {
    this.latest = Math.max(this.latest, revision);
    const id = parseResourceKey(key);
    if (!id) return; // of a kind that is none of ours
    const map = this.objects.get(id.kind)!;
    const before = map.get(idOf(id.name, id.namespace));
    const problems = this.take(id, value, revision, map);
    if (problems === undefined) {
      this.brokenObjects.delete(key);
      this.tell({ kind: id.kind, before, after: map.get(idOf(id.name, id.namespace)) });
    } else {
      this.brokenObjects.set(key, { key, problems, kept: before !== undefined });
      this.tell('broken');
    }
  }

  /** undefined when the object was taken. Never throws: one hostile object must not stop the others. */
  private take(
    id: NonNullable<ReturnType<typeof parseResourceKey>>,
    value: string,
    revision: number,
    map: Map<string, AnyResource>,
  ): readonly Problem[] | undefined {
    try {
      const parsed = parseStored(value, revision);
      if (!parsed.ok) return parsed.error;
      const { kind, name, namespace } = parsed.value;
      if (kind !== id.kind || name !== id.name || namespace !== id.namespace)
        return [
          { path: 'metadata', message: `names ${kind} ${namespace ?? ''}/${name}, which is not what its key says` },
        ];
      map.set(idOf(name, namespace), parsed.value);
      return undefined;
    } catch (error) {
      return [{ path: '', message: `cannot be read: ${messageOf(error)}` }];
    }
  }

  private delete(key: string): void {
    const id = parseResourceKey(key);
    if (!id) return;
    this.brokenObjects.delete(key);
    const map = this.objects.get(id.kind)!;
    const before = map.get(idOf(id.name, id.namespace));
    if (!before) return;
    map.delete(idOf(id.name, id.namespace));
    this.tell({ kind: id.kind, before, after: undefined });
  }

  private tell(event: Parameters<Listener>[0]): void {
    for (const listener of this.listeners) listener(event);
  }
}

const idOf = (name: string, namespace: string | undefined): string => `${namespace ?? ''}/${name}`;
