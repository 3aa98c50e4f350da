/** What all sources have in common: they fill the table of facts, and say whether the picture is complete and fresh. */
import type { Datastore, Update } from '../../datastore/mod.ts';
import type { FactTable } from '../facts.ts';

export interface Source {
  /** Follows for ever; `changed` is called after each change. What is known stays known while the other side is away. */
  run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void>;
  /** Whether a complete picture has been told at least once. */
  readonly inSync: boolean;
  /** Why the picture may be old; undefined when it is not. */
  readonly stale: string | undefined;
}

interface Part {
  inSync: boolean;
  stale: string | undefined;
}

/** Several parts of one datastore, followed side by side: in sync when all are, stale when one is. */
export class Parts {
  private readonly parts: Part[] = [];

  get inSync(): boolean {
    return this.parts.length > 0 && this.parts.every((part) => part.inSync);
  }

  get stale(): string | undefined {
    return this.parts.length === 0 ? NOT_YET : this.parts.find((part) => part.stale !== undefined)?.stale;
  }

  add(): Part {
    const part: Part = { inSync: false, stale: NOT_YET };
    this.parts.push(part);
    return part;
  }

  /** `take` gets every put and delete under `prefix`. */
  async follow(
    store: Datastore,
    prefix: string,
    signal: AbortSignal,
    take: (update: Update) => void,
    changed: () => void,
  ): Promise<void> {
    const part = this.add();
    for await (const update of store.follow(prefix, signal)) {
      if (update.type === 'stale') part.stale = update.reason;
      else if (update.type === 'inSync') {
        part.inSync = true;
        part.stale = undefined;
      } else take(update);
      changed();
    }
  }
}

const NOT_YET = 'not connected yet';
