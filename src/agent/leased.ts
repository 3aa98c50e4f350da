/** Work that is this node's as long as it lives: keys under a lease, and turns that only one node has at a time. */
import { Backoff, messageOf, sleep } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { DatastoreError } from '../datastore/mod.ts';
import type { Datastore, LeaseId } from '../datastore/mod.ts';

const JITTER_MS = 1_000;

export interface LeasedOptions {
  readonly store: Datastore;
  readonly seconds: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Runs `work` under a lease that is kept, and anew under another one when that is lost, until aborted. The lease is left to
 * run out: whoever starts again soon was never away.
 */
export async function underLease(
  { store, seconds, clock, log }: LeasedOptions,
  signal: AbortSignal,
  work: (lease: LeaseId, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const backoff = new Backoff(500, 15_000);
  let told = '';
  while (!signal.aborted) {
    const stop = new AbortController();
    const until = AbortSignal.any([signal, stop.signal]);
    try {
      const { id } = await store.grantLease(seconds);
      backoff.reset();
      told = '';
      const tasks = [keep(store, id, seconds, clock, until), work(id, until)];
      try {
        await Promise.race(tasks);
      } finally {
        stop.abort();
        await Promise.allSettled(tasks);
      }
    } catch (error) {
      if (!(error instanceof DatastoreError)) throw error;
      const reason = messageOf(error);
      // that the datastore is away is told by those who follow it
      if (error.kind !== 'unavailable' && error.kind !== 'lease-not-found' && reason !== told)
        log.warn({ error: reason }, 'what this node says of itself cannot be written; trying again');
      told = reason;
      await sleep(backoff.next(), signal, clock);
    }
  }
}

async function keep(store: Datastore, id: LeaseId, seconds: number, clock: Clock, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep((seconds * 1000) / 3, signal, clock);
    if (!signal.aborted) await store.keepAliveLease(id);
  }
}

/** Runs `work` while `key` is this node's: taken whenever nobody has it. Throws what the datastore throws. */
export async function inTurn(
  { store, key, node, lease, clock }: { store: Datastore; key: string; node: string; lease: LeaseId; clock: Clock },
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  for await (const update of store.follow(key, signal)) {
    if (update.type !== 'delete' && update.type !== 'inSync') continue;
    await sleep(Math.random() * JITTER_MS, signal, clock);
    const { succeeded } = await store.transaction({
      if: [{ key, version: 0 }],
      do: [{ op: 'put', key, value: node, lease }],
    });
    if (succeeded) return work(signal);
  }
}
