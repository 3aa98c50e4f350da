/**
 * Paths: who announces a prefix with which attributes. All paths of a prefix form a singly linked list through `next`,
 * beginning at the prefix's `head`. A path costs 15 bytes.
 */
import { longer16, longer32, longer8 } from './columns.ts';

export class PathPool {
  peer: Uint16Array;
  stale: Uint8Array;
  /** Attribute set as received. */
  received: Uint32Array;
  /** Attribute set after the import policy; 0 when the path was refused. The same as `received` when nothing changed. */
  accepted: Uint32Array;
  next: Uint32Array;
  size = 0;
  private top = 1;
  private nextFree = 0;

  constructor(capacity: number) {
    this.peer = new Uint16Array(capacity);
    this.stale = new Uint8Array(capacity);
    this.received = new Uint32Array(capacity);
    this.accepted = new Uint32Array(capacity);
    this.next = new Uint32Array(capacity);
  }

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
