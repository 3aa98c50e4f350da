/**
 * What the datastore says that this node needs, and no more: resources of the cluster, and the claims of this node itself.
 * What other nodes own comes by BGP, so a pod that starts elsewhere makes no work here. What was told before still holds
 * while the datastore is out of reach; at a start without it, what was told to the agent's earlier life. That is enough to
 * forward by, and never a reason to take anything away: `live` says whether the datastore itself has told everything.
 */
import { printable } from '../../base/mod.ts';
import type { CopiedUpdate, Datastore } from '../../datastore/mod.ts';
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
  /** Resources changed, or the whole picture is complete for the first time, from the copy or from the datastore. */
  resources(change: ResourceChange | undefined): void;
  /** This node's own blocks changed. */
  blocks(): void;
  /**
   * The datastore does not answer this start: the picture is as it was at this time. Gives the blocks that an earlier life
   * had in the kernel, which may be more than the copy knows of.
   */
  copied(at: Date): readonly Prefix[];
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
  /** Told from the copy. */
  private readonly copied = new Set<string>();
  private copiedAt = 0;
  private inherited: readonly Prefix[] = [];
  readonly followed: readonly string[];
  private revision_ = 0;

  constructor(node: string, events: KnowledgeEvents) {
    this.node = node;
    this.events = events;
    this.followed = [...KINDS.map((kind) => kindPrefix(kind)), affinitiesPrefix(hostOwner(node))];
    this.resources.onChange((event) => {
      if (typeof event !== 'string') this.events.resources(event);
    });
  }

  /** Whether a whole picture was told once, be it an old one; stays true. */
  get complete(): boolean {
    return this.followed.every((prefix) => this.synced.has(prefix) || this.copied.has(prefix));
  }

  /** Whether the datastore has told the whole picture in this agent's life; stays true. */
  get live(): boolean {
    return this.resources.inSync;
  }

  /** While the picture is not the datastore's own: when it was. */
  get copyOf(): Date | undefined {
    return this.complete && !this.live ? new Date(this.copiedAt) : undefined;
  }

  get stale(): string | undefined {
    if (this.stale_.size > 0) return [...this.stale_.values()][0];
    return this.live ? undefined : 'the first list is not complete';
  }

  get revision(): number | undefined {
    return this.revision_ === 0 ? undefined : this.revision_;
  }

  /** This node's own blocks, in order. */
  blocks(): Prefix[] {
    const claimed = [...this.claims.owned()].map(([cidr]) => cidr);
    return [...new Set(this.live ? claimed : [...claimed, ...this.inherited])].sort(comparePrefixes);
  }

  /** Takes what is followed, for ever. */
  async run(follow: (prefix: string) => AsyncIterable<CopiedUpdate>): Promise<void> {
    await Promise.all(
      this.followed.map(async (prefix) => {
        for await (const update of follow(prefix)) this.apply(prefix, update);
      }),
    );
  }

  /** Reads once; throws what the datastore throws. */
  async read(store: Datastore): Promise<void> {
    for (const prefix of this.followed) {
      const { kvs, revision } = await store.list(prefix);
      for (const kv of kvs) this.apply(prefix, { type: 'put', kv });
      this.apply(prefix, { type: 'inSync', revision });
    }
  }

  private apply(prefix: string, update: CopiedUpdate): void {
    if (update.type === 'stale') {
      this.stale_.set(prefix, printable(update.reason, 500));
      if (this.stale_.size === 1) this.events.stale(this.stale);
      return;
    }
    if (update.type === 'copy') {
      this.copied.add(prefix);
      this.copiedAt = update.at;
      if (!this.complete) return;
      this.inherited = this.events.copied(new Date(update.at));
      this.tellAll();
      return;
    }
    if (update.type === 'inSync') {
      this.revision_ = Math.max(this.revision_, update.revision);
      if (this.stale_.delete(prefix) && this.stale_.size === 0) this.events.stale(undefined);
      if (this.synced.has(prefix)) return;
      const before = this.complete;
      this.synced.add(prefix);
      const live = this.synced.size === this.followed.length;
      if (live) this.resources.apply(update);
      if (live || (this.complete && !before)) this.tellAll();
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

  private tellAll(): void {
    this.events.resources(undefined);
    this.events.blocks();
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
