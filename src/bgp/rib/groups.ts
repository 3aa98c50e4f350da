/** The update groups there are, and which of them each neighbour is in. */
import type { Family } from '../../net/mod.ts';
import { UpdateGroup } from './group.ts';
import { afiSafiOf } from './outbound.ts';
import type { RouteOrigin } from './outbound.ts';
import { OutTable } from './outtable.ts';
import { exportRules } from './peers.ts';
import type { Peer } from './peers.ts';
import type { AttributeSets } from './sets.ts';
import type { FamilyTable } from './table.ts';
import type { RibOptions, RoutePolicy } from './types.ts';

/** Bytes that the fastest member of a group may have unread before its group stops encoding. */
const defaultStreamLimit = 4 << 20;

export class UpdateGroups {
  private readonly options: RibOptions;
  private readonly clusterId: number;
  private readonly tables: { readonly [F in Family]: FamilyTable };
  private readonly sets: AttributeSets;
  private readonly originOf: (id: number) => RouteOrigin;
  private readonly groups = new Map<string, UpdateGroup>();
  private readonly policyIds = new WeakMap<RoutePolicy, number>();
  private lastPolicyId = 0;

  constructor(
    options: RibOptions,
    clusterId: number,
    tables: { readonly [F in Family]: FamilyTable },
    sets: AttributeSets,
    peerOf: (id: number) => Peer | undefined,
  ) {
    this.options = options;
    this.clusterId = clusterId;
    this.tables = tables;
    this.sets = sets;
    const ours: RouteOrigin = { kind: 'local', reflectorClient: false, routerId: options.routerId, from: undefined };
    this.originOf = (id) => peerOf(id)?.source ?? ours;
  }

  get size(): number {
    return this.groups.size;
  }

  all(): Iterable<UpdateGroup> {
    return this.groups.values();
  }

  /** The others come first from now on. */
  toEnd(group: UpdateGroup): void {
    this.groups.delete(group.key);
    this.groups.set(group.key, group);
  }

  /** Puts the peer into the group that its settings and session ask for; false when it is there or has no session. */
  place(peer: Peer, family: Family): boolean {
    const { session } = peer;
    if (!session?.context.families.has(afiSafiOf(family))) return false;
    const rules = exportRules(peer, family, this.options.localAs, this.clusterId);
    const limit = peer.config.families[family]?.maxPrefixOut;
    const key = this.key({ family, rules, limit, context: session.context });
    const old = peer.out[family];
    if (old?.group.key === key) return false;
    let group = this.groups.get(key);
    if (!group) {
      const table = this.tables[family];
      const maxMessage = session.context.extendedMessages ? 65535 : 4096;
      const out = new OutTable(table, this.sets, rules, maxMessage, this.originOf);
      group = new UpdateGroup(key, table, out, session.context, this.options.streamLimit ?? defaultStreamLimit);
      this.groups.set(key, group);
    }
    const held = old?.group.heldBy(old.member);
    this.leave(peer, family);
    const member = group.join(peer.id, held);
    if (old) member.endOfRib = old.member.endOfRib;
    peer.out[family] = { group, member };
    return true;
  }

  leave(peer: Peer, family: Family): void {
    const out = peer.out[family];
    if (!out) return;
    out.group.leave(peer.id);
    if (out.group.members.size === 0) {
      out.group.close();
      this.groups.delete(out.group.key);
    }
    delete peer.out[family];
  }

  /** Everything that was made of attribute sets for export is to be made again. */
  again(): void {
    for (const group of this.groups.values()) group.again();
  }

  /** Equal for neighbours to whom the same is announced; policies are told apart by identity. */
  private key(what: object): string {
    return JSON.stringify(what, (name, value: unknown) => {
      if (name === 'policy' && value) {
        const policy = value as RoutePolicy;
        let id = this.policyIds.get(policy);
        if (id === undefined) this.policyIds.set(policy, (id = ++this.lastPolicyId));
        return id;
      }
      if (value instanceof Set) return [...(value as Set<number>)].sort((a, b) => a - b);
      return value instanceof Uint8Array ? [...value] : value;
    });
  }
}
