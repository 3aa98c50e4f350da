/**
 * Nodes that were deleted a moment ago. Their sessions stay for a little while: an object that is replaced by deleting it
 * and making it anew, or that its own agent makes again, must not cost its pods a packet.
 */
import type { Clock } from '../../base/mod.ts';
import type { Resource, ResourceChange } from '../../model/mod.ts';

/** An agent whose Node is gone makes it again in less. */
const GRACE_MS = 5_000;

export class Departed {
  private readonly nodes = new Map<string, { readonly node: Resource<'Node'>; readonly timer: Disposable }>();
  private readonly clock: Clock;
  private readonly over: () => void;

  /** `over` is called when a node's time has run out. */
  constructor(clock: Clock, over: () => void) {
    this.clock = clock;
    this.over = over;
  }

  note({ kind, before, after }: ResourceChange): void {
    const name = (after ?? before)?.name;
    if (kind !== 'Node' || name === undefined) return;
    this.nodes.get(name)?.timer[Symbol.dispose]();
    this.nodes.delete(name);
    if (after || before?.kind !== 'Node') return;
    const timer = this.clock.after(GRACE_MS, () => {
      this.nodes.delete(name);
      this.over();
    });
    this.nodes.set(name, { node: before, timer });
  }

  *list(): Generator<Resource<'Node'>> {
    for (const { node } of this.nodes.values()) yield node;
  }
}
