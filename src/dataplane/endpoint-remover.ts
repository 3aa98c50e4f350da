/**
 * Deletes veth pairs without stopping the program. The kernel takes a pair out of both namespaces within about a
 * millisecond and then holds the caller for some 20 ms more, to wait out readers of its own. So the request runs on
 * another thread, and the removal counts as done when the kernel's own message says that the link is gone.
 *
 * Removals that come while all slots are busy are collected and go together: a group of links costs what one costs.
 */
import { err, ok } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { deleteLinkGroup, monitorKernel, Rtnetlink, setLink } from '../netlink/mod.ts';
import type { KernelEvent, Link } from '../netlink/mod.ts';
import type { KernelError, NetworkNamespace } from '../sys/mod.ts';

/** Link groups that mean "being deleted"; one a slot, so that no slot deletes what another has marked. */
const FIRST_DOOMED_GROUP = 0x67640000;
/** The runtime's pool has as few threads as the machine has processors, and others wait for them, too. */
const SLOTS = 2;
const MAX_TOGETHER = 128;

interface Removal {
  readonly link: Link;
  readonly settle: (result: Result<void, KernelError>) => void;
  readonly promise: Promise<Result<void, KernelError>>;
}

export class LinkRemover implements Disposable {
  private readonly reader: Rtnetlink;
  private readonly monitor: Disposable;
  /** By link index: asked for and not gone yet. */
  private readonly removals = new Map<number, Removal>();
  private readonly queue: Removal[] = [];
  private disposed = false;
  private readonly gone: (name: string | undefined) => void;
  private readonly slots: { readonly socket: Rtnetlink; readonly group: number; busy: boolean }[];

  /** `gone` is told of every link that goes, whoever deleted it; undefined: some may have, and it was not heard. */
  constructor(namespace: NetworkNamespace, gone: (name: string | undefined) => void) {
    this.gone = gone;
    this.reader = Rtnetlink.in(namespace);
    this.slots = Array.from({ length: SLOTS }, (_, i) => {
      return { socket: Rtnetlink.in(namespace), group: FIRST_DOOMED_GROUP + i, busy: false };
    });
    this.monitor = namespace.run(() => monitorKernel((event) => this.onEvent(event), { groups: ['LINK'] }));
  }

  /** Settles when the link is out of its namespaces (for a veth: both ends), or with what the kernel refused. */
  remove(link: Link): Promise<Result<void, KernelError>> {
    const before = this.removals.get(link.index);
    if (before) return before.promise;
    const { promise, resolve } = Promise.withResolvers<Result<void, KernelError>>();
    const settle = (result: Result<void, KernelError>) => {
      this.removals.delete(link.index);
      resolve(result);
    };
    const removal = { link, settle, promise };
    this.removals.set(link.index, removal);
    this.queue.push(removal);
    this.pump();
    return promise;
  }

  private pump(): void {
    const slot = this.slots.find((s) => !s.busy);
    if (!slot || this.queue.length === 0) return;
    slot.busy = true;
    const work = this.queue.splice(0, MAX_TOGETHER);
    const done = slot.socket.changeAside((batch) => {
      for (const { link } of work) setLink(batch, link.index, { group: slot.group }, link.name);
      deleteLinkGroup(batch, slot.group);
    });
    void done.then((results) => {
      slot.busy = false;
      if (this.disposed) slot.socket[Symbol.dispose]();
      else {
        this.finish(work, results);
        this.pump();
      }
    });
  }

  /** The request is done: whatever was not told gone by then either is, or stays because of what the kernel said. */
  private finish(work: readonly Removal[], results: readonly (KernelError | undefined)[]): void {
    for (const [i, removal] of work.entries()) {
      if (!this.removals.has(removal.link.index)) continue;
      const refusal = results[i] ?? results.at(-1);
      const still = this.reader.link(removal.link.name);
      if (refusal && still?.index === removal.link.index) removal.settle(err(refusal));
      else removal.settle(ok(undefined));
    }
  }

  private onEvent(event: KernelEvent): void {
    // after lost events the request's own answer decides
    if (event.type === 'link' && event.gone) {
      this.removals.get(event.link.index)?.settle(ok(undefined));
      this.gone(event.link.name);
    } else if (event.type === 'resync') this.gone(undefined);
  }

  [Symbol.dispose](): void {
    this.disposed = true;
    this.monitor[Symbol.dispose]();
    this.reader[Symbol.dispose]();
    for (const slot of this.slots) if (!slot.busy) slot.socket[Symbol.dispose]();
  }
}
