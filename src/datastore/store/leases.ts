/**
 * Leases: what keys hang on them, and when they run out. Time is given with each call, monotonic milliseconds. Pure.
 */
import type { Key } from './mvcc.ts';

export interface StoredLease {
  readonly id: string;
  /** Seconds. */
  readonly ttl: number;
  expiresAt: number;
  readonly keys: Set<Key>;
}

export class Leases {
  private readonly leases = new Map<string, StoredLease>();

  get(id: string): StoredLease | undefined {
    return this.leases.get(id);
  }

  all(): IterableIterator<StoredLease> {
    return this.leases.values();
  }

  add(id: string, ttl: number, now: number): StoredLease {
    const lease = { id, ttl, expiresAt: now + ttl * 1000, keys: new Set<Key>() };
    this.leases.set(id, lease);
    return lease;
  }

  remove(id: string): void {
    this.leases.delete(id);
  }

  /** Takes back a removal. */
  restore(lease: StoredLease): void {
    this.leases.set(lease.id, lease);
  }

  /** Moves a key from the lease it hung on ('0': none) to another. */
  move(key: Key, from: string, to: string): void {
    if (from === to) return;
    this.leases.get(from)?.keys.delete(key);
    this.leases.get(to)?.keys.add(key);
  }

  expired(now: number): StoredLease[] {
    return [...this.leases.values()].filter((lease) => lease.expiresAt <= now);
  }

  /** When the next lease runs out; undefined without leases. */
  nextExpiry(): number | undefined {
    let next: number | undefined;
    for (const { expiresAt } of this.leases.values()) if (next === undefined || expiresAt < next) next = expiresAt;
    return next;
  }

  /** Gives every lease its full time from now: the store was stopped, and nobody could renew. */
  refresh(now: number): void {
    for (const lease of this.leases.values()) lease.expiresAt = now + lease.ttl * 1000;
  }
}
