/**
 * Whether this node's blocks have arrived: its neighbours say in their status what they have in their kernels. Asked at the
 * start, of a few of them, until they agree; a neighbour that publishes nothing (Calico's, a router) cannot be asked.
 */
import { Backoff, messageOf, sleep } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import { DatastoreError } from '../../datastore/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { parsePublished, statusKey } from '../../status/mod.ts';

/** How often it is looked whether the neighbours can be asked. */
const TURN_MS = 500;
/** Between two questions at most: where a whole cluster starts at once, questions must not hold it up. */
const PATIENCE_MS = 5_000;
/** Neighbours that are asked. */
const SAMPLE = 3;

export interface ConfirmationView {
  /** This node's own prefixes, by the address they are announced with; empty when there is nothing to confirm. */
  readonly announced: ReadonlyMap<IpAddress, readonly Prefix[]>;
  /** Nodes with a session. */
  readonly neighbors: readonly string[];
}

/** The prefixes of `announced` that a status does not show. */
export function missingIn(text: string | undefined, announced: ConfirmationView['announced']): readonly Prefix[] {
  const heard = text === undefined ? undefined : parsePublished(text);
  if (!heard) return [];
  return [...announced].flatMap(([address, prefixes]) => {
    const there = new Set(heard.installed.get(address));
    return prefixes.filter((prefix) => !there.has(prefix));
  });
}

/** Ends when neighbours have confirmed, or aborted. `tell` is called with what is missing, and in the end with undefined. */
export async function awaitConfirmation(
  options: {
    readonly store: Datastore;
    readonly clock: Clock;
    readonly log: Logger;
    /** Undefined while neighbours are still to come. */
    readonly view: () => ConfirmationView | undefined;
  },
  signal: AbortSignal,
  tell: (missing: string | undefined) => void,
): Promise<void> {
  const { store, clock, log, view } = options;
  const backoff = new Backoff(TURN_MS, PATIENCE_MS);
  while (!signal.aborted) {
    const known = view();
    if (known?.announced.size === 0) break;
    if (known) {
      try {
        const problem = await ask(store, known);
        if (problem === undefined) break;
        tell(problem);
      } catch (error) {
        if (!(error instanceof DatastoreError)) throw error;
        log.debug({ error: messageOf(error) }, 'neighbours cannot be asked now');
      }
    }
    await sleep(known ? backoff.next() : TURN_MS, signal, clock);
  }
  tell(undefined);
}

async function ask(store: Datastore, { neighbors, announced }: ConfirmationView): Promise<string | undefined> {
  const at = Math.floor(Math.random() * neighbors.length);
  const sample = [...neighbors.slice(at), ...neighbors.slice(0, at)].slice(0, SAMPLE);
  for (const node of sample) {
    const { kv } = await store.get(statusKey(node));
    const missing = missingIn(kv?.value, announced);
    if (missing.length > 0) return `${node} does not have ${missing.slice(0, 3).join(', ')} in its kernel yet`;
  }
  return undefined;
}
