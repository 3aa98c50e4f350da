/**
 * Interned byte strings: equal bytes under an equal tag have one id, kept while referenced. All bytes lie in one arena
 * and everything about them in flat arrays, so sixty thousand attribute sets are a dozen arrays and not as many objects.
 * References are counted by the caller (`refs`), who calls `free` when there are none left.
 */
import { longer32 } from './columns.ts';

export class BytePool {
  arena: Uint8Array;
  offsets: Uint32Array;
  lengths: Uint32Array;
  tags: Uint32Array;
  refs: Uint32Array;
  /** Ids in use are below this; 0 is never given out. */
  top = 1;
  size = 0;
  /** Whether the last `intern` made a new entry. */
  created = false;
  private hashes: Int32Array;
  private slots: Uint32Array;
  private arenaTop = 0;
  private garbage = 0;
  private nextFree = 0;

  /** With room for `entries` of some 64 bytes; it grows. A power of two. */
  constructor(entries = 64) {
    this.arena = new Uint8Array(entries * 64);
    this.slots = new Uint32Array(entries * 2);
    this.offsets = new Uint32Array(entries);
    this.lengths = new Uint32Array(entries);
    this.tags = new Uint32Array(entries);
    this.refs = new Uint32Array(entries);
    this.hashes = new Int32Array(entries);
  }

  get capacity(): number {
    return this.refs.length;
  }

  get bytes(): number {
    return this.arena.byteLength + this.slots.byteLength + this.capacity * 20;
  }

  /** The id of `source[start, end)` under `tag`; 0 when it is not there. */
  find(tag: number, source: Uint8Array, start: number, end: number): number {
    const h = hashBytes(tag, source, start, end);
    const slots = this.slots;
    const mask = slots.length - 1;
    for (let s = h & mask; ; s = (s + 1) & mask) {
      const id = slots[s]!;
      if (id === 0 || (this.hashes[id] === h && this.same(id, tag, source, start, end))) return id;
    }
  }

  /** As `find`, but makes an entry (with no references) when there is none; `created` tells. */
  intern(tag: number, source: Uint8Array, start: number, end: number): number {
    const h = hashBytes(tag, source, start, end);
    const slots = this.slots;
    const mask = slots.length - 1;
    let s = h & mask;
    for (;;) {
      const id = slots[s]!;
      if (id === 0) break;
      if (this.hashes[id] === h && this.same(id, tag, source, start, end)) {
        this.created = false;
        return id;
      }
      s = (s + 1) & mask;
    }
    this.created = true;
    let id = this.nextFree;
    if (id !== 0) this.nextFree = this.offsets[id]!;
    else {
      id = this.top++;
      if (id >= this.capacity) this.growEntries();
    }
    slots[s] = id;
    const length = end - start;
    if (this.arenaTop + length > this.arena.length) this.makeRoom(length);
    copy(source, start, end, this.arena, this.arenaTop);
    this.offsets[id] = this.arenaTop;
    this.lengths[id] = length;
    this.tags[id] = tag;
    this.hashes[id] = h;
    this.refs[id] = 0;
    this.arenaTop += length;
    if (++this.size * 2 > slots.length) this.rehash();
    return id;
  }

  free(id: number): void {
    const slots = this.slots;
    const mask = slots.length - 1;
    let hole = this.hashes[id]! & mask;
    while (slots[hole] !== id) hole = (hole + 1) & mask;
    for (let s = (hole + 1) & mask; slots[s] !== 0; s = (s + 1) & mask) {
      const home = this.hashes[slots[s]!]! & mask;
      if (((s - home) & mask) >= ((s - hole) & mask)) {
        slots[hole] = slots[s]!;
        hole = s;
      }
    }
    slots[hole] = 0;
    this.garbage += this.lengths[id]!;
    this.lengths[id] = 0;
    this.tags[id] = 0;
    this.offsets[id] = this.nextFree;
    this.nextFree = id;
    if (--this.size === 0) {
      this.top = 1;
      this.nextFree = 0;
      this.arenaTop = 0;
      this.garbage = 0;
    }
  }

  /** A view, valid until the next `intern`. */
  view(id: number): Uint8Array {
    const offset = this.offsets[id]!;
    return this.arena.subarray(offset, offset + this.lengths[id]!);
  }

  private same(id: number, tag: number, source: Uint8Array, start: number, end: number): boolean {
    const length = end - start;
    if (this.lengths[id] !== length || this.tags[id] !== tag) return false;
    const arena = this.arena;
    const offset = this.offsets[id]!;
    for (let i = 0; i < length; i++) if (arena[offset + i] !== source[start + i]) return false;
    return true;
  }

  private growEntries(): void {
    const capacity = this.capacity * 2;
    this.offsets = longer32(this.offsets, capacity);
    this.lengths = longer32(this.lengths, capacity);
    this.tags = longer32(this.tags, capacity);
    this.refs = longer32(this.refs, capacity);
    const hashes = new Int32Array(capacity);
    hashes.set(this.hashes);
    this.hashes = hashes;
  }

  private rehash(): void {
    const old = this.slots;
    const slots = new Uint32Array(old.length * 2);
    const mask = slots.length - 1;
    for (const id of old) {
      if (id === 0) continue;
      let s = this.hashes[id]! & mask;
      while (slots[s] !== 0) s = (s + 1) & mask;
      slots[s] = id;
    }
    this.slots = slots;
  }

  /** Moves what is live together, into a larger arena when garbage alone does not give the room. */
  private makeRoom(length: number): void {
    const live = this.arenaTop - this.garbage;
    const from = this.arena;
    const size = Math.max(4096, (live + length) * 3 < from.length * 2 ? from.length : (live + length) * 2);
    const arena = new Uint8Array(size);
    if (this.garbage === 0) arena.set(from.subarray(0, this.arenaTop));
    else {
      let top = 0;
      for (const id of this.slots) {
        if (id === 0) continue;
        const offset = this.offsets[id]!;
        copy(from, offset, offset + this.lengths[id]!, arena, top);
        this.offsets[id] = top;
        top += this.lengths[id]!;
      }
      this.arenaTop = top;
      this.garbage = 0;
    }
    this.arena = arena;
  }
}

/** Most sets are short: for them a loop is faster than making a view. */
function copy(source: Uint8Array, start: number, end: number, into: Uint8Array, at: number): void {
  if (end - start > 512) into.set(source.subarray(start, end), at);
  else for (let i = start; i < end; i++) into[at + i - start] = source[i]!;
}

function hashBytes(tag: number, source: Uint8Array, start: number, end: number): number {
  let h = Math.imul(tag ^ 0x811c9dc5, 0x01000193);
  for (let i = start; i < end; i++) h = Math.imul(h ^ source[i]!, 0x01000193);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return h ^ (h >>> 13);
}
