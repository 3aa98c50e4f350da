/** What all sources have in common: they fill the table of facts, and say whether the picture is complete and fresh. */
import type { Datastore, Update } from '../../datastore/mod.ts';
import type { FactTable } from '../facts.ts';

/** A part of the picture: a prefix of the datastore, or one kind of an API's objects. */
class Part {
  inSync = false;
  stale: string | undefined = NOT_YET;

  /** Takes a follower's word about the picture as a whole. */
  heard(update: { readonly type: 'inSync' } | { readonly type: 'stale'; readonly reason: string }): void {
    if (update.type === 'inSync') this.inSync = true;
    this.stale = update.type === 'stale' ? update.reason : undefined;
  }
}

/** One or more parts that are followed side by side: in sync when all are, stale when one is. */
export abstract class Source {
  private readonly parts: Part[] = [];

  /** Follows for ever; `changed` is called after each change. What is known stays known while the other side is away. */
  abstract run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void>;

  /** Whether a complete picture has been told at least once. */
  get inSync(): boolean {
    return this.parts.length > 0 && this.parts.every((part) => part.inSync);
  }

  /** Whether there was a word yet, good or bad, about every part. */
  get heard(): boolean {
    return this.parts.length > 0 && this.parts.every(({ stale }) => stale !== NOT_YET);
  }

  /** Why the picture may be old; undefined when it is not. */
  get stale(): string | undefined {
    return this.parts.length === 0 ? NOT_YET : this.parts.find((part) => part.stale !== undefined)?.stale;
  }

  protected part(): Part {
    const part = new Part();
    this.parts.push(part);
    return part;
  }

  /** `take` gets every put and delete under `prefix`. */
  protected async follow(
    store: Datastore,
    prefix: string,
    signal: AbortSignal,
    take: (update: Exclude<Update, { type: 'inSync' | 'stale' }>) => void,
    changed: () => void,
  ): Promise<void> {
    const part = this.part();
    for await (const update of store.follow(prefix, signal)) {
      if (update.type === 'inSync' || update.type === 'stale') part.heard(update);
      else take(update);
      changed();
    }
  }
}

const NOT_YET = 'not connected yet';
