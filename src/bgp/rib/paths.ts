/**
 * Paths: who announces a prefix with which attributes. All paths of a prefix form a singly linked list through `next`,
 * beginning at the prefix's `head`. A path costs 15 bytes.
 */
import { longer16, longer32, longer8 } from './columns.ts';

export class PathPool {
  peer = new Uint16Array(16384);
  stale = new Uint8Array(16384);
  /** Attribute set as received. */
  received = new Uint32Array(16384);
  /** Attribute set after the import policy; 0 when the path was refused. The same as `received` when nothing changed. */
  accepted = new Uint32Array(16384);
  next = new Uint32Array(16384);
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
    this.received = longer32(this.received, capacity);
    this.accepted = longer32(this.accepted, capacity);
    this.next = longer32(this.next, capacity);
    this.peer = longer16(this.peer, capacity);
    this.stale = longer8(this.stale, capacity);
  }
}
