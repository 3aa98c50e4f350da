/**
 * Taking a subnet: look at all leases, choose, write by compare-and-swap, look again. Losing the race for a key is
 * usual when many nodes start together; the loser looks and chooses anew. The second look is for what the key alone
 * does not guard: two subnets of different keys that overlap (another length, or the same IPv4 with another IPv6 part).
 * There the older key stands and the younger gives way.
 */
import { Backoff, err, ok, printable, sleep, systemClock } from '../base/mod.ts';
import type { Clock, Logger, Result } from '../base/mod.ts';
import { DatastoreError } from '../datastore/mod.ts';
import type { Datastore, KeyValue, LeaseId } from '../datastore/mod.ts';
import { prefixesOverlap } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { chooseSubnets, fitsConfig, isOwn } from './choose.ts';
import { parseNetworkConfig } from './config.ts';
import type { NetworkConfig } from './config.ts';
import { configKey, formatLeaseValue, isReservation, parseLease, parseSubnetsName } from './lease.ts';
import { subnetList, subnetsName, subnetsPrefix } from './lease.ts';
import type { LeaseAttributes, SubnetLease, Subnets } from './lease.ts';

export interface HeldLease {
  readonly config: NetworkConfig;
  readonly lease: SubnetLease;
}

export interface AcquireOptions {
  readonly store: Datastore;
  readonly networkPrefix: string;
  readonly node: LeaseAttributes;
  /** Seconds. */
  readonly leaseTtl: number;
  readonly random: () => number;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** Tries by compare-and-swap in one acquisition; each lost race means that another node got its subnet. */
const MAX_TRIES = 100;

/**
 * The node's subnet, taken or found. The error is a sentence for the operator: no usable configuration, no free subnet.
 * Throws DatastoreError when the datastore fails.
 */
export async function acquireLease(
  options: AcquireOptions,
  previous: Subnets | undefined,
  signal: AbortSignal,
): Promise<Result<HeldLease, string>> {
  const { store, networkPrefix, log, random, clock = systemClock } = options;
  const backoff = new Backoff(10, 500, random);
  const attempt = new Attempt(options);
  try {
    for (let tries = 0; tries < MAX_TRIES && !signal.aborted; tries++) {
      const { kv } = await store.get(configKey(networkPrefix));
      if (!kv) return err(`no network configuration: put one at ${configKey(networkPrefix)}`);
      const config = parseNetworkConfig(kv.value);
      if (!config.ok) return err(`${kv.key}: ${config.error}`);
      const outcome = await attempt.once(config.value, previous);
      if (outcome !== 'race') return outcome;
      log.debug({ tries: tries + 1 }, 'lost the race for a subnet, choosing again');
      await sleep(backoff.next(), signal, clock);
    }
    return err(`lost ${MAX_TRIES} races for a subnet`);
  } finally {
    await attempt.dropUnused();
  }
}

interface Survey {
  readonly leases: readonly SubnetLease[];
  /** Subnets whose value cannot be read. */
  readonly blocked: readonly Prefix[];
}

class Attempt {
  private readonly options: AcquireOptions;
  /** Granted for a write that lost its race; serves the next one. */
  private spare: LeaseId | undefined;

  constructor(options: AcquireOptions) {
    this.options = options;
  }

  async once(config: NetworkConfig, previous: Subnets | undefined): Promise<Result<HeldLease, string> | 'race'> {
    const { node, random } = this.options;
    const survey = await this.survey();
    const choice = chooseSubnets({ config, node, ...survey, previous, random });
    if (choice.type === 'full') {
      const range = choice.family === 4 ? config.ipv4 : config.ipv6;
      return err(`no free IPv${choice.family} subnet in ${range?.subnetMin} to ${range?.subnetMax}`);
    }
    const lease = choice.type === 'own' ? await this.adopt(choice.lease) : await this.create(choice.subnets);
    if (lease === 'race') return 'race';
    if (choice.type === 'take' && (await this.gaveWay(lease))) return 'race';
    await this.removeOutgrown(config, survey.leases, lease);
    return ok({ config, lease });
  }

  async dropUnused(): Promise<void> {
    const id = this.spare;
    this.spare = undefined;
    // it runs out by itself; this is only tidy
    if (id !== undefined) await this.options.store.revokeLease(id).catch(() => {});
  }

  private async survey(): Promise<Survey> {
    const { store, networkPrefix, log } = this.options;
    const leases: SubnetLease[] = [];
    const blocked: Prefix[] = [];
    const { kvs } = await store.list(subnetsPrefix(networkPrefix));
    for (const kv of kvs) {
      const parsed = parseLease(networkPrefix, kv);
      if (parsed.ok) leases.push(parsed.value);
      else {
        log.warn({ key: printable(kv.key), reason: parsed.error }, 'a lease in the datastore cannot be read');
        const subnets = parseSubnetsName(kv.key.slice(subnetsPrefix(networkPrefix).length));
        if (subnets) blocked.push(...subnetList(subnets));
      }
    }
    return { leases, blocked };
  }

  private async etcdLease(): Promise<LeaseId> {
    this.spare ??= (await this.options.store.grantLease(this.options.leaseTtl)).id;
    return this.spare;
  }

  private async create(subnets: Subnets): Promise<SubnetLease | 'race'> {
    const key = subnetsPrefix(this.options.networkPrefix) + subnetsName(subnets);
    return this.write(key, { key, version: 0 }, await this.etcdLease());
  }

  /** A lease of this node's own from before: kept as it is where possible, so that no other node sees a change. */
  private async adopt(own: SubnetLease): Promise<SubnetLease | 'race'> {
    const { store, node } = this.options;
    const alive = isReservation(own) || (await this.renewed(own.lease));
    if (alive && formatLeaseValue(own.attributes) === formatLeaseValue(node)) {
      const { kv } = await store.get(own.key);
      return kv?.modRevision === own.modRevision ? own : 'race';
    }
    const id = alive ? own.lease : await this.etcdLease();
    return this.write(own.key, { key: own.key, modRevision: own.modRevision }, id);
  }

  private async renewed(id: LeaseId): Promise<boolean> {
    try {
      await this.options.store.keepAliveLease(id);
      return true;
    } catch (error) {
      if (error instanceof DatastoreError && error.kind === 'lease-not-found') return false;
      throw error;
    }
  }

  private async write(
    key: string,
    condition: { key: string; version: number } | { key: string; modRevision: number },
    id: LeaseId,
  ): Promise<SubnetLease | 'race'> {
    const { store, networkPrefix, node } = this.options;
    const put = { op: 'put', key, value: formatLeaseValue(node), ...(id !== '0' && { lease: id }) } as const;
    let kv: KeyValue | undefined;
    try {
      const result = await store.transaction({ if: [condition], do: [put, { op: 'get', key }] });
      if (!result.succeeded) return 'race';
      kv = result.gets[1]?.[0];
    } catch (error) {
      const gone = error instanceof DatastoreError && error.kind === 'lease-not-found';
      if (!gone) throw error;
      if (this.spare === id) this.spare = undefined;
      return 'race';
    }
    if (this.spare === id) this.spare = undefined;
    const written = kv && parseLease(networkPrefix, kv);
    if (!written?.ok) throw new Error(`the lease just written at ${key} does not read back`);
    return written.value;
  }

  /** Looks for an older key that overlaps the one just made; if there is one, takes ours back. */
  private async gaveWay(lease: SubnetLease): Promise<boolean> {
    const ours = subnetList(lease.subnets);
    const { leases } = await this.survey();
    const older = leases.find(
      (other) =>
        other.createRevision < lease.createRevision &&
        subnetList(other.subnets).some((theirs) => ours.some((subnet) => prefixesOverlap(subnet, theirs))),
    );
    if (!older) return false;
    await this.options.store.transaction({
      if: [{ key: lease.key, modRevision: lease.modRevision }],
      do: [{ op: 'delete', key: lease.key }],
    });
    return true;
  }

  /** Own leases that the configuration no longer allows would block their addresses for a day. */
  private async removeOutgrown(
    config: NetworkConfig,
    leases: readonly SubnetLease[],
    held: SubnetLease,
  ): Promise<void> {
    for (const lease of leases) {
      if (lease.key === held.key || !isOwn(lease, this.options.node) || fitsConfig(config, lease.subnets)) continue;
      const { log, store } = this.options;
      log.warn({ key: lease.key }, 'an earlier lease of this node does not fit the network configuration');
      if (isReservation(lease)) continue; // an operator put it there, an operator takes it away
      await store.transaction({
        if: [{ key: lease.key, modRevision: lease.modRevision }],
        do: [{ op: 'delete', key: lease.key }],
      });
    }
  }
}
