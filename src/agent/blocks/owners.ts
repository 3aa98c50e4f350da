/**
 * Who owns which block, of all nodes: what VXLAN's routes are made from. Where routes come by BGP nobody needs it, and it
 * is not followed: every pod that starts anywhere changes a block.
 */
import { Wakeup } from '../../base/mod.ts';
import type { Update } from '../../datastore/mod.ts';
import { AFFINITIES, BLOCKS, Ownership } from '../../ipam/blocks/mod.ts';

/** Changes come in bunches, milliseconds. */
const GATHER_MS = 2;

export class Owners {
  readonly owned = new Ownership();
  wanted = false;
  private readonly changed: () => void;
  private readonly wakeup = new Wakeup();
  private readonly synced = new Set<string>();
  private look: ReturnType<typeof setTimeout> | undefined;

  /** `changed` is called when something did, and when the first picture is complete. */
  constructor(changed: () => void) {
    this.changed = changed;
  }

  /** Whether the whole picture was told once. */
  get complete(): boolean {
    return this.synced.size === 2;
  }

  /** From now on it is followed. */
  want(): void {
    if (this.wanted) return;
    this.wanted = true;
    this.wakeup.notify();
  }

  async run(follow: (prefix: string) => AsyncIterable<Update>, signal: AbortSignal): Promise<void> {
    while (!this.wanted && !signal.aborted) await this.wakeup.wait(signal);
    await Promise.all([BLOCKS, AFFINITIES].map((prefix) => this.take(prefix, follow(prefix))));
  }

  private async take(prefix: string, updates: AsyncIterable<Update>): Promise<void> {
    for await (const update of updates) {
      if (update.type === 'inSync') this.synced.add(prefix);
      else if (update.type !== 'stale') this.owned.apply(update);
      if (!this.complete) continue;
      this.look ??= setTimeout(() => {
        this.look = undefined;
        this.changed();
      }, GATHER_MS);
    }
  }
}
