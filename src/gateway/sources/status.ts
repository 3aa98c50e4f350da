/** What the agents say of their nodes: their status in the datastore, under a lease that ends with the agent. */
import { z } from 'zod';
import type { Datastore } from '../../datastore/mod.ts';
import type { AgentStatus, FactTable } from '../facts.ts';
import { Parts } from './source.ts';
import type { Source } from './source.ts';

export const STATUS_PREFIX = '/godwit/v1/status/nodes/';

const schema = z.looseObject({
  ready: z.boolean(),
  addresses: z.array(z.looseObject({ address: z.string().optional() })).default([]),
});

export class StatusSource implements Source {
  private readonly store: Datastore;
  private readonly parts = new Parts();

  constructor(store: Datastore) {
    this.store = store;
  }

  get inSync(): boolean {
    return this.parts.inSync;
  }

  get stale(): string | undefined {
    return this.parts.stale;
  }

  run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void> {
    const take = (key: string, value: string | undefined) =>
      facts.status(key, value === undefined ? undefined : parseStatus(key.slice(STATUS_PREFIX.length), value));
    return this.parts.follow(
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
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) return undefined;
  const addresses = parsed.data.addresses.flatMap(({ address }) => (address === undefined ? [] : [address]));
  return { names: [node, ...addresses], ready: parsed.data.ready };
}
