/**
 * What the datastore says that this node needs, and no more: resources of the cluster, and the claims of this node itself.
 * What other nodes own comes by BGP, so a pod that starts elsewhere makes no work here. What was told before still holds
 * while the datastore is out of reach.
 */
import { printable } from '../../base/mod.ts';
import type { Datastore, Update } from '../../datastore/mod.ts';
import { affinitiesPrefix, hostOwner, Ownership } from '../../ipam/blocks/mod.ts';
import { kindPrefix, ResourceStore } from '../../model/mod.ts';
import type { Kind, ResourceChange } from '../../model/mod.ts';
import { comparePrefixes } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';

/** Pods' endpoints are not among them: there are as many as pods, and only a node's own matter to it. */
const KINDS = [
  'Node',
  'IPPool',
  'BGPConfiguration',
  'BGPPeer',
  'BGPFilter',
  'FelixConfiguration',
  'IPReservation',
] as const satisfies readonly Kind[];

export interface KnowledgeEvents {
  /** Resources changed, or the whole picture is complete for the first time. */
  resources(change: ResourceChange | undefined): void;
  /** This node's own blocks changed. */
  blocks(): void;
  /** Out of reach, for this reason; undefined: back. */
  stale(reason: string | undefined): void;
}

export class Knowledge {
  readonly resources = new ResourceStore();
  private readonly claims = new Ownership();
  private readonly node: string;
  private readonly events: KnowledgeEvents;
  /** By what is followed: why it may be old. */
  private readonly stale_ = new Map<string, string>();
  private readonly synced = new Set<string>();
  private readonly followed: readonly string[];
  private revision_ = 0;

  constructor(node: string, events: KnowledgeEvents) {
    this.node = node;
    this.events = events;
    this.followed = [...KINDS.map((kind) => kindPrefix(kind)), affinitiesPrefix(hostOwner(node))];
    this.resources.onChange((event) => {
      if (typeof event !== 'string') this.events.resources(event);
    });
  }

  /** Whether the whole picture was told once; stays true. */
  get complete(): boolean {
    return this.synced.size === this.followed.length;
  }

  get stale(): string | undefined {
    if (this.stale_.size > 0) return [...this.stale_.values()][0];
    return this.complete ? undefined : 'the first list is not complete';
  }

  get revision(): number | undefined {
    return this.revision_ === 0 ? undefined : this.revision_;
  }

  /** This node's own blocks, in order. */
  blocks(): Prefix[] {
    return [...this.claims.owned()].map(([cidr]) => cidr).sort(comparePrefixes);
  }

  /** Follows until aborted. */
  async run(store: Datastore, signal: AbortSignal): Promise<void> {
    await Promise.all(this.followed.map((prefix) => this.follow(store, prefix, signal)));
  }

  /** Reads once; throws what the datastore throws. */
  async read(store: Datastore): Promise<void> {
    for (const prefix of this.followed) {
      const { kvs, revision } = await store.list(prefix);
      for (const kv of kvs) this.apply(prefix, { type: 'put', kv });
      this.apply(prefix, { type: 'inSync', revision });
    }
  }

  private async follow(store: Datastore, prefix: string, signal: AbortSignal): Promise<void> {
    for await (const update of store.follow(prefix, signal)) this.apply(prefix, update);
  }

  private apply(prefix: string, update: Update): void {
    if (update.type === 'stale') {
      this.stale_.set(prefix, printable(update.reason, 500));
      if (this.stale_.size === 1) this.events.stale(this.stale);
      return;
    }
    if (update.type === 'inSync') {
      this.revision_ = Math.max(this.revision_, update.revision);
      if (this.stale_.delete(prefix) && this.stale_.size === 0) this.events.stale(undefined);
      if (this.synced.has(prefix)) return;
      this.synced.add(prefix);
      if (!this.complete) return;
      this.resources.apply(update);
      this.events.resources(undefined);
      this.events.blocks();
      return;
    }
    if (prefix !== this.followed.at(-1)) {
      this.resources.apply(update);
      return;
    }
    const before = this.blocks();
    this.claims.apply(update);
    if (this.complete && !Bun.deepEquals(before, this.blocks())) this.events.blocks();
  }

  /** Keys that cannot be used, and why. */
  oddities(): { readonly key: string; readonly reason: string }[] {
    return this.resources.broken.map(({ key, problems, kept }) => {
      const reason = problems.map(({ path, message }) => `${path} ${message}`.trim()).join('; ');
      return { key: printable(key), reason: printable(`${reason}${kept ? '; its last good form holds' : ''}`, 500) };
    });
  }

  /** This node's own resource. */
  get self() {
    return this.resources.get('Node', this.node);
  }
}
