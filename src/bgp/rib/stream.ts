/**
 * The encoded updates of one group, each written once and read by every member at its own pace. A chain of chunks: the
 * group appends at the tail, a member holds the chunk it is in, and what all members have passed is garbage by itself.
 * Parts of a chunk may be for everyone but one member (who is where the routes came from) or for one member only.
 */

/** A part of a chunk that not everyone gets. Parts are in ascending order and do not overlap. */
export interface Part {
  readonly start: number;
  readonly end: number;
  /** Not for this peer; 0 for none. */
  readonly except: number;
  /** For this peer only; 0 for no such limit. */
  readonly only: number;
}

export interface Chunk {
  readonly bytes: Uint8Array;
  readonly parts: readonly Part[];
  /** Place of its first byte in the whole stream. */
  readonly start: number;
  next: Chunk | undefined;
}

export class UpdateStream {
  tail: Chunk = { bytes: new Uint8Array(0), parts: [], start: 0, next: undefined };

  get end(): number {
    return this.tail.start + this.tail.bytes.length;
  }

  append(bytes: Uint8Array, parts: readonly Part[]): void {
    const chunk: Chunk = { bytes, parts, start: this.end, next: undefined };
    this.tail.next = chunk;
    this.tail = chunk;
  }

  reader(peer: number): StreamReader {
    return new StreamReader(this, peer);
  }
}

export class StreamReader {
  private readonly stream: UpdateStream;
  private readonly peer: number;
  private chunk: Chunk;
  private offset: number;
  private part = 0;

  /** Begins at the end of what there is. */
  constructor(stream: UpdateStream, peer: number) {
    this.stream = stream;
    this.peer = peer;
    this.chunk = stream.tail;
    this.offset = this.chunk.bytes.length;
    this.part = this.chunk.parts.length;
  }

  /** Bytes between here and the end. */
  get behind(): number {
    return this.stream.end - this.chunk.start - this.offset;
  }

  /** The next run of whole messages for this peer, about `maxBytes`, without copying; undefined at the end. */
  next(maxBytes = Number.MAX_SAFE_INTEGER): Uint8Array | undefined {
    for (;;) {
      const { bytes, parts } = this.chunk;
      while (this.offset < bytes.length) {
        const start = this.offset;
        let end = bytes.length;
        while (this.part < parts.length) {
          const part = parts[this.part]!;
          if (part.except !== this.peer && (part.only === 0 || part.only === this.peer)) {
            this.part++;
            continue;
          }
          end = part.start;
          break;
        }
        if (end > start) {
          if (end - start > maxBytes) end = cut(bytes, start, start + maxBytes);
          this.offset = end;
          return start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end);
        }
        // at a part that is not for this peer
        this.offset = parts[this.part]!.end;
        this.part++;
      }
      if (!this.chunk.next) return undefined;
      this.chunk = this.chunk.next;
      this.offset = 0;
      this.part = 0;
    }
  }
}

/** The end of the last message that ends before `limit`, or of the first. */
function cut(bytes: Uint8Array, start: number, limit: number): number {
  let at = start;
  do {
    const next = at + ((bytes[at + 16]! << 8) | bytes[at + 17]!);
    if (at > start && next > limit) break;
    at = next;
  } while (at < limit);
  return at;
}
