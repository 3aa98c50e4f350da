/**
 * Paths: who announces a prefix with which attributes. All paths of a prefix form a singly linked list through `next`,
 * beginning at the prefix's `head`. A path costs 16 bytes.
 */
export class PathPool {
  peer = new Uint16Array(64);
  stale = new Uint8Array(64);
  /** Attribute set as received. */
  received = new Uint32Array(64);
  /** Attribute set after the import policy; 0 when the path was refused. The same as `received` when nothing changed. */
  accepted = new Uint32Array(64);
  next = new Uint32Array(64);
  size = 0;
  private top = 1;
  private nextFree = 0;

  alloc(): number {
    this.size++;
    const path = this.nextFree;
    if (path !== 0) {
      this.nextFree = this.next[path]!;
      return path;
    }
    if (this.top >= this.next.length) this.grow();
    return this.top++;
  }

  release(path: number): void {
    this.next[path] = this.nextFree;
    this.nextFree = path;
    if (--this.size === 0) {
      this.top = 1;
      this.nextFree = 0;
    }
  }

  get bytes(): number {
    return this.next.length * 15;
  }

  private grow(): void {
    const capacity = this.next.length * 2;
    const grow = (old: Uint32Array): Uint32Array => {
      const grown = new Uint32Array(capacity);
      grown.set(old);
      return grown;
    };
    this.received = grow(this.received);
    this.accepted = grow(this.accepted);
    this.next = grow(this.next);
    const peer = new Uint16Array(capacity);
    peer.set(this.peer);
    this.peer = peer;
    const stale = new Uint8Array(capacity);
    stale.set(this.stale);
    this.stale = stale;
  }
}
