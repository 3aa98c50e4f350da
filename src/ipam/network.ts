/**
 * The whole network as a stream: its configuration and every node's lease, of whatever backend. Keys and values that
 * cannot be read are set aside one by one: they are told as `rejected`, and take nothing else with them.
 */
import type { KeyValue, Datastore, Revision } from '../datastore/mod.ts';
import { parseNetworkConfig } from './config.ts';
import type { NetworkConfig } from './config.ts';
import { configKey, DEFAULT_NETWORK_PREFIX, parseLease, subnetsPrefix } from './lease.ts';
import type { SubnetLease } from './lease.ts';

export type NetworkUpdate =
  | { readonly type: 'config'; readonly config: NetworkConfig }
  | { readonly type: 'configDeleted' }
  | { readonly type: 'lease'; readonly lease: SubnetLease }
  /** `lease` is what was told before under this key. */
  | { readonly type: 'leaseDeleted'; readonly key: string; readonly lease: SubnetLease }
  /** The key cannot be used. What was told before under it holds no longer. */
  | { readonly type: 'rejected'; readonly key: string; readonly reason: string }
  /** A rejected key is gone, or good again (then its new value follows). */
  | { readonly type: 'settled'; readonly key: string }
  /** The picture is complete as of `revision`; before the first of these nothing may be concluded from absence. */
  | { readonly type: 'inSync'; readonly revision: Revision }
  /** The datastore is out of reach; what was told stays the best knowledge. */
  | { readonly type: 'stale'; readonly reason: string };

/** Ends when `signal` aborts, and not before. */
export async function* followNetwork(
  store: Datastore,
  signal: AbortSignal,
  networkPrefix: string = DEFAULT_NETWORK_PREFIX,
): AsyncGenerator<NetworkUpdate> {
  const reader = new NetworkReader(networkPrefix);
  for await (const update of store.follow(`${networkPrefix}/`, signal)) {
    if (update.type === 'put') yield* reader.put(update.kv);
    else if (update.type === 'delete') yield* reader.delete(update.key);
    else yield update;
  }
}

/** Turns keys and values into updates; remembers what it told, to tell the end of it. */
export class NetworkReader {
  private readonly networkPrefix: string;
  private readonly leases = new Map<string, SubnetLease>();
  private readonly rejected = new Set<string>();

  constructor(networkPrefix: string) {
    this.networkPrefix = networkPrefix;
  }

  put(kv: KeyValue): NetworkUpdate[] {
    const updates: NetworkUpdate[] = [];
    if (kv.key === configKey(this.networkPrefix)) {
      const parsed = parseNetworkConfig(kv.value);
      if (!parsed.ok) return [this.reject(kv.key, parsed.error)];
      this.settle(kv.key, updates);
      return [...updates, { type: 'config', config: parsed.value }];
    }
    if (!kv.key.startsWith(subnetsPrefix(this.networkPrefix))) return [];
    const parsed = parseLease(this.networkPrefix, kv);
    if (!parsed.ok) {
      this.forget(kv.key, updates);
      return [...updates, this.reject(kv.key, parsed.error)];
    }
    this.settle(kv.key, updates);
    this.leases.set(kv.key, parsed.value);
    return [...updates, { type: 'lease', lease: parsed.value }];
  }

  delete(key: string): NetworkUpdate[] {
    const updates: NetworkUpdate[] = [];
    this.settle(key, updates);
    if (key === configKey(this.networkPrefix)) return [...updates, { type: 'configDeleted' }];
    this.forget(key, updates);
    return updates;
  }

  private reject(key: string, reason: string): NetworkUpdate {
    this.rejected.add(key);
    return { type: 'rejected', key, reason };
  }

  private settle(key: string, updates: NetworkUpdate[]): void {
    if (this.rejected.delete(key)) updates.push({ type: 'settled', key });
  }

  private forget(key: string, updates: NetworkUpdate[]): void {
    const lease = this.leases.get(key);
    if (!lease) return;
    this.leases.delete(key);
    updates.push({ type: 'leaseDeleted', key, lease });
  }
}
