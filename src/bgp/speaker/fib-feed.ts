/** Best paths on their way out of the tables, in batches and at the pace of whoever takes them. */
import type { BestChange, BestFeed, Rib } from '../rib/mod.ts';

/** Where best paths go: the kernel's routes through a reconciler, or a test. */
export interface FibSink {
  /** Called with what changed, coalesced per prefix; never more than some thousands at a time. */
  apply(changes: readonly BestChange[]): void;
  /** Everything known was given: what is left of an earlier life may go. Told once, after a restart when it is over. */
  inSync(): void;
}

/** FIB changes handed over in one go. */
const BATCH = 2000;

export class FibFeed {
  private readonly sink: FibSink;
  private readonly feed: BestFeed;
  private readonly more: () => void;
  private synced = false;

  /** `more` is called when there is something to hand over; answer with `turn`. */
  constructor(rib: Rib, sink: FibSink, more: () => void) {
    this.sink = sink;
    this.more = more;
    this.feed = rib.bestFeed(more);
  }

  /** Hands over a batch. `complete`: what the tables hold is all there is to know. */
  turn(complete: boolean): void {
    const changes = this.feed.take(BATCH);
    if (changes.length > 0) {
      this.sink.apply(changes);
      this.more();
    } else if (complete && !this.synced) {
      this.synced = true;
      this.sink.inSync();
    }
  }

  close(): void {
    this.feed.close();
  }
}
