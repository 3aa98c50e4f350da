/**
 * An update group: neighbours to whom the same routes are announced in the same words. It has one Adj-RIB-Out, and every
 * UPDATE is encoded once into a stream that all members read at their own pace.
 *
 * A member that is not in step with the stream (it joined late, asked for a refresh, or reads too slowly) is `lagging`:
 * it has a set of prefixes it must still be told, one bit each, and gets updates encoded for it alone from the group's
 * Adj-RIB-Out until the set is empty; then it reads the stream like the others. So a neighbour that reads nothing costs a
 * bit per prefix, and neither memory nor the others' time.
 */
import { UpdateView } from '../wire/mod.ts';
import type { PrefixBuffer, SessionContext } from '../wire/mod.ts';
import { Composer } from './composer.ts';
import { DirtySet } from './dirty.ts';
import { Member, newLag } from './member.ts';
import type { OutTable } from './outtable.ts';
import { UpdateStream } from './stream.ts';
import type { BestConsumer, IndexHolder, FamilyTable } from './table.ts';

export class UpdateGroup implements BestConsumer, IndexHolder {
  readonly key: string;
  readonly table: FamilyTable;
  readonly out: OutTable;
  readonly dirty = new DirtySet();
  readonly allPaths = false;
  readonly members = new Map<number, Member>();
  private readonly lagging = new Set<Member>();
  readonly stream = new UpdateStream();
  /** A member that is further behind than this is taken out of step, and nobody is written for beyond it. */
  private readonly limit: number;
  /** For reading back what was written. */
  readonly context: SessionContext;
  private readonly composer: Composer;

  constructor(key: string, table: FamilyTable, out: OutTable, context: SessionContext, limit: number) {
    this.key = key;
    this.table = table;
    this.out = out;
    this.limit = limit;
    this.context = { ...context, addPathReceive: new Set() };
    this.composer = new Composer(table, out, context.extendedMessages ? 65535 : 4096);
    out.onChange = (index) => this.lagged(index);
    table.holders.add(this);
    if (!out.rules) return; // nothing is announced here, ever
    table.consumers.add(this);
    this.again();
  }

  sift(indexes: Uint32Array, count: number, needed: DirtySet): number {
    const { dirty, out, lagging } = this;
    if (dirty.size === 0 && out.size === 0 && lagging.size === 0) return count;
    let free = 0;
    for (let i = 0; i < count; i++) {
      const index = indexes[i]!;
      let needs = dirty.has(index) || out.get(index) !== 0;
      if (lagging.size > 0) for (const member of lagging) needs ||= member.lag!.dirty.has(index);
      if (needs) needed.add(index);
      else indexes[free++] = index;
    }
    return free;
  }

  forget(indexes: Uint32Array, count: number): void {
    for (const { lag } of this.lagging) for (let i = 0; i < count; i++) lag!.held.delete(indexes[i]!);
  }

  // ------------------------------------------------------------------------------------------------------- members

  /**
   * A new member. It is told everything that is announced now; `held` are prefixes it was told by the group it was in
   * before, to be announced again or withdrawn.
   */
  join(peer: number, held?: DirtySet): Member {
    const member = new Member(peer);
    this.members.set(peer, member);
    member.lag = newLag(held);
    this.lagging.add(member);
    this.resend(member);
    if (held) for (let i = 1; i < this.table.prefixes.top; i++) if (held.has(i)) member.lag.dirty.add(i);
    if (member.lag.dirty.size === 0) this.inStep(member);
    return member;
  }

  leave(peer: number): void {
    this.lagging.delete(this.members.get(peer)!);
    this.members.delete(peer);
  }

  /** Everything is to be exported anew, as after a change of what the rules refer to. */
  again(): void {
    this.out.again();
    this.table.markAll(this.dirty);
    this.out.forEach(this.table.prefixes.top, (index) => void this.dirty.add(index));
    if (this.out.defaultIndex !== 0) this.dirty.add(this.out.defaultIndex);
  }

  close(): void {
    this.table.consumers.delete(this);
    this.table.holders.delete(this);
    this.out.clear();
  }

  /** Everything announced is to be sent to this member again. */
  resend(member: Member): void {
    this.fallBehind(member);
    const { dirty } = member.lag!;
    this.out.forEach(this.table.prefixes.top, (index) => void dirty.add(index));
  }

  /** Prefixes the member has heard of, for when it changes groups. */
  heldBy(member: Member): DirtySet {
    this.fallBehind(member);
    return member.lag!.held;
  }

  /** From reading the stream to a set of prefixes: those in what it has not read yet. */
  private fallBehind(member: Member): void {
    if (member.lag) return;
    const lag = newLag();
    const { table, out } = this;
    out.forEach(table.prefixes.top, (index) => {
      if (out.source(out.get(index)) !== member.peer) lag.held.add(index);
    });
    const view = new UpdateView();
    const mark = (buffer: PrefixBuffer): void => {
      const { words, lengths } = buffer;
      for (let i = 0; i < buffer.count; i++) {
        const index = table.insertIndex((p) =>
          p.words === 1
            ? p.insert(words[i]!, 0, 0, 0, lengths[i]!)
            : p.insert(words[4 * i]!, words[4 * i + 1]!, words[4 * i + 2]!, words[4 * i + 3]!, lengths[i]!),
        );
        lag.dirty.add(index);
        lag.held.add(index);
      }
    };
    for (let bytes = member.reader?.next(); bytes; bytes = member.reader?.next()) {
      for (let at = 0; at < bytes.length;) {
        const end = at + ((bytes[at + 16]! << 8) | bytes[at + 17]!);
        const fault = view.decode(bytes, at, end, this.context);
        if (fault) throw new Error(`cannot read back an UPDATE of ours: ${fault.reason}`);
        for (const buffer of [view.withdrawn, view.mpWithdrawn, view.nlri, view.mpNlri]) mark(buffer);
        at = end;
      }
    }
    member.reader = undefined;
    member.lag = lag;
    this.lagging.add(member);
  }

  /** It has been told everything there is: from here on it reads the stream. */
  private inStep(member: Member): void {
    member.lag = undefined;
    this.lagging.delete(member);
    member.reader = this.stream.reader(member.peer);
  }

  private lagged(index: number): void {
    for (const member of this.lagging) member.lag?.dirty.add(index);
  }

  // -------------------------------------------------------------------------------------------------------- export

  /** Whether the fastest reader has so much to read already that encoding more would only fill memory. */
  get blocked(): boolean {
    for (const { lag } of this.lagging) if (lag!.waiting.size > 0) return false;
    let readers = 0;
    for (const { reader } of this.members.values()) {
      if (!reader) continue;
      readers++;
      if (reader.behind < this.limit) return false;
    }
    return readers > 0;
  }

  /** Brings the Adj-RIB-Out up to date for one batch of prefixes and writes what changed to the stream. */
  export(): void {
    const { members, lagging, composer } = this;
    this.out.reserve();
    // what lagging members wait for is looked at (or found to wait on): they ask again
    for (const { lag } of lagging) lag!.waiting.moveTo(lag!.dirty);
    if (lagging.size === members.size) {
      composer.record(this.dirty);
      return;
    }
    const piece = composer.compose(this.dirty, members, lagging.size > 0);
    if (!piece) return;
    this.stream.append(piece.bytes, piece.parts);
    for (const member of members.values()) {
      if (member.reader && member.reader.behind > 2 * this.limit) this.fallBehind(member);
    }
  }

  // -------------------------------------------------------------------------------------------------------- output

  /** The next bytes for this member, whole messages; undefined when there are none now. */
  pull(member: Member, quiet: boolean, maxBytes: number): Uint8Array | undefined {
    if (member.before) {
      const mark = member.before;
      member.before = undefined;
      return mark;
    }
    while (member.lag) {
      if (member.lag.dirty.size > 0) {
        const bytes = this.composer.catchUp(member.peer, member.lag, this.dirty);
        if (bytes) return bytes;
        continue;
      }
      if (member.lag.waiting.size > 0) return undefined;
      this.inStep(member);
    }
    const bytes = member.reader?.next(maxBytes);
    if (bytes) return bytes;
    if (member.after) {
      const mark = member.after;
      member.after = undefined;
      return mark;
    }
    if (member.endOfRib && quiet && this.dirty.size === 0) {
      member.endOfRib = false;
      return this.composer.endOfRib();
    }
    return undefined;
  }

  /** Whether `pull` would give something. */
  hasOutput(member: Member, quiet: boolean): boolean {
    if (member.before ?? member.after) return true;
    if (member.lag) return member.lag.dirty.size > 0 || (member.endOfRib && quiet && this.dirty.size === 0);
    return member.reader!.behind > 0 || (member.endOfRib && quiet && this.dirty.size === 0);
  }
}
