/**
 * An update group: neighbours to whom the same routes are announced in the same words. It has one Adj-RIB-Out, and every
 * UPDATE is encoded once into a stream that all members read at their own pace.
 *
 * A member that is not in step with the stream (it joined late, asked for a refresh, or reads too slowly) is `lagging`:
 * it has a set of prefixes it must still be told, one bit each, and gets updates encoded for it alone from the group's
 * Adj-RIB-Out until the set is empty; then it reads the stream like the others. So a neighbour that reads nothing costs a
 * bit per prefix, and neither memory nor the others' time.
 */
import { UpdateView, UpdateWriter } from '../wire/mod.ts';
import type { EncodedAttributes, PrefixBuffer, SessionContext } from '../wire/mod.ts';
import { DirtySet } from './dirty.ts';
import type { OutTable } from './outtable.ts';
import { UpdateStream } from './stream.ts';
import type { Part, StreamReader } from './stream.ts';
import type { BestConsumer, IndexHolder, FamilyTable } from './table.ts';

const batchSize = 65536;
const lagBatchSize = 8192;
// Scratch that all groups share, as only one of them is at work at a time: there may be a group for each neighbour.
/** The prefixes that are being exported. */
const batch = new Uint32Array(batchSize);
const lagBatch = batch.subarray(0, lagBatchSize);
/** For each place in the batch, the next with the same fate: lists that begin in `OutTable.heads`. */
const chain = new Uint32Array(batchSize);
const writers = new Map<number, UpdateWriter>();

function writerFor(maxLength: number): UpdateWriter {
  let writer = writers.get(maxLength);
  if (!writer) writers.set(maxLength, (writer = new UpdateWriter(maxLength)));
  return writer;
}

/** There may be a thousand lagging members in a small network: their sets begin small. */
const lagCapacity = 2048;

export interface Lag {
  /** Prefixes it must be told of. */
  readonly dirty: DirtySet;
  /** Prefixes it may believe to have from us: withdraws of others need not be sent. */
  readonly held: DirtySet;
  /** Held, and not announced by this group because it has yet to look at them: only then are they withdrawn. */
  readonly waiting: DirtySet;
}

const newLag = (held = new DirtySet(lagCapacity)): Lag => ({
  dirty: new DirtySet(lagCapacity),
  held,
  waiting: new DirtySet(lagCapacity),
});

export class Member {
  readonly peer: number;
  reader: StreamReader | undefined;
  lag: Lag | undefined;
  /** Owes the neighbour an End-of-RIB once it is in step. */
  endOfRib = true;
  /** Messages to send before the next update and when the lag is worked off: the marks of RFC 7313. */
  before: Uint8Array | undefined;
  after: Uint8Array | undefined;
  /** `outputReady` was told and not everything was pulled since. */
  signalled = false;

  constructor(peer: number) {
    this.peer = peer;
  }
}

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
  private readonly writer: UpdateWriter;

  constructor(key: string, table: FamilyTable, out: OutTable, context: SessionContext, limit: number) {
    this.key = key;
    this.table = table;
    this.out = out;
    this.limit = limit;
    this.context = { ...context, addPathReceive: new Set() };
    this.writer = writerFor(context.extendedMessages ? 65535 : 4096);
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
    const { out, table, members } = this;
    out.reserve();
    this.endWaits();
    const n = this.dirty.take(batch);
    if (this.lagging.size === members.size) {
      for (let i = 0; i < n; i++) out.update(batch[i]!, table.best[batch[i]!]!);
      return;
    }
    // lists through `chain`, one for each attribute set announced (`announced`), withdrawn from everyone or from all but
    // the one whom it came from (`withdrawn`), and withdrawn from one because its own path is now the best (`own`)
    const announced: number[] = [];
    const withdrawn = new Map<number, number>();
    const own = new Map<number, number[]>();
    const { best } = table;
    for (let i = n - 1; i >= 0; i--) {
      const index = batch[i]!;
      const old = out.get(index);
      const now = out.choose(index, best[index]!);
      if (old === now) continue;
      const oldSource = old === 0 ? 0 : out.source(old);
      if (now === 0) {
        const except = oldSource !== 0 && members.has(oldSource) ? oldSource : 0;
        chain[i] = withdrawn.get(except) ?? 0;
        withdrawn.set(except, i + 1);
      } else {
        const source = out.source(now);
        if (old !== 0 && source !== oldSource && members.has(source)) {
          const list = own.get(source);
          if (list) list.push(index);
          else own.set(source, [index]);
        }
        const head = out.heads[now]!;
        if (head === 0) announced.push(now);
        chain[i] = head;
        out.heads[now] = i + 1;
      }
      out.set(index, now, this.lagging.size > 0);
    }
    this.write(announced, withdrawn, own);
  }

  /** What lagging members wait for is looked at (or found to wait on): they ask again. */
  private endWaits(): void {
    for (const { lag } of this.lagging) {
      while (lag!.waiting.size > 0) {
        const n = lag!.waiting.take(chain);
        for (let i = 0; i < n; i++) lag!.dirty.add(chain[i]!);
      }
    }
  }

  private write(announced: number[], withdrawn: Map<number, number>, own: Map<number, number[]>): void {
    const { writer, out, members } = this;
    const heads = out.heads;
    const parts: Part[] = [];
    const { afiSafi } = out;
    for (const [except, head] of withdrawn) {
      const start = writer.out.length;
      writer.withdraw(afiSafi);
      for (let i = head; i !== 0; i = chain[i - 1]!) this.add(batch[i - 1]!);
      writer.finish();
      if (except !== 0) parts.push({ start, end: writer.out.length, except, only: 0 });
    }
    for (const [only, list] of own) {
      const start = writer.out.length;
      writer.withdraw(afiSafi);
      for (const index of list) this.add(index);
      writer.finish();
      parts.push({ start, end: writer.out.length, except: 0, only });
    }
    for (let k = announced.length - 1; k >= 0; k--) {
      const id = announced[k]!;
      const source = out.source(id);
      const start = writer.out.length;
      this.begin(out.encoded(id));
      if (out.family === 4) {
        const { keys, lengths } = this.table.prefixes;
        for (let i = heads[id]!; i !== 0; i = chain[i - 1]!) {
          const index = batch[i - 1]!;
          writer.add4(keys[index]!, lengths[index]!);
        }
      } else for (let i = heads[id]!; i !== 0; i = chain[i - 1]!) this.add(batch[i - 1]!);
      heads[id] = 0;
      writer.finish();
      if (source !== 0 && members.has(source)) {
        const last = parts.at(-1);
        if (last && last.end === start && last.except === source && last.only === 0) {
          parts[parts.length - 1] = { start: last.start, end: writer.out.length, except: source, only: 0 };
        } else parts.push({ start, end: writer.out.length, except: source, only: 0 });
      }
    }
    if (writer.out.length === 0) return;
    this.stream.append(writer.out.copy(), parts);
    writer.out.reset();
    for (const member of members.values()) {
      if (member.reader && member.reader.behind > 2 * this.limit) this.fallBehind(member);
    }
  }

  private begin(encoded: EncodedAttributes): void {
    if (!this.writer.announce(encoded)) throw new Error('attributes that do not fit a message passed the size check');
  }

  private add(index: number): void {
    const { keys, lengths, words } = this.table.prefixes;
    if (words === 1) this.writer.add4(keys[index]!, lengths[index]!);
    else {
      const at = 4 * index;
      this.writer.add6(keys[at]!, keys[at + 1]!, keys[at + 2]!, keys[at + 3]!, lengths[index]!);
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
        const bytes = this.catchUp(member.peer, member.lag);
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
      this.writer.endOfRib(this.out.afiSafi);
      const mark = this.writer.out.copy();
      this.writer.out.reset();
      return mark;
    }
    return undefined;
  }

  /** Whether `pull` would give something. */
  hasOutput(member: Member, quiet: boolean): boolean {
    if (member.before ?? member.after) return true;
    if (member.lag) return member.lag.dirty.size > 0 || (member.endOfRib && quiet && this.dirty.size === 0);
    return member.reader!.behind > 0 || (member.endOfRib && quiet && this.dirty.size === 0);
  }

  /** Encodes for one lagging member what a batch of its prefixes looks like in the Adj-RIB-Out now. */
  private catchUp(peer: number, lag: Lag): Uint8Array | undefined {
    const { out, writer } = this;
    const n = lag.dirty.take(lagBatch);
    const announced: number[] = [];
    let withdraws = 0;
    for (let i = n - 1; i >= 0; i--) {
      const index = batch[i]!;
      const id = out.get(index);
      if (id === 0 || out.source(id) === peer) {
        if (id === 0 && this.dirty.has(index) && lag.held.has(index)) {
          lag.waiting.add(index);
          continue;
        }
        if (!lag.held.delete(index)) continue;
        chain[i] = withdraws;
        withdraws = i + 1;
        continue;
      }
      lag.held.add(index);
      const head = out.heads[id]!;
      if (head === 0) announced.push(id);
      chain[i] = head;
      out.heads[id] = i + 1;
    }
    if (withdraws !== 0) {
      writer.withdraw(out.afiSafi);
      for (let i = withdraws; i !== 0; i = chain[i - 1]!) this.add(batch[i - 1]!);
    }
    for (let k = announced.length - 1; k >= 0; k--) {
      const id = announced[k]!;
      this.begin(out.encoded(id));
      for (let i = out.heads[id]!; i !== 0; i = chain[i - 1]!) this.add(batch[i - 1]!);
      out.heads[id] = 0;
    }
    writer.finish();
    const bytes = writer.out.length > 0 ? writer.out.copy() : undefined;
    writer.out.reset();
    return bytes;
  }
}
