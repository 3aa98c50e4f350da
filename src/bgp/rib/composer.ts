/**
 * From changes of the Adj-RIB-Out to UPDATEs: prefixes with the same fate (announced with the same attributes, withdrawn from
 * the same members) are packed into the same messages, once for a whole update group or for one member that lags behind.
 */
import { UpdateWriter } from '../wire/mod.ts';
import type { EncodedAttributes } from '../wire/mod.ts';
import type { DirtySet } from './dirty.ts';
import type { Lag } from './member.ts';
import type { OutTable } from './outtable.ts';
import type { Part } from './stream.ts';
import type { FamilyTable } from './table.ts';

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

/** Who reads along, by peer. */
type Members = ReadonlyMap<number, unknown>;

/** Whole messages, and which of them are not for everyone. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly parts: readonly Part[];
}

export class Composer {
  private readonly table: FamilyTable;
  private readonly out: OutTable;
  private readonly writer: UpdateWriter;

  constructor(table: FamilyTable, out: OutTable, maxMessage: number) {
    this.table = table;
    this.out = out;
    this.writer = writerFor(maxMessage);
  }

  /** Brings the Adj-RIB-Out up to date for one batch of prefixes, with nothing to be written. */
  record(dirty: DirtySet): void {
    const { out, table } = this;
    const n = dirty.take(batch);
    for (let i = 0; i < n; i++) out.update(batch[i]!, table.best[batch[i]!]!);
  }

  /** The same, and gives the messages that tell `members` what changed. `tell`: somebody follows the changes of the table. */
  compose(dirty: DirtySet, members: Members, tell: boolean): Piece | undefined {
    const { out, table } = this;
    const n = dirty.take(batch);
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
      out.set(index, now, tell);
    }
    return this.write(announced, withdrawn, own, members);
  }

  private write(
    announced: number[],
    withdrawn: Map<number, number>,
    own: Map<number, number[]>,
    members: Members,
  ): Piece | undefined {
    const { writer, out } = this;
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
    const bytes = this.take();
    return bytes && { bytes, parts };
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

  /**
   * For one lagging member alone: what a batch of its prefixes looks like in the Adj-RIB-Out now. `dirty`: those that the
   * Adj-RIB-Out is not up to date about.
   */
  catchUp(peer: number, lag: Lag, dirty: DirtySet): Uint8Array | undefined {
    const { out, writer } = this;
    const n = lag.dirty.take(lagBatch);
    const announced: number[] = [];
    let withdraws = 0;
    for (let i = n - 1; i >= 0; i--) {
      const index = batch[i]!;
      const id = out.get(index);
      if (id === 0 || out.source(id) === peer) {
        if (id === 0 && dirty.has(index) && lag.held.has(index)) {
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
    return this.take();
  }

  endOfRib(): Uint8Array {
    this.writer.endOfRib(this.out.afiSafi);
    return this.take()!;
  }

  /** What was written since the last time. */
  private take(): Uint8Array | undefined {
    const { out } = this.writer;
    const bytes = out.length > 0 ? out.copy() : undefined;
    out.reset();
    return bytes;
  }
}
