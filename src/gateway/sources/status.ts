/** What the agents say of their nodes: their status in the datastore, under a lease that ends with the agent. */
import type { Datastore } from '../../datastore/mod.ts';
import { parsePublished, STATUS_PREFIX } from '../../status/mod.ts';
import type { AgentStatus, FactTable } from '../facts.ts';
import { Source } from './source.ts';

export class StatusSource extends Source {
  private readonly store: Datastore;

  constructor(store: Datastore) {
    super();
    this.store = store;
  }

  run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void> {
    const take = (key: string, value: string | undefined) =>
      facts.status(key, value === undefined ? undefined : parseStatus(key.slice(STATUS_PREFIX.length), value));
    return this.follow(
      this.store,
      STATUS_PREFIX,
      signal,
      (update) => {
        if (update.type === 'put') take(update.kv.key, update.kv.value);
        else if (update.type === 'delete') take(update.key, undefined);
      },
      changed,
    );
  }
}

/** undefined for what is no status: then the node says nothing of itself. */
export function parseStatus(node: string, text: string): AgentStatus | undefined {
  const heard = parsePublished(text);
  return heard && { names: [node, ...heard.addresses], ready: heard.ready };
}
